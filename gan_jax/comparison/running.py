"""Tasks at work on a Ray cluster: started, watched, and stopped so that what they did is saved."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from tqdm import tqdm

from gan_jax import report
from gan_jax.comparison import tasks
from gan_jax.comparison.groups import Group
from gan_jax.errors import UserError
from gan_jax.stopping import Stopped, signals
from gan_jax.storage import content_of

RETRIES = 20  # of a task, each time with another lost machine
STOP = 120  # seconds for the tasks to end their steps at hand and save them


class Part(NamedTuple):
    """A task's: a group of a system, and the steps of all its members together."""

    label: str
    group: Group
    first: int
    steps: int


class Tasks:
    """A context manager, whose end stops what is still at work. Its bar counts the members' steps."""

    def __init__(self, ray: Any, need: Mapping[str, Any], total: int) -> None:
        """Of what `ray` gives: `need` is what each task needs in its words, `total` the steps that the bar counts."""
        self._ray, self._need = ray, need
        self._at_work: dict[Any, Part | None] = {}
        self._members, self._trained, self._done, self._steps, self._total = 0, 0, 0, 0, total
        self._bar = tqdm(total=total, unit="step", unit_scale=True, disable=None, dynamic_ncols=True)
        self._while_open = contextlib.ExitStack()
        self._received: list[int] = []

    def __enter__(self) -> "Tasks":
        # Entered once Ray is connected, whose own handler of SIGTERM it replaces.
        self._received = self._while_open.enter_context(signals())
        self._while_open.enter_context(self._bar)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._while_open:
            for task in self._at_work:
                self._ray.cancel(task)  # as Ctrl-C would: the steps at hand end and are saved
            if self._at_work:
                self._ray.wait(list(self._at_work), num_returns=len(self._at_work), timeout=STOP)

    def start(self, part: Part | None, act: Any, *arguments: Any) -> None:
        """Have the function called on a machine of the cluster."""
        remote = self._ray.remote(act).options(
            **self._need, max_retries=RETRIES, retry_exceptions=[tasks.Interrupted], name=act.__name__
        )
        self._at_work[remote.remote(*arguments)] = part
        self._members += 0 if part is None else len(part.group.configs)

    def wait(self) -> None:
        """Return once all tasks are done. Raises `Stopped`, and `UserError` for the first that failed."""
        while self._at_work:
            done, _ = self._ray.wait(list(self._at_work), timeout=1)
            for task in done:
                self._take(task)
            self._show()
            if self._received:
                raise Stopped(self._steps, self._total, self._received[0])

    def _take(self, task: Any) -> None:
        part = self._at_work.pop(task)
        what = "the report" if part is None else f"{part.label}, {len(part.group.configs)} members from seed "
        what += "" if part is None else str(part.group.configs[0].seed)
        try:
            answer = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            asked_to_end = isinstance(error, tasks.Interrupted)  # Ray makes a class that is both
            if isinstance(error, self._ray.exceptions.RayTaskError) and not asked_to_end:
                raise  # a fault of the package's own: its traceback is in it
            words = f"its machine was lost {RETRIES} times, or Ray cannot start it: {_brief(error)}"
            raise UserError(f"{what}: {words}. What is saved stays; rerun to go on.") from error
        for warning in answer.warnings:
            report.warn(warning)
        if answer.error is not None:
            raise UserError(f"{what}, {answer.error}")
        if part is not None:
            self._done += part.steps
            self._trained += len(part.group.configs)

    def _show(self) -> None:
        steps, lost = self._done, 0
        for part in filter(None, self._at_work.values()):
            with contextlib.suppress(OSError, ValueError):  # not begun, or ended just now
                step, diverged = map(int, content_of(part.group.folder / tasks.PROGRESS).split())
                steps, lost = steps + step * len(part.group.configs), lost + diverged
        words = f"{self._trained} of {self._members} members done" + (f", {lost} diverged" if lost else "")
        self._bar.set_description(words, refresh=False)
        self._bar.update(steps - self._steps)
        self._steps = steps


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""Train a GAN.

    python -m gan_jax.train --loss=hinge
    python -m gan_jax.train --preset=wgan_gp --epochs=10 --workdir=runs/my-run

Rerun the same command to resume. Expect recognisable digits of all ten classes in a few minutes on two
cores; `python -m gan_jax.train --help` lists the options. This file only wires the others together: `fit` trains,
`Report` shows, `Checkpoints` keeps.
"""

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from gan_jax import (
    __version__,
    cli,
    config,
    data,
    drawing,
    environment,
    generate,
    pictures,
    plugins,
    processes,
    report,
    timed,
    together,
    workdir,
)
from gan_jax.advice import advice, advice_on_length
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.duration import Length
from gan_jax.errors import Diverged, Lost, UserError
from gan_jax.evaluation.mixtures import MixtureEvaluator
from gan_jax.evaluation.named import evaluator_for
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.gan import Gan
from gan_jax.loading import restored
from gan_jax.loop import Loop
from gan_jax.options import options_of
from gan_jax.parts import Parts, facts_of
from gan_jax.plan import Plan
from gan_jax.processes import Job, Processes
from gan_jax.report import Report
from gan_jax.status import Status
from gan_jax.stopping import FILES, Stopped, signals
from gan_jax.storage import replacing
from gan_jax.training import images_of, iterate, prepare


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Config, Length, Processes):
    """Flags of the command."""

    def __post_init__(self) -> None:
        """Check every one."""
        super().__post_init__()
        processes.check(self)
        if self.time is not None and (self.coordinator is not None or self.distributed):
            raise UserError("--time goes by the speed of a single process: give several --steps or --epochs.")


def train(config: Config, team: Job | None = None, limit: timed.Limit | None = None) -> Path:
    """Train, or go on training, as `config` says; returns the run's folder.

    As one process of a `team` each calls it; the first alone has the folder. With a `limit` the length is what it says,
    or what the folder has recorded of it.

    Raises `UserError` for what the user can mend, `Diverged` where the numbers stop being finite, `Stopped`
    after a signal, `Lost` at the end where files of the run are lost that cannot be made again.
    """
    report.check_tensorboard(config.tensorboard)
    config = timed.named(config, limit)
    folder = workdir.path_of(config)
    config = dataclasses.replace(workdir.placed(config, folder), workdir=str(folder))
    images, labels = images_of(config)
    note = data.held_out_note(config.dataset)
    facts = facts_of(images, labels, conditional=config.conditional)
    evaluator = _evaluator(config) if config.eval_every and (team is None or team.leads) else None
    if limit is not None:
        config = timed.settled(config, limit, images, labels, facts, evaluator)
    length = None if limit is None else limit.time
    parts, plan = prepare(config, facts)
    if team is not None:
        team.check_same({"images": facts.sha256, "devices": jax.local_device_count()})
        if not team.leads:
            together.follow(config, parts, plan, images, labels, team)
            return workdir.path_of(config)
    digest = workdir.digest([config], facts)
    with (
        workdir.claim(config, facts, length) as folder,
        Status(folder, plan.total) as status,
        Checkpoints(
            folder / "checkpoints",
            write=True,
            keep_every=config.keep_every,
            digest=digest,
            judge=None if evaluator is None else evaluator.digest,
        ) as checkpoints,
    ):
        start = _start(config, parts, plan, facts.num_images, checkpoints)
        if team is not None:
            together.share(start)
        # A run that goes on by its config.json keeps the time of which its steps were made.
        workdir.write_config(folder, config, facts, length or workdir.time_of(folder, plan.total))
        environment.record(folder, start.step if start else 0, report.warn)
        status.begin(start.step if start else 0)
        report.save_picture(folder / "real.png", drawing.real(config, images))
        _announce(config, start, plan.total, folder, note)
        if start is None and (line := advice_on_length(config, plan, facts.num_images)):
            report.warn(line)
        kept = checkpoints.log(start.step) if start else []
        tell = team.signalled if team else lambda number: None
        with Report(folder, config, plan, start.step if start else 0, kept) as log, signals(tell) as received:
            if start is not None:
                _mend_pictures(log, start, environment.begun(folder))
            try:
                asked = lambda: bool(received)
                chunks = iterate(config, parts, plan, images, labels, start, asked=asked)
                stops = team.stops if team else bool
                gan = _run(chunks, start, Loop(checkpoints, log, evaluator, status), received, stops)
            except Diverged as error:
                raise Diverged(f"{error}; {_last_good(checkpoints)}") from error
        with signals(words=FILES):
            report.save_picture(folder / "samples.png", gan.grid())
            with replacing(folder / "losses.png") as curves:
                pictures.plot_losses(log.rows, curves, _title(config, folder))
            checkpoints.wait()
    num = generate.grid_size(gan.parts)
    flags = [f"--workdir={folder}", f"--num={num}", "--seed=1", "--out=more.png", *plugins.flags()]
    more = shlex.join(["python", "-m", "gan_jax.sample", *flags])
    print(f"Done: {folder}/samples.png, {folder}/losses.png. Draw more: {more}")
    if log.lost:
        raise Lost(f"the run is done, but of {folder} is lost: {'; '.join(log.lost)}.")
    return folder


def _evaluator(config: Config) -> Evaluator:
    """The judge of `--eval_every`. Raises `UserError` at once, not after the first epochs, if it cannot judge."""
    own = {"image_size": config.image_size, "channels": config.channels}
    # Seed 1: evaluate's default is 0, and the best should not be reported on the samples it was chosen by.
    evaluator = evaluator_for(config.dataset, config.data_dir, seed=1, **own)
    if isinstance(evaluator, MixtureEvaluator):
        raise UserError(
            f"--eval_every measures images, and {config.dataset} holds points: leave it out; gan_jax.evaluate counts "
            "the modes that a run has found."
        )
    try:
        evaluator.check_frechet()
    except UserError as error:
        raise UserError(f"{error} Leave --eval_every out, or give more images.") from None
    return evaluator


def _start(config: Config, parts: Parts, plan: Plan, num_images: int, checkpoints: Checkpoints) -> Gan | None:
    """The newest checkpoint's Gan; None if there is none."""
    found = checkpoints.restore(report.warn)
    if found is None:
        return None
    gan = restored(config, parts, plan, num_images, found[1])
    if gan.step > gan.plan.total:
        raise UserError(
            f"the run in this workdir is at step {gan.step}, past the {gan.plan.total} asked for: "
            "give more --epochs or --steps, a longer --time, or another --workdir."
        )
    checkpoints.set_aside_after(gan.step)
    return gan


def _run(
    chunks: Iterator[Gan],
    start: Gan | None,
    loop: Loop,
    received: list[int],
    stops: Callable[[list[int]], bool],
) -> Gan:
    """Train to the end; raises Stopped once a signal is received. The last state is saved either way."""
    gan = start
    for gan in chunks:
        loop.take(gan)
        if stops(received):
            break
    assert gan is not None  # a run has one step at least
    loop.read({})
    if gan is not start and loop.saved != gan.step:  # else it is there, with its score
        loop.save(gan)
    if gan.step < gan.plan.total:
        raise Stopped(gan.step, gan.plan.total, received[0])
    return gan


def _mend_pictures(log: Report, start: Gan, begun: int) -> None:
    """Draw the grid of the run's last step again where it is missing or damaged; say which others since `begun` are."""
    lost = log.lost_samples()
    for row in lost:
        if row["step"] == start.step:
            log.samples(row, drawing.painting(start, drawing.sketch(start)))
    if others := [row["step"] for row in lost if begun < row["step"] != start.step]:
        log.lose(
            f"{len(others)} grids in samples/ are missing or damaged, the first of step {others[0]}: they cannot be "
            "drawn again"
        )


def _last_good(checkpoints: Checkpoints) -> str:
    checkpoints.wait()
    steps = checkpoints.steps
    last = (
        f"the last good checkpoint is {checkpoints.path(steps[-1])}"
        if steps
        else "there is no checkpoint yet"
    )
    return f"{last}. Try a lower learning rate, or a penalty on D."


def _title(config: Config, folder: Path) -> str:
    return f"{folder.name}: {config.preset or config.loss} on {data.dataset_name(config.dataset)}, seed {config.seed}"


def _announce(config: Config, start: Gan | None, total: int, folder: Path, note: str | None) -> None:
    devices = jax.devices()
    several = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    verb = f"resuming at step {start.step} of" if start else "training for"
    if note:
        print(note)
    print(
        f"gan_jax {__version__}: {config.preset or config.loss} on {data.dataset_name(config.dataset)}, {verb} "
        f"{total} step{'s' if total > 1 else ''} on {len(devices)} × {devices[0].device_kind}{several}, in {folder}",
        flush=True,
    )


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code: 1 if the run diverged, 3 if it is done but files of it are lost.

    Raises `Stopped` if a signal stopped it.
    """
    began = time.perf_counter()
    command = config.command_from_args(Command, args)
    settings = Config(**{name: getattr(command, name) for name in options_of(Config)})
    try:
        with processes.joined(processes.place_of(command), together.common(settings)) as team:
            if (team is None or team.leads) and (line := advice(settings)):
                report.warn(line)
            cli.use_compilation_cache()
            train(settings, team, None if command.time is None else timed.Limit(command.time, began))
    except Diverged as error:
        report.error(str(error))
        return 1
    except Lost as error:
        report.error(str(error))
        return 3
    return 0


if __name__ == "__main__":
    cli.run(main)

"""`fit_population`: many GANs trained side by side, as one program. It prints nothing and writes nothing.

configs = [gan_jax.Config(loss="hinge", seed=seed) for seed in range(8)]
for population in gan_jax.fit_population(configs, progress=True):
    print(population.step, population.metrics["d_loss"])  # [8]
population[3].grid()

Member i is the GAN of the single run with config i: to the bit on a CPU, where members take turns within the program
(batched matrix products would leave its fast ones), and to rounding on an accelerator, where as many at a time as its
memory holds share every operation. Members spread over the devices; none is itself split.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gan_jax import data, devices, state
from gan_jax.bar import bar_of_steps
from gan_jax.config import Config
from gan_jax.devices import AXIS, DeviceData
from gan_jax.errors import UserError
from gan_jax.gan import Gan, Log
from gan_jax.members import Members, first_members, members_chunk, mesh_of, spread_over, stacked
from gan_jax.options import options_of
from gan_jax.parts import Facts, Parts, build, facts_of
from gan_jax.pieces import Pieces
from gan_jax.plan import Plan, plan
from gan_jax.step import Metrics
from gan_jax.step_memory import check_members_fit, check_step_fits
from gan_jax.training import check_goes_on, images_of, other_part


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """GANs at one step of their training: `fit_population` yields them. Nothing ever changes in it.

    configs: of its members. parts, plan: what they share. members: what training changes, on the devices, perhaps with
    more members at the end that only fill the last device. begin, step: the generator updates done before the last
    chunk, and after it. columns: what that chunk measured, [M, length] each; none before the first.
    """

    configs: tuple[Config, ...]
    parts: Parts
    plan: Plan
    members: Members
    begin: int
    step: int
    columns: Metrics

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, index: int) -> Gan:
        """A member as a GAN of its own, for `fit` to go on from; one that diverged, as it was before that chunk."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no member {index}: they are 0 to {len(self) - 1}")
        index %= len(self)
        found = jax.tree.map(lambda x: x[index], self.members)
        gan = found.state.replace(step=found.stands)
        columns = {name: x[index] for name, x in self.columns.items()}
        log = Log(self.begin, self.step, columns) if columns and self.diverged[index] < 0 else None
        return Gan(self.configs[index], self.parts, gan, self.plan, log)

    def real_members(self) -> Members:
        """`members` without those that only fill the last device."""
        found: Members = jax.tree.map(lambda x: x[: len(self)], self.members)
        return found

    @cached_property
    def diverged(self) -> np.ndarray:
        """The step [M] at which each member's numbers stopped being finite; −1 for those whose are."""
        return np.asarray(self.members.diverged)[: len(self)]

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """The last chunk's means [M], by name; NaN for those that have diverged. Waits until the chunk is done."""
        done = {
            name: np.asarray(x)[: len(self), : self.step - self.begin] for name, x in self.columns.items()
        }
        means = {name: np.array([row.mean(dtype=np.float64) for row in x]) for name, x in done.items()}
        return {name: np.where(self.diverged < 0, x, np.nan) for name, x in means.items()}

    def __repr__(self) -> str:
        name, size = (
            self.configs[0].preset or self.configs[0].loss,
            data.shape_words(self.parts.image_shape),
        )
        return f"<Population: {len(self)} of {name}, {size}, step {self.step} of {self.plan.total}>"


def fit_population(
    configs: Sequence[Config],
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    start: Population | None = None,
    progress: bool = False,
) -> Iterator[Population]:
    """Train GANs side by side on the same images, and yield a `Population` after each chunk, as `fit` does a `Gan`.

    Args:
      configs: of the members, which may differ in seed, rates, decays, weights and clipping; see `state.hyperparams`.
      images, labels: as for `fit`; by default those of the configs' dataset.
      start: a population to go on from, with as many members on as many images. A member's config there may differ from
        its config here in rates, weights and length; averaging and clipping are there in both or in neither.
      progress: show a progress bar, also in a notebook.

    Raises:
      UserError: at the call, for what cannot be trained, or not side by side.
    """
    return iterate(configs, images, labels, start, progress)


def iterate(
    configs: Sequence[Config],
    images: np.ndarray | None,
    labels: np.ndarray | None,
    start: Population | None,
    progress: bool = False,
    asked: Callable[[], bool] = lambda: False,
) -> Iterator[Population]:
    """`fit_population`.

    asked: whether somebody wants it to stop. A chunk of slow steps then ends early, and is dropped: what a member that
    diverges goes back to must not depend on when it was asked.
    """
    if isinstance(configs, Config):
        raise UserError("a population is of a list of configs: [config] is one of a single member.")
    configs = tuple(configs)
    _check_alike(configs)
    if images is None:
        _check_same_images(configs)
    if jax.process_count() > 1:
        raise UserError("a population trains in one process: start one in each, with members of its own.")
    images, labels = images_of(configs[0], images, labels)
    facts = facts_of(images, labels, conditional=configs[0].conditional)
    parts, course = prepare_population(configs, facts)
    if start is None:  # else they are in the memory already
        check_members_fit(configs, parts, course, facts)
    some = jax.devices()[: len(configs)]
    data = jnp.asarray(images), jnp.asarray(labels, jnp.int32) if parts.num_classes is not None else None
    data = jax.device_put(data, NamedSharding(mesh_of(some), PartitionSpec()))
    if start is None:
        members = first_members(configs, parts, course, facts.num_images)
    else:
        members = _go_on(configs, parts, course, facts.num_images, start)
    members = spread_over(members, len(configs), some)
    begun = Population(configs, parts, course, members, 0, 0 if start is None else start.step, {})
    pieces = Pieces(members_chunk(parts, course, some, members, data), some, asked)
    return _chunks(begun, pieces, data, progress)


def prepare_population(configs: Sequence[Config], facts: Facts, *, here: bool = True) -> tuple[Parts, Plan]:
    """What the members share. Raises `UserError` for what cannot be trained, in this process if it is to be `here`."""
    course = plan(configs[0], facts.num_images)
    parts = build(configs[0], facts.image_shape, facts.num_classes, AXIS)
    devices.check_fits(facts.num_bytes, jax.devices())
    if here:
        check_step_fits(configs[0], parts, jax.devices()[:1])  # a member's batch is not split
    return parts, course


def _check_alike(configs: Sequence[Config]) -> None:
    if not configs:
        raise UserError("a population needs one config at least.")
    plain = ("seed", "preset", "dataset", "data_dir", "workdir", "tensorboard")
    shared = [
        name for name, found in options_of(Config).items() if found.role != "rate" and name not in plain
    ]
    values = {name: list(dict.fromkeys(getattr(config, name) for config in configs)) for name in shared}
    # How much there is of averaging and clipping is a member's own; whether there is any is not: it is the program's.
    for name in ("ema", "clip", "grad_clip"):
        found = list(dict.fromkeys(getattr(config, name) for config in configs))
        values[name] = found if 0 in found else found[:1]
    for name, found in values.items():
        if len(found) > 1:
            raise UserError(
                f"members differ in {name} ({', '.join(map(str, found))}): they may in seed and rates; train a "
                "population of each."
            )


def _check_same_images(configs: Sequence[Config]) -> None:
    """They would all be trained on the first one's."""
    for name in ("dataset", "data_dir"):
        found = list(dict.fromkeys(getattr(config, name) for config in configs))
        if len(found) > 1:
            raise UserError(
                f"members differ in {name} ({', '.join(map(str, found))}), and train on the same images: "
                "give those as images=, or train a population of each."
            )


def _go_on(
    configs: Sequence[Config], parts: Parts, course: Plan, num_images: int, start: Population
) -> Members:
    if len(start) != len(configs):
        raise UserError(
            f"start has {len(start)} members, and there are {len(configs)} configs: give as many."
        )
    for there, here in zip(start.configs, configs, strict=True):
        check_goes_on(there, here)
    if dataclasses.replace(start.parts, log_gradients=parts.log_gradients) != parts:
        switched = [n for n in ("ema", "clip", "grad_clip") if getattr(start.parts, n) != getattr(parts, n)]
        why = (
            f"{' and '.join(switched)} cannot be turned on or off"
            if switched
            else other_part(start.parts, parts)
        )
        raise UserError(f"start has other parts: {why}.")
    if start.members.state.order.shape[1] != num_images:
        raise UserError("start was trained on another number of images: give as many.")
    if start.step > course.total:
        raise UserError(
            f"start is at step {start.step}, past the {course.total} asked for: give more epochs or steps."
        )
    numbers = [state.hyperparams(config, course.total) for config in configs]
    members = start.real_members()
    return members._replace(state=members.state.replace(hyperparams=stacked(numbers)))


def _chunks(
    population: Population, pieces: Pieces[Members], data: DeviceData, progress: bool
) -> Iterator[Population]:
    total = population.plan.total
    before: Population | None = None
    with bar_of_steps(total, population.step, hidden=not progress) as shown:
        while population.step < total:
            begin, stop = population.step, population.plan.stop(population.step)
            members, columns, at = pieces.run(population.members, data, begin, stop)
            if at < stop:
                return
            if before is not None:
                _show(shown, before)  # the devices are busy meanwhile
            population = before = dataclasses.replace(
                population, members=members, begin=begin, step=stop, columns=columns
            )
            yield population
        if before is not None:
            _show(shown, before)


def _show(shown: Any, population: Population) -> None:
    if shown.disable:
        return
    lost = int((population.diverged >= 0).sum())
    shown.set_postfix_str(f"{len(population)} GANs" + (f", {lost} diverged" if lost else ""), refresh=False)
    shown.update(population.step - shown.n)

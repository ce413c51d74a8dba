"""What a member of a population costs, beside a single run: per step, and to start.

    python -m experiments.population_cost
    python -m experiments.population_cost --members 1 8 64 256 --out=runs/population_cost    # the curve

Both train in this process and take turns: a chunk of the population, then as many steps of the single run as all its
members had together. On a CPU times are the process's CPU time: other work on the machine changes it far less than a
clock's. On an accelerator that would be the host's part alone, and they are a clock's. The ratio is the median of the
rounds. Writes population_cost.md to --out after each population. Expect four minutes of a core for 8 members.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from gan_jax import Config, cli, data, fit, fit_population
from gan_jax.errors import UserError
from gan_jax.options import COUNT, PATH, SMALL_COUNT, check, option
from gan_jax.storage import expanded, write_atomically

# Of each system: what it is, and the steps of a chunk on a CPU, enough of them for a second or two.
SYSTEMS: dict[str, tuple[dict[str, Any], int]] = {
    "mlp (`--preset=gan`)": ({"preset": "gan", "batch_size": 64}, 100),
    "conv_small (`--preset=hinge`)": ({"preset": "hinge", "batch_size": 64}, 20),
    "conv_small (`--preset=r3gan`)": ({"preset": "r3gan"}, 10),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure, and where to write."""

    members: tuple[int, ...] = option(
        (8,), "Members of each population, separated by spaces.", SMALL_COUNT, many=True
    )
    rounds: int = option(5, "How often each takes its turn.", COUNT)
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if not self.members:
            raise UserError("--members must name one number or more.")


class Cost(NamedTuple):
    """Seconds. single, member: of a step, one number a round. single_start, start: of all before the first step."""

    members: int
    single: list[float]
    member: list[float]
    single_start: float
    start: float

    @property
    def ratios(self) -> np.ndarray:
        """A member's step as a multiple of the single run's, by round."""
        return np.array(self.member) / np.array(self.single)


def on_cpu() -> bool:
    """Whether this process's CPU time is what training costs."""
    return jax.devices()[0].platform == "cpu"


def now() -> float:
    """Seconds: of CPU time, or on an accelerator of a clock."""
    return time.process_time() if on_cpu() else time.perf_counter()


def measure(
    own: dict[str, Any], steps: int, options: Options, images: np.ndarray, turn: Callable[[], Any]
) -> Iterator[Cost]:
    """What a system costs, for each number of members; `turn` is called after each round."""
    length = steps * (1 + sum(options.members) * options.rounds)
    config = Config(**own, steps=length, log_every=steps, checkpoint_every=length)
    begin = now()
    # Once for all populations: a second one would find its programs compiled, and seem to start in no time.
    alone = fit(config, images)
    chunk_seconds(alone, lambda gan: gan.state)
    first = now() - begin
    for members in options.members:
        cost = _beside(alone, config, members, options.rounds, images, turn)
        yield cost._replace(single_start=first - steps * float(np.median(cost.single)))


def _beside(
    alone: Iterator[Any],
    config: Config,
    members: int,
    rounds: int,
    images: np.ndarray,
    turn: Callable[[], Any],
) -> Cost:
    """The same without the single run's start, of one population, which the memory is free of afterwards."""
    begin = now()
    together = fit_population([dataclasses.replace(config, seed=seed) for seed in range(members)], images)
    chunk_seconds(together, lambda population: population.members)
    first = now() - begin
    single, member, count = [], [], config.log_every * members
    for _ in range(rounds):
        member.append(chunk_seconds(together, lambda population: population.members) / count)
        single.append(sum(chunk_seconds(alone, lambda gan: gan.state) for _ in range(members)) / count)
        turn()
    return Cost(members, single, member, 0, first - count * float(np.median(member)))


def chunk_seconds(chunks: Iterator[Any], state: Callable[[Any], Any]) -> float:
    """The seconds of the next chunk."""
    begin = now()
    jax.block_until_ready(state(next(chunks)))
    return now() - begin


def table(found: Sequence[tuple[str, Cost]]) -> str:
    """A line for each system and number of members."""
    if on_cpu():
        units = (
            "CPU milliseconds of a step; their ratio [least, greatest of the rounds]; "
            "member steps a CPU second; CPU seconds to start."
        )
    else:
        units = (
            "Milliseconds of a step by the clock; their ratio [least, greatest of the rounds]; "
            f"member steps a second; seconds to start. On {jax.devices()[0].device_kind}."
        )
    lines = [
        "# A population beside a single run",
        "",
        units,
        "",
        "| | members | single run | a member | ratio | member steps | single run's start | the population's start |",
        "|---" * 8 + "|",
    ]
    for system, cost in found:
        ratios, single, member = cost.ratios, float(np.median(cost.single)), float(np.median(cost.member))
        lines.append(
            f"| {system} | {cost.members} | {_number(1e3 * single)} | {_number(1e3 * member)} | "
            f"{np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}] | {_number(1 / member)} | "
            f"{cost.single_start:.1f} | {cost.start:.1f} |"
        )
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    """Three digits: an accelerator's member may take microseconds."""
    return f"{float(f'{value:.3g}'):,.12g}"


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(
        Options, args, prog="python -m experiments.population_cost", description=__doc__ or ""
    )
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    images, _ = data.load("mnist", "train")
    found: list[tuple[str, Cost]] = []
    turns = len(SYSTEMS) * len(options.members) * options.rounds
    with tqdm(total=turns, unit="round", disable=None) as bar:
        for system, (own, steps) in SYSTEMS.items():
            chunk = steps if on_cpu() else Config(**own).log_every  # there 10 steps are too few to time
            for cost in measure(own, chunk, options, images, bar.update):
                found.append((system, cost))
                # Now and not at the end: a population that the memory does not hold would take the others with it.
                write_atomically(folder / "population_cost.md", table(found))
    print(table(found))


if __name__ == "__main__":
    cli.run(main)

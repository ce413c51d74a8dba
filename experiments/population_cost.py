"""What a member of a population costs, beside a single run: per step, and to start.

    python -m experiments.population_cost

Both train in this process and take turns: a chunk of the population, then as many steps of the single run as all its
members had together. Times are the process's CPU time: other work on the machine changes it far less than a clock's.
The ratio is the median of the rounds. Writes population_cost.md to experiments/results/. Expect four minutes of a core.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from gan_jax import Config, cli, data, fit, fit_population
from gan_jax.options import COUNT, PATH, check, option, whole
from gan_jax.storage import expanded, write_atomically

# Of each system: what it is, and the steps of a chunk, enough of them for a second or two.
SYSTEMS: dict[str, tuple[dict[str, Any], int]] = {
    "mlp (`--preset=gan`)": ({"preset": "gan", "batch_size": 64}, 100),
    "conv_small (`--preset=hinge`)": ({"preset": "hinge", "batch_size": 64}, 20),
    "conv_small (`--preset=r3gan`)": ({"preset": "r3gan"}, 10),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure, and where to write."""

    members: int = option(8, "Members of the population.", whole(2, 1000))
    rounds: int = option(5, "How often each takes its turn.", COUNT)
    out: str = option("experiments/results", "Folder to write to.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


class Cost(NamedTuple):
    """CPU seconds. single, member: of a step, one number a round. single_start, start: of all before the first step."""

    single: list[float]
    member: list[float]
    single_start: float
    start: float

    @property
    def ratios(self) -> np.ndarray:
        """A member's step as a multiple of the single run's, by round."""
        return np.array(self.member) / np.array(self.single)


def measure(
    own: dict[str, Any], steps: int, options: Options, images: np.ndarray, turn: Callable[[], Any]
) -> Cost:
    """What a system costs; `turn` is called after each round."""
    length = steps * (1 + options.members * (options.rounds + 1))
    configs = [
        Config(**own, seed=seed, steps=length, log_every=steps, checkpoint_every=length)
        for seed in range(options.members)
    ]
    spent = time.process_time()
    alone = fit(configs[0], images)
    _chunk(alone, lambda gan: gan.state)
    single_first = time.process_time() - spent
    spent = time.process_time()
    together = fit_population(configs, images)
    _chunk(together, lambda population: population.members)
    first = time.process_time() - spent
    cost = Cost([], [], 0, 0)
    for _ in range(options.rounds):
        count = steps * options.members
        cost.member.append(_chunk(together, lambda population: population.members) / count)
        cost.single.append(sum(_chunk(alone, lambda gan: gan.state) for _ in range(options.members)) / count)
        turn()
    return cost._replace(
        single_start=single_first - steps * float(np.median(cost.single)),
        start=first - steps * options.members * float(np.median(cost.member)),
    )


def _chunk(chunks: Iterator[Any], state: Callable[[Any], Any]) -> float:
    """The CPU seconds of the next chunk."""
    spent = time.process_time()
    jax.block_until_ready(state(next(chunks)))
    return time.process_time() - spent


def table(found: dict[str, Cost], members: int) -> str:
    """A line for each system."""
    lines = [
        f"# A population of {members} beside a single run",
        "",
        "CPU milliseconds of a step; their ratio [least, greatest of the rounds]; CPU seconds to start.",
        "",
        "| | single run | a member | ratio | single run's start | the population's start |",
        "|---|---|---|---|---|---|",
    ]
    for system, cost in found.items():
        ratios = cost.ratios
        lines.append(
            f"| {system} | {1e3 * np.median(cost.single):.1f} | {1e3 * np.median(cost.member):.1f} | "
            f"{np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}] | {cost.single_start:.1f} | "
            f"{cost.start:.1f} |"
        )
    return "\n".join([*lines, ""])


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(
        Options, args, prog="python -m experiments.population_cost", description=__doc__ or ""
    )
    folder = expanded(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    images, _ = data.load("mnist", "train")
    found = {}
    with tqdm(total=len(SYSTEMS) * options.rounds, unit="round", disable=None) as bar:
        for system, (own, steps) in SYSTEMS.items():
            found[system] = measure(own, steps, options, images, bar.update)
    text = table(found, options.members)
    write_atomically(folder / "population_cost.md", text)
    print(text)


if __name__ == "__main__":
    cli.run(main)

"""The Fréchet distance over training, out of a run's log or of its checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gan_jax import report
from gan_jax.bar import bar
from gan_jax.checkpoint import Checkpoints
from gan_jax.errors import UserError
from gan_jax.evaluation.picture import Curve
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.samples import samples_for
from gan_jax.gan import Gan
from gan_jax.loading import load, load_population

CHECKPOINTS = 10  # of a run at most
METRIC = "frechet_distance"

Points = list[tuple[int, float]]  # steps and values


class Curves:
    """Those of the members of a population's folder, or of the one run there, whose number is None.

    A checkpoint holds the whole population, so each is read once for all members that are judged.
    """

    def __init__(self, folder: Path, members: Sequence[int | None]) -> None:
        """Nothing is read yet."""
        self._folder, self._members = folder, members
        self._known: dict[Evaluator, Mapping[int | None, Points]] = {}

    def curve(self, member: int | None, evaluator: Evaluator, floor: float) -> Curve:
        """The Fréchet distance out of the log, or else of the checkpoints there are.

        The floor is drawn where it is that of the same features and as many images.
        """
        here = evaluator.name(METRIC)
        name, points = _logged(self._folder / "metrics.jsonl")
        if not points:
            if evaluator not in self._known:
                self._known[evaluator] = self._measured(evaluator)
            name, points = here, self._known[evaluator][member]
        steps, values = [step for step, _ in points], [value for _, value in points]
        return Curve(name, steps, values, floor if name == here else None)

    def _measured(self, evaluator: Evaluator) -> Mapping[int | None, Points]:
        with Checkpoints(self._folder / "checkpoints") as checkpoints:
            steps = sorted(checkpoints.steps)
        chosen = {steps[i] for i in np.linspace(0, len(steps) - 1, CHECKPOINTS).round().astype(int)}
        points: dict[int | None, Points] = {member: [] for member in self._members}
        for step in bar(sorted(chosen), "checkpoints"):
            try:
                gans = self._gans(step)
            except UserError as error:  # damaged, or deleted by a run that goes on: the others still tell
                report.warn(f"the curve is without step {step}: {error}")
                continue
            for member, gan in gans.items():
                progress = lambda starts: bar(starts, f"samples of step {step}")  # noqa: B023
                images = samples_for(evaluator, gan, progress)
                points[member].append((step, evaluator.frechet(images)))
        return points

    def _gans(self, step: int) -> dict[int | None, Gan]:
        if None in self._members:
            return {None: load(self._folder, step, warn=report.warn)}
        population = load_population(self._folder, step, warn=report.warn)
        return {member: population[member] for member in self._members if member is not None}


def _logged(path: Path) -> tuple[str, Points]:
    """The last name of the Fréchet distance in a run's log, and its value at each step that has it."""
    rows = report.read_rows(path, 2**31)
    names = [key for row in rows for key in row if key.split("/")[0] == METRIC]
    if not names:
        return "", []
    return names[-1], [(row["step"], row[names[-1]]) for row in rows if names[-1] in row]

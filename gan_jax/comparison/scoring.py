"""The scores of a population's members, kept in its folder so that a comparison that goes on takes them as they are."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax import pictures, plugins
from gan_jax.config import Config
from gan_jax.drawing import shown_beside
from gan_jax.evaluation.named import Judge
from gan_jax.evaluation.protocol import Evaluator, choose
from gan_jax.evaluation.samples import classes_like, samples_for
from gan_jax.evaluation.scores import LABEL_ACCURACY
from gan_jax.gan import Gan
from gan_jax.population import Population
from gan_jax.report import LogRow, read_rows
from gan_jax.storage import content_of, replacing, sha256_of_arrays, write_atomically


@dataclasses.dataclass(frozen=True)
class Scored:
    """A system in a comparison; its members' states are not kept, since the next system needs the memory.

    configs: its members'. steps: the length of their run. diverged: the step of each, or −1. scores: of each member by
    metric, empty for those that diverged. rows: the log, a list for each metric. grid: one picture of samples, eight a
    member, or the plane of each.
    """

    configs: tuple[Config, ...]
    steps: int
    diverged: list[int]
    scores: list[dict[str, float]]
    rows: list[LogRow]
    grid: np.ndarray


PER_MEMBER = 8  # samples in the grid
NAME = "scores.json"


def scores_of(population: Population, evaluator: Judge, folder: Path) -> Scored:
    """Score each member's samples, those that `gan_jax.evaluate` draws, and draw a grid of a few.

    One member after the other, by the programs that all share; what there is to know of real images is computed once.
    Of the 8.7 CPU seconds that a member's 10,000 samples take, drawing takes 0.1 and their features 1.4. The rest is
    distances between samples in NumPy, each member's own: batches over members would gain nothing there.
    """
    own = (
        None in evaluator.families.values()
    )  # a metric of someone's own has no version: its plugin's content is one
    asked = classes_like(population.parts, evaluator.num, evaluator.train_labels)
    key = {
        "step": population.step,
        "protocol": evaluator.name("scores"),
        "network": evaluator.network.sha256,
        "judge": evaluator.digest,
        "families": dict(evaluator.families),
        "plugins": sorted(plugin.sha256 for plugin in plugins.LOADED.values()) if own else [],
        # Not named as before there was a share of these: scores without it are measured again.
        "classes": None if asked is None else sha256_of_arrays({"asked": asked}),
    }
    path = folder / NAME
    known = [] if own and not key["plugins"] else _read(path, key)
    scores: list[dict[str, float]] = []
    rows = []
    for i in range(len(population)):
        if population.diverged[i] >= 0:
            scores.append({})
            continue
        gan = population[i]
        rows.append(shown_beside(gan, PER_MEMBER))
        if i < len(known) and known[i]:
            scores.append(known[i])
            continue
        scores.append(_scores(gan, evaluator, asked))
        write_scores(path, key, scores)
    grid = np.concatenate(rows) if rows else np.zeros((1, 28, 28, 1), np.uint8)
    with replacing(folder / "samples.png") as new:
        pictures.grid(grid, PER_MEMBER).save(new, "PNG")
    log = read_rows(folder / "metrics.jsonl", population.step)
    return Scored(population.configs, population.plan.total, population.diverged.tolist(), scores, log, grid)


def _scores(gan: Gan, evaluator: Judge, asked: np.ndarray | None) -> dict[str, float]:
    """Of a member's samples, by metric; with labels also the share of them that are of the class asked for."""
    images = samples_for(evaluator, gan)
    if not isinstance(evaluator, Evaluator):
        return {score.metric: score.value for score in evaluator.scores(images)}
    seen = evaluator.see(choose(images, evaluator.num, evaluator.seed))
    found = {score.metric: score.value for score in evaluator.scores(images, seen)}
    if asked is not None and evaluator.network.judges_labels:
        found[LABEL_ACCURACY] = evaluator.label_accuracy(seen, choose(asked, evaluator.num, evaluator.seed))
    return found


def join_scores(parts: Sequence[tuple[Path, int]], folder: Path) -> None:
    """Put the scores of parts of a population, by folder and number of members, together in the whole one's folder."""
    found = [_content(part / NAME) for part, _ in parts]
    keys = [{name: value for name, value in each.items() if name != "scores"} for each in found]
    key = next(filter(None, keys), None)
    if key is None or any(each not in ({}, key) for each in keys):
        return  # all diverged, or not scored alike: what there is no score of is scored anew
    scores = []
    for each, (_, count) in zip(found, parts, strict=True):
        own = each.get("scores", [])
        scores += own + [{}] * (count - len(own))  # those that diverged after the last score have none
    write_scores(folder / NAME, key, scores)


def write_scores(path: Path, key: Mapping[str, Any], scores: Sequence[dict[str, float]]) -> None:
    """Write the members' scores; `key` says of what they are, and by what."""
    content = {**key, "scores": scores}
    write_atomically(path, json.dumps({**content, "sha256": _sha256(content)}) + "\n")


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: dict[str, Any]) -> list[dict[str, float]]:
    found = _content(path)
    return found["scores"] if found and all(found.get(name) == value for name, value in key.items()) else []


def _content(path: Path) -> dict[str, Any]:
    """What such a file holds; nothing of one that is missing or damaged."""
    try:
        found = json.loads(content_of(path))
        return found if found.pop("sha256") == _sha256(found) else {}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return {}

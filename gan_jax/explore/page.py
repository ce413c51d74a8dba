"""The page as one file: nets, noise, grids and curves of a run as JSON, beside the script that brings them to life."""

import base64
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data, film, pictures, plain_layers, report
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.plain_layers import Layer
from gan_jax.population_run import rows_of_member
from gan_jax.storage import content_of

ASSETS = Path(__file__).parent.parent / "assets" / "explore"
DIRECTIONS = 8
SAMPLES = 16
JUDGED = 240  # samples that tell of D's usual logit; a multiple of every small pack
SCORES = 1025  # of D, at even distances
GRIDS = 40  # of a run at most
ROWS = 300  # of its log at most


def page(
    gan: Gan,
    folder: Path | None = None,
    member: int | None = None,
    warn: Callable[[str], object] = report.warn,
) -> str:
    """The page of a GAN, as HTML, with the grids and curves of its run's folder, if it is given.

    member: which GAN of it, where the folder is a population's; that has curves and no grids.

    It asks no server and no network for anything. Raises `UserError` for nets that it cannot run, and for points.
    """
    facts = json.dumps(_facts(gan, folder, member, warn), allow_nan=False).replace("<", "\\u003c")
    text = (ASSETS / "page.html").read_text(encoding="utf-8")
    for line, kind, content in (
        (
            '<link rel="stylesheet" href="page.css">',
            "style",
            (ASSETS / "page.css").read_text(encoding="utf-8"),
        ),
        ('<script src="facts.json"></script>', 'script type="application/json" id="facts"', facts),
        ('<script src="nets.js"></script>', "script", (ASSETS / "nets.js").read_text(encoding="utf-8")),
        ('<script src="page.js"></script>', "script", (ASSETS / "page.js").read_text(encoding="utf-8")),
    ):
        head, found, tail = text.partition(line)
        assert found, line
        text = f"{head}<{kind}>\n{content}</{kind.split()[0]}>{tail}"
    return text


def _facts(
    gan: Gan, folder: Path | None, member: int | None, warn: Callable[[str], object]
) -> dict[str, Any]:
    if data.are_points(gan.parts.image_shape):
        raise UserError("the page is for images, and this run makes points.")
    config, generator = gan.config, plain_layers.of_generator(gan)
    classes = gan.classes(SAMPLES)
    rows: list[report.LogRow] = []
    if folder is not None and member is not None:
        rows = rows_of_member(folder, gan.step, member)
    elif folder is not None:
        rows = report.read_rows(folder / "metrics.jsonl", gan.step)
    return {
        "title": f"{data.dataset_name(config.dataset)}, {config.preset or config.loss}",
        "about": f"{config.model}, step {gan.step:,} of {gan.plan.total:,}, seed {config.seed}",
        "shape": gan.parts.image_shape,
        "uniform": gan.parts.z_distribution == "uniform",
        "classes": gan.parts.num_classes or 0,
        "pack": gan.parts.pack,
        "generator": [_layer(layer) for layer in generator],
        "discriminator": [_layer(layer) for layer in plain_layers.of_discriminator(gan)],
        "directions": _floats(plain_layers.directions(generator[0], DIRECTIONS)),
        "samples": _floats(gan.latents(SAMPLES, config.seed)),
        "labels": None if classes is None else np.asarray(classes).tolist(),
        "scores": _scores(gan),
        "film": [] if folder is None else _film(folder, warn),
        "curves": _curves(rows),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        kernel = layer.affine.kernel.astype("<f2")
    if not np.isfinite(kernel).all():
        raise UserError("the page holds weights as float16, and this run has some that are beyond them.")
    *_, channels, features = kernel.shape
    return {
        "kind": layer.kind,
        "height": layer.height,
        "width": layer.width,
        "channels": channels,
        "features": features,
        "slope": layer.slope,
        "kernel": base64.b64encode(kernel.tobytes()).decode(),
        "biases": _floats(layer.affine.biases),
        "gains": None if layer.affine.gains is None else _floats(layer.affine.gains),
    }


def _floats(array: Any) -> str:
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()


def _scores(gan: Gan) -> dict[str, Any]:
    """D's score of an image, as the log has it for real ones, at even distances of its logit from −most to most.

    A table, since the loss says what a score is, and it may be anybody's. Some losses see only the difference of two
    logits; it is then that from the mean of samples.
    """
    num = JUDGED // gan.parts.pack * gan.parts.pack
    labels = gan.classes(num)
    logits = np.asarray(gan.discriminate(gan.generate(gan.latents(num, gan.config.seed), labels), labels))
    most = float(np.abs(logits).max()) * 2 + 8
    score = lambda logit: gan.parts.objective.score(logit[None], jnp.full(1, logits.mean()))[0]
    return {"most": most, "values": _floats(jax.vmap(score)(jnp.linspace(-most, most, SCORES)))}


def _film(folder: Path, warn: Callable[[str], object]) -> list[dict[str, str]]:
    """The run's grids, and what is said below each; none of a population, which draws none."""
    try:
        grids = film.chosen(film.grids_of(folder, warn), GRIDS)
    except UserError:
        return []
    steps = film.steps_of(folder)
    return [
        {"caption": film.caption(path, steps), "png": base64.b64encode(content_of(path)).decode()}
        for path in grids
    ]


def _curves(rows: Sequence[report.LogRow]) -> list[dict[str, Any]]:
    """A run's curves as `losses.png` has them, thinned."""
    rows = (
        [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, ROWS).round().astype(int))] if rows else []
    )
    curves = []
    for title, names in pictures.panels(rows):
        read = _power_of_ten if title == pictures.NORMS else _finite  # what vanishes does so by powers of ten
        values = {label: [read(row.get(name)) for row in rows] for name, label in names.items()}
        low, high = pictures.limits(np.array(list(values.values()), np.float64))
        middle = 0.5 if title == pictures.SCORES else None
        if low is not None and high is not None:
            low, high = (low, high) if middle is None else (min(low, middle), max(high, middle))
            curves.append(
                {
                    "middle": middle,
                    "title": title[:1].upper()
                    + title[1:]
                    + (", powers of ten" if read is _power_of_ten else ""),
                    "steps": [row["step"] for row in rows],
                    "low": low,
                    "high": high,
                    "series": [{"name": label, "values": found} for label, found in values.items()],
                }
            )
    return curves


def _power_of_ten(value: float | None) -> float | None:
    found = _finite(value)
    return math.log10(found) if found is not None and found > 0 else None


def _finite(value: float | None) -> float | None:
    """A number of a log; None for what JSON cannot hold, as a damaged log may."""
    return value if value is not None and np.isfinite(value) else None

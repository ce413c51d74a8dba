"""evaluation.png: what the numbers do not show of a set of samples."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax import pictures

COLUMNS = 10  # samples shown with their neighbours, and steps from one latent to the next


class ShownRow(NamedTuple):
    """Images uint8 [COLUMNS, H, W, C] under a title, and a caption for each."""

    title: str
    images: np.ndarray
    captions: list[str]


class Curve(NamedTuple):
    """A score, called `name`, over the steps of a run; and its floor."""

    name: str
    steps: list[int]
    values: list[float]
    floor: float


class Page(NamedTuple):
    """What is drawn: shares [classes] of the classes, samples with their neighbours, and for a run more."""

    title: str
    real_shares: np.ndarray
    fake_shares: np.ndarray
    neighbours: list[ShownRow]
    curve: Curve | None
    interpolations: np.ndarray | None


def save(page: Page, path: Path) -> None:
    """Draw the page as a PNG."""
    # Imported here: it takes half a second, which no other use of this package should wait for.
    from matplotlib.figure import Figure

    heights = [2.6, 3.6] + ([4.2] if page.interpolations is not None else [])
    figure = Figure(figsize=(10, sum(heights) + 0.4), layout="constrained", facecolor="white")
    figure.suptitle(page.title, fontsize=11)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    _draw_numbers(parts[0], page)
    _draw_neighbours(parts[1], page.neighbours)
    if page.interpolations is not None:
        axes = parts[2].subplots()
        _draw_image(axes, pictures.mosaic(page.interpolations, COLUMNS))
        axes.set_title("Interpolations: each row from one latent to another", fontsize=10)
    figure.savefig(path, dpi=120, format="png")


def _draw_numbers(figure: Any, page: Page) -> None:
    classes = np.arange(len(page.real_shares))
    axes = figure.subplots(1, 2 if page.curve else 1, squeeze=False)[0]
    axes[0].bar(classes - 0.2, page.fake_shares, 0.4, label="samples")
    axes[0].bar(classes + 0.2, page.real_shares, 0.4, label="test images", color="silver")
    axes[0].set_xlabel("class, as the classifier sees it")
    axes[0].set_ylabel("share")
    if len(classes) <= 20:
        axes[0].set_xticks(classes)
    # Above the bars, where it hides none.
    axes[0].set_ylim(top=1.25 * max(page.real_shares.max(), page.fake_shares.max()))
    axes[0].legend(loc="upper center", ncols=2, fontsize=8, frameon=False)
    if page.curve:
        axes[1].plot(page.curve.steps, page.curve.values, marker=".", label="samples")
        axes[1].axhline(
            page.curve.floor, color="grey", linestyle="--", linewidth=1, label="real train images"
        )
        axes[1].set_yscale("log")
        axes[1].set_title(page.curve.name, fontsize=9)
        axes[1].set_xlabel("step")
        axes[1].grid(alpha=0.3, which="both")
        axes[1].legend(fontsize=8)


def _draw_neighbours(figure: Any, rows: list[ShownRow]) -> None:
    """ShownRow by row, each with its title at the left."""
    all_axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for row, line in zip(rows, all_axes, strict=True):
        for i, axes in enumerate(line):
            axes.set_axis_off()
            if i < len(row.images):
                _draw_image(axes, row.images[i])
                axes.set_title(row.captions[i], fontsize=8, pad=2)
        line[0].text(-0.15, 0.5, row.title, ha="right", va="center", fontsize=9, transform=line[0].transAxes)


def _draw_image(axes: Any, image: np.ndarray) -> None:
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()

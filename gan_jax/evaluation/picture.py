"""evaluation.png: every score beside its bounds, and what numbers do not show of a set of samples."""

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax import pictures
from gan_jax.errors import printable
from gan_jax.evaluation import table
from gan_jax.evaluation.scores import Score

COLUMNS = 10  # samples shown with their neighbours, and steps from one latent to the next
WIDTH = 10.0  # inches
TITLE_WIDTH = 90  # letters in a line of the title
OUTLYING = 30  # times the median: values of a curve beyond it are drawn at the edge


class ImageRow(NamedTuple):
    """Images uint8 [COLUMNS, H, W, C] under a title, and a caption for each."""

    title: str
    images: np.ndarray
    captions: list[str]


class Curve(NamedTuple):
    """A Fréchet distance, called `name` in full, over the steps of a run; and its floor, if it is known."""

    name: str
    steps: list[int]
    values: list[float]
    floor: float | None


class ClassShares(NamedTuple):
    """Shares [classes] of the classes among real images and among samples."""

    real: np.ndarray
    fake: np.ndarray


class Page(NamedTuple):
    """What is drawn: all scores, samples with their neighbours, and what else there is of classes and of a run."""

    title: str
    protocol: str
    scores: list[Score]
    shares: ClassShares | None
    neighbours: list[ImageRow]
    curve: Curve | None
    interpolations: np.ndarray | None
    classes: list[int] | None = None  # of a conditional run's interpolations, row by row


def save(page: Page, path: Path) -> None:
    """Draw the page as a PNG."""
    # Imported here: it takes half a second, which no other use of this package should wait for.
    from matplotlib.figure import Figure

    title = textwrap.fill(printable(page.title), TITLE_WIDTH, break_on_hyphens=False)
    heights = [max(0.7 + 0.23 * len(page.scores), 3.2), 3.6] + (
        [4.2] if page.interpolations is not None else []
    )
    height = sum(heights) + 0.5 + 0.2 * len(title.splitlines())
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=12, parse_math=False)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    parts[0].suptitle(page.protocol, fontsize=8)
    _draw_numbers(parts[0], page)
    _draw_neighbours(parts[1], page.neighbours)
    if page.interpolations is not None:
        axes = parts[2].subplots()
        _draw_image(axes, pictures.mosaic(page.interpolations, COLUMNS))
        axes.set_title("Interpolations: each row from one latent to another", fontsize=10)
        _name_rows(axes, page.classes or [], page.interpolations.shape[1])
    figure.savefig(path, dpi=120, format="png")


def _name_rows(axes: Any, classes: list[int], height: int) -> None:
    """The class of each row of a mosaic of images of this height, at its left."""
    for row, label in enumerate(classes):
        centre = pictures.GAP + row * (height + pictures.GAP) + height / 2
        axes.text(-pictures.GAP, centre, f"class {label}", ha="right", va="center", fontsize=9)


def _draw_numbers(figure: Any, page: Page) -> None:
    """The scores at the left; class shares and the curve at the right, as far as there are any."""
    drawings = [draw for draw, of in ((_draw_shares, page.shares), (_draw_curve, page.curve)) if of]
    left, *right = figure.subfigures(1, 2, width_ratios=[1.15, 1]) if drawings else [figure]
    draw_scores(left.subplots(), page.scores)
    if drawings:
        for axes, draw in zip(right[0].subplots(len(drawings), squeeze=False)[:, 0], drawings, strict=True):
            draw(axes, page)


def draw_scores(axes: Any, scores: list[Score]) -> None:
    """A table of the scores beside their bounds, in these axes."""
    axes.set_axis_off()
    several = len({score.network for score in scores}) > 1
    lines = [
        [
            table.titled(s) + (f", {s.network}" if several else ""),
            table.value(s),
            table.number(s.floor),
            table.number(s.noise),
        ]
        for s in scores
    ]
    drawn = axes.table(
        lines,
        colLabels=["score", "samples", "real train", "noise"],
        colWidths=[0.34, 0.28, 0.19, 0.19],
        cellLoc="right",
        colLoc="right",
        edges="horizontal",
        bbox=[0, 0, 1, 1],
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8.5)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("lightgrey")
        if column == 0:
            cell.set_text_props(ha="left")
        if row == 0 or column == 1:
            cell.set_text_props(weight="bold")


def _draw_shares(axes: Any, page: Page) -> None:
    assert page.shares is not None
    real, fake = page.shares
    classes = np.arange(len(real))
    axes.bar(classes - 0.2, fake, 0.4, label="samples")
    axes.bar(classes + 0.2, real, 0.4, label="test images", color="silver")
    axes.set_xlabel("class, as the classifier sees it", fontsize=8)
    axes.set_ylabel("share", fontsize=8)
    axes.tick_params(labelsize=8)
    if len(classes) <= 20:
        axes.set_xticks(classes)
    # Above the bars, where it hides none.
    axes.set_ylim(top=1.35 * max(real.max(), fake.max()))
    axes.legend(loc="upper center", ncols=2, fontsize=8, frameon=False)


def curve_limits(curve: Curve) -> tuple[float, float] | None:
    """The range of a curve's logarithmic axis: all of it but its outliers, and the floor; None without any value."""
    shown = np.array([x for x in [*curve.values, curve.floor or 0.0] if np.isfinite(x) and x > 0])
    values = np.array([x for x in curve.values if np.isfinite(x) and x > 0])
    if not len(values):
        return None
    return float(0.7 * shown.min()), float(1.4 * shown[shown <= OUTLYING * np.median(values)].max())


def _ticks(ratio: float) -> tuple[float, ...]:
    """Which multiples of a power of ten are labelled on an axis whose upper limit is so many times its lower."""
    if ratio < 5:
        return (1, 1.5, 2, 3, 4, 6, 8)
    return (1, 2, 5) if ratio < 30 else (1, 3) if ratio < 300 else (1,)


def _curve_title(name: str) -> str:
    """METRIC/NETWORK/10k-test in words."""
    network, protocol = name.partition("/")[2].rsplit("/", 1)
    return f"Fréchet distance (lower is better): {protocol.split('-')[0]} samples,\nfeatures of {network}"


def _draw_curve(axes: Any, page: Page) -> None:
    assert page.curve is not None
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    name, steps, values, floor = page.curve
    limits = curve_limits(page.curve)
    axes.plot(steps, values, marker=".", label="samples")
    if floor is not None:
        axes.axhline(floor, color="grey", linestyle="--", linewidth=1, label="real train images")
    if limits is not None:
        axes.set_yscale("log")
        axes.set_ylim(*limits)
        beyond = [step for step, value in zip(steps, values, strict=True) if value > limits[1]]
        axes.plot(beyond, [limits[1] / 1.1] * len(beyond), "^", color="C0", markersize=5)
        # Left to itself, a log axis labels its ticks 6×10⁻¹.
        axes.yaxis.set_major_locator(LogLocator(subs=_ticks(limits[1] / limits[0])))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_title(_curve_title(name), fontsize=8)
    axes.set_xlabel("training step", fontsize=8)
    axes.tick_params(labelsize=8, which="both")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)


def _draw_neighbours(figure: Any, rows: list[ImageRow]) -> None:
    """Row by row, each with its title at the left."""
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

"""What the experiment keeps and writes: augmentation.json, augmentation.md, augmentation.png."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax import __version__
from gan_jax.comparison.spread import difference, spread
from gan_jax.errors import UserError
from gan_jax.pictures import mosaic
from gan_jax.storage import replacing, write_atomically

SOURCES = ("real", "generated", "both")


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """A classifier: of so many real images, of a seed, trained on what `source` says."""

    size: int
    seed: int
    source: str


class Accuracies:
    """The test accuracies of the classifiers trained so far, kept in a file under what they all depend on.

    known: from 0 to 1, by cell; None where the GAN diverged, so that there are no samples.
    """

    def __init__(self, path: Path, protocol: Mapping[str, Any]) -> None:
        """Take what the file has. Raises `UserError` if it is of another protocol."""
        self._path, self.protocol = path, dict(protocol)
        self.known: dict[Cell, float | None] = {}
        if not path.exists():
            return
        try:
            found = json.loads(path.read_bytes())
            protocol_there, cells = found["protocol"], found["classifiers"]
            known = {Cell(c["size"], c["seed"], c["source"]): c["accuracy"] for c in cells}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged: delete it, and its classifiers are trained anew.") from error
        if protocol_there != self.protocol:
            differing = [name for name in protocol if protocol_there.get(name) != self.protocol[name]]
            raise UserError(
                f"{path} is of another experiment, which differs in {', '.join(differing) or 'its options'}: give "
                "another --workdir, or the same values to go on."
            )
        self.known = known

    def add(self, cell: Cell, accuracy: float | None) -> None:
        """Keep it."""
        self.known[cell] = accuracy
        self.save(self._path, self.known)

    def save(self, path: Path, cells: Iterable[Cell]) -> None:
        """Write these to a file."""
        rows = [{**dataclasses.asdict(cell), "accuracy": self.known[cell]} for cell in sorted(cells)]
        made_by = {"gan_jax": __version__, "jax": jax.__version__, "device": jax.devices()[0].device_kind}
        content = {**made_by, "protocol": self.protocol, "classifiers": rows}
        write_atomically(path, json.dumps(content, indent=1) + "\n")


Rows = Mapping[int, Mapping[str, list[float | None]]]  # accuracies by size and source, one a seed


def write(
    folder: Path,
    accuracies: Accuracies,
    sizes: Iterable[int],
    seeds: Iterable[int],
    samples: Mapping[int, np.ndarray],
    command: str,
) -> None:
    """Write the table, the figure and the numbers into the folder.

    samples: of one seed's GAN by its number of real images, uint8 [n, H, W, C], a class in each column in turn.
    """
    sizes, seeds = list(sizes), list(seeds)
    rows: Rows = {
        size: {source: [accuracies.known[Cell(size, seed, source)] for seed in seeds] for source in SOURCES}
        for size in sizes
    }
    cells = [Cell(size, seed, source) for size in sizes for seed in seeds for source in SOURCES]
    accuracies.save(folder / "augmentation.json", cells)
    _plot(rows, samples, accuracies.protocol, folder / "augmentation.png")
    write_atomically(folder / "augmentation.md", _report(rows, accuracies.protocol, len(seeds), command))


def _report(rows: Rows, protocol: Mapping[str, Any], seeds: int, command: str) -> str:
    lines = [
        f"# Does generated data help? {protocol['dataset']}, {seeds} seed{'s' * (seeds > 1)}",
        "",
        f"A conditional GAN ({protocol['gan']}, {protocol['gan_steps']:,} steps) learns from the real images of its "
        f"row and from no others, and draws {protocol['samples']:,}, as many of each class. The same classifier is "
        "trained on the real images, on the samples alone (Ravuri & Vinyals 2019 call its accuracy the classification "
        f"accuracy score), and on both, half of what it sees being real: each time {protocol['steps']:,} steps of "
        f"{protocol['batch_size']} images, and no other augmentation. Another seed is another choice of images, "
        f"another GAN and another classifier. Accuracy on all {protocol['test_images']:,} test images in percent, mean "
        "± standard deviation over the seeds; the last column has the 95% interval of the paired difference.",
        "",
        "```sh",
        command,
        "```",
        "",
        "| real images | real alone | generated alone | both | both − real |",
        "|---|---|---|---|---|",
    ]
    for size, found in rows.items():
        cells = [_cell(found[source]) for source in SOURCES]
        lines.append(f"| {size:,} | " + " | ".join(cells) + f" | {_gain(found)} |")
    return "\n".join([*lines, "", "![Test errors, and samples](augmentation.png)"]) + "\n"


def _alive(values: Iterable[float | None]) -> list[float]:
    return [100 * x for x in values if x is not None]


def _cell(values: list[float | None]) -> str:
    found = spread(_alive(values))
    if found is None:
        return "the GAN diverged"
    lost = f" ({len(values) - found.n} diverged)" * (found.n < len(values))
    return f"{found.mean:.2f}" + ("" if found.sd is None else f" ± {found.sd:.2f}") + lost


def _gain(found: Mapping[str, list[float | None]]) -> str:
    pairs = [
        (b, r) for b, r in zip(found["both"], found["real"], strict=True) if b is not None and r is not None
    ]
    gain = difference(_alive(b for b, _ in pairs), _alive(r for _, r in pairs))
    if not gain.n:
        return "–"
    interval = "" if gain.interval is None else " [{:+.2f}, {:+.2f}]".format(*gain.interval)
    return f"{gain.mean:+.2f}{interval}"


def _plot(rows: Rows, samples: Mapping[int, np.ndarray], protocol: Mapping[str, Any], path: Path) -> None:
    """Test errors of each seed, with the means joined; beside them samples of each number's GAN."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1), squeeze=False)[0]
    axes = left.subplots()
    at = np.arange(len(rows))
    least = 1.0
    for shift, source in zip((-0.12, 0.0, 0.12), SOURCES, strict=True):
        errors = [[100 - x for x in _alive(found[source])] for found in rows.values()]
        means = [np.mean(x) if x else np.nan for x in errors]
        least = min([least, *(value for values in errors for value in values)])
        [line] = axes.plot(at + shift, means, linewidth=1, alpha=0.6)
        for place, values in zip(at + shift, errors, strict=True):
            axes.plot([place] * len(values), values, ".", color=line.get_color(), markersize=7)
        line.set_label({"real": "real alone", "generated": "generated alone", "both": "both"}[source])
    if least > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(at, [f"{size:,}" for size in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_xlabel("real images that the GAN and the classifier learn from")
    axes.set_ylabel("test error, %")
    axes.set_title(f"{protocol['dataset']}: classifiers, a point a seed", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    for panel, size in zip(np.ravel(right.subplots(len(rows), 1)), rows, strict=True):
        panel.set_axis_off()
        panel.set_title(f"samples of the GAN of {size:,}", fontsize=9)
        if size in samples:
            picture = mosaic(samples[size], len(samples[size]) // 2)
            panel.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    with replacing(path) as new:
        figure.savefig(new, dpi=120, format="png")

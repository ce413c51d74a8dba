"""What the benchmark makes of its measurements: the figures, their table and their chart."""

import statistics
from typing import Any

from matplotlib.figure import Figure

from gan_jax.config import Config

Row = dict[str, Any]
LABELS = {
    "gan_jax": "gan_jax",
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "naive": "plain Flax loop",
}
COLORS = {"gan_jax": "#1b6ca8", "eager": "#d95f02", "compile": "#f0b27a", "naive": "#a3adb5"}


def summarise(
    config: Config,
    rows: dict[str, Row],
    times: dict[str, list[float]],
    rates: list[dict[str, list[float]]],
    flop: float,
) -> Row:
    """All figures of one model at one batch size.

    times: each round's ms/step by contender. rates: FLOP/s of matrix products by size, before and after the rounds.
    flop: of one of our steps. Raises `RuntimeError` if the contenders' nets are not the same size.
    """
    pooled = {size: [rate for part in rates for rate in part[size]] for size in rates[0]}
    best = max(statistics.median(values) for values in pooled.values())
    for name, row in rows.items():
        if "skipped" in row:
            continue
        if row["parameters"] != rows["gan_jax"]["parameters"]:
            raise RuntimeError(f"{name}'s nets have {row['parameters']} parameters, gan_jax's another number")
        row |= _speed(times[name], config.batch_size)
    for row in rows.values():
        if "ms" in row and "ms" in rows.get("eager", {}):
            row["of_eager"] = row["ms"] / rows["eager"]["ms"]
    achieved = 1e3 * flop / rows["gan_jax"]["ms"]
    return {
        "machine": {key: value for row in rows.values() for key, value in row.pop("machine", {}).items()},
        "model": config.model,
        "batch_size": config.batch_size,
        "flop_per_step": flop,
        "matrix_flop_per_s": pooled,
        "best_matrix_flop_per_s": best,
        "flop_per_s": achieved,
        "share_of_matrix_rate": achieved / best,
        "contenders": rows,
    }


def _speed(times: list[float], batch_size: int) -> Row:
    median = statistics.median(times)
    return {
        "ms": median,
        "ms_min": min(times),
        "ms_max": max(times),
        "ms_rounds": times,
        "steps_per_s": 1e3 / median,
        "images_per_s": 1e3 * batch_size / median,
    }


def table(system: Row) -> str:
    """The figures of one model at one batch size, for people."""
    lines = [
        f"\n{system['model']}, batch {system['batch_size']}: {system['flop_per_step'] / 1e9:.3f} GFLOP a step; "
        f"gan_jax does {system['flop_per_s'] / 1e9:.1f} GFLOP/s, {system['share_of_matrix_rate']:.0%} of the "
        f"{system['best_matrix_flop_per_s'] / 1e9:.1f} of matrix products",
        f"{'':16}ms/step     min     max  of PyTorch  steps/s  images/s  first call s  peak MB",
    ]
    for name, row in system["contenders"].items():
        if "skipped" in row:
            lines.append(f"{LABELS[name]:16}not measured: {row['skipped']}")
            continue
        of_eager = f"{row['of_eager']:10.3f}" if "of_eager" in row else f"{'':10}"
        lines.append(
            f"{LABELS[name]:16}{row['ms']:7.2f} {row['ms_min']:7.2f} {row['ms_max']:7.2f}  {of_eager} "
            f"{row['steps_per_s']:8.1f} {row['images_per_s']:9.0f} {row['first_call_s']:13.1f} "
            f"{_peak(row):>8}  {row['note']}".rstrip()
        )
    return "\n".join(lines)


def _peak(row: Row) -> str:
    """In MB: the device's where it is counted, else the process's; blank for a process that was not its own."""
    peak = row["device_peak_bytes"] or row["process_peak_bytes"]
    return f"{peak / 1e6:.0f}" if peak else ""


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def chart(systems: list[Row]) -> Figure:
    """Bars of ms/step, over eager PyTorch's, or over gan_jax's where that was not measured."""
    reference = "eager" if all("ms" in s["contenders"].get("eager", {}) for s in systems) else "gan_jax"
    names = [name for name in LABELS if any("ms" in s["contenders"].get(name, {}) for s in systems)]
    width = 0.84 / len(names)
    figure = Figure(figsize=(max(6.0, 1.0 + 0.5 * len(systems) * len(names)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    for i, name in enumerate(names):
        measured = [
            (x, s["contenders"]) for x, s in enumerate(systems) if "ms" in s["contenders"].get(name, {})
        ]
        heights = [rows[name]["ms"] / rows[reference]["ms"] for _, rows in measured]
        places = [x + (i - (len(names) - 1) / 2) * width for x, _ in measured]
        bars = axes.bar(places, heights, width * 0.94, color=COLORS[name], label=LABELS[name])
        labels = [
            f"{h:.2f}\n{_short(rows[name]['ms'])} ms" for h, (_, rows) in zip(heights, measured, strict=True)
        ]
        axes.bar_label(bars, labels, fontsize=7, padding=2)
    axes.set_xticks(range(len(systems)), [f"{s['model']}\nbatch {s['batch_size']}" for s in systems])
    axes.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_ylabel(f"time of a step, {LABELS[reference]} = 1")
    axes.margins(x=0.02, y=0.14)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(names), frameon=False
    )
    return figure

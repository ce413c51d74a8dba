"""What was counted, as a table for people, and held against what was counted before."""

from collections.abc import Mapping
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]

# What --check compares; less of it is no fault.
CHECKED = ("kernels", "bytes_accessed", "bytes_a_member", "collective_bytes")

_HEADINGS = (
    "system",
    "compile, s",
    "arguments + results + temporaries, MB",
    "a GAN, MB",
    "kernels",
    "fusions + calls + copies + others",
    "branches",
    "scalars, transfers",
    "main memory, MB",
    "XLA's bytes, MB",
    "MFLOP",
    "exchanged",
    "at least, µs: by bandwidth, by peak",
)

_INTRODUCTION = """Written by `python -m experiments.accelerators`: our own programs, compiled for machines that are not
there. Everything is that of one chip, and from "kernels" on that of one step. A population of M does a step of each of
its members at once, shared out over the chips; a single run shares out its batch. In brackets: kernels as multiples of
the single run's.

- A kernel is an instruction of the optimized loop's body: a fusion, a library call, a copy. Apart stand the branches,
  what is inside of which is not counted; the single numbers of a TPU's scalar unit; and the transfers between a TPU's
  memories, which run beside the kernels.
- Main memory is what kernels read from it and write to it. A TPU keeps what it can in the memory on the chip, for all
  steps of a chunk; that is not counted. XLA's bytes are its own count of the whole program with one pass through each
  loop: of all that instructions take and give, in whatever memory.
- Arguments hold the data set as well, 47 MB of MNIST; "a GAN" is all the rest, over the GANs on a chip.
- The last column is an estimate: the time in which main memory could be read, and products computed, at the rates that
  the chip's maker gives. Small kernels take longer, a few microseconds each to start.
- The compiler for GPUs times its choices where there is one. Here it could not.
- Seconds of compilation are those of the machine that counted, with all else that it did.
"""


def page(versions: Mapping[str, str], programs: Rows, before: Rows) -> str:
    """All tables, one for each target, as Markdown; `before`: of another version of the code, to compare with."""
    rows = programs
    lines = ["# Compiled for accelerators", "", _INTRODUCTION, f"JAX {versions['jax']}.", ""]
    for target in dict.fromkeys(key.split(", ")[0] for key in rows):
        lines += [f"## {target}", "", f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
        for key, row in rows.items():
            if key.split(", ")[0] == target:
                lines.append(f"| {' | '.join(_cells(key, row, rows))} |")
        lines.append("")
    return "\n".join(lines + _compared(rows, before))


def _compared(rows: Rows, before: Rows) -> list[str]:
    """Kernels and bytes, before and after, of the programs that were counted twice."""
    same = [key for key, row in rows.items() if before.get(key) == row]
    both = [
        key
        for key in before
        if "kernels" in before[key] and "kernels" in rows.get(key, {}) and key not in same
    ]
    lines = ["## Before and after", "", "| program | kernels | main memory, MB |", "|---|---|---|"]
    for key in both:
        old, new = before[key], rows[key]
        moved = f"{_mb(old['bytes_accessed'])} → {_mb(new['bytes_accessed'])}"
        lines.append(f"| {key} | {old['kernels']} → {new['kernels']} | {moved} |")
    stale = [f"Not counted again, and above as before: {'; '.join(same)}.", ""] if same else []
    return [*lines, "", *stale] if both else stale


def _cells(key: str, row: Mapping[str, Any], rows: Rows) -> list[str]:
    name = key.split(", ", 1)[1]
    if "fails" in row:
        return [name, row["fails"], *[""] * (len(_HEADINGS) - 2)]
    single = rows.get(f"{key.rsplit(', ', 1)[0]}, single run", {}).get("kernels")
    times = f" (×{row['kernels'] / single:.2f})" if single and "population" in key else ""
    parts = [row.get(kind, 0) for kind in ("fusion", "library_call", "copy", "other")]
    collectives = (
        f"{row['collective']} × , {_mb(row['collective_bytes'])} MB" if row.get("collective") else ""
    )
    return [
        name,
        f"{row['compile_s']:.0f}",
        " + ".join(_mb(row[kind]) for kind in ("arguments", "results", "temporaries")),
        _mb(row["bytes_a_member"]),
        f"{row['kernels']}{times}",
        " + ".join(map(str, parts)),
        str(row["branches"]),
        f"{row.get('scalar', 0)}, {row.get('transfer', 0)}",
        _mb(row["bytes_accessed"]),
        _mb(row["bytes_by_xla"]) if "bytes_by_xla" in row else "",
        f"{row['flop'] / 1e6:,.0f}",
        collectives.replace(" × , ", " ×, "),
        f"{row['us_by_bandwidth']:,.1f}, {row['us_by_peak']:,.1f}" if "us_by_peak" in row else "",
    ]


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f}" if count < 1e8 else f"{count / 1e6:,.0f}"


def worse(before: Rows, now: Rows, tolerance: float) -> list[str]:
    """A line for each count that is more than it was by a larger share than `tolerance`, or was not counted before."""
    lines = []
    for key, row in now.items():
        if (old := before.get(key)) is None:
            lines.append(f"{key}: the table has no such program; write it by running without --check.")
        elif "fails" in row:
            lines += [] if "fails" in old else [f"{key}: it does not compile any more: {row['fails']}"]
        elif "fails" not in old:
            lines += [
                f"{key}: {name.replace('_', ' ')} {row[name]:,}, in the table {old[name]:,}."
                for name in CHECKED
                if row[name] > (1 + tolerance) * old[name]
            ]
    return lines

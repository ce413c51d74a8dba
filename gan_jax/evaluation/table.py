"""Scores as a table of text: a line for each metric, or, where many sets of samples are compared, for each of them."""

from collections.abc import Mapping, Sequence

from gan_jax.evaluation.scores import LOWER, Score, heading

LONGEST_NAME = 24  # of a set of samples; of a longer one its end is shown
FEW = 3  # sets of samples that have a column each; more have a line each, without the spreads


def table(subjects: Mapping[str, Sequence[Score]]) -> str:
    """The scores of several sets of samples under one protocol, above their bounds; a block for each network."""
    networks = {score.network: None for scores in subjects.values() for score in scores}
    return "\n\n".join(
        _block({name: [s for s in scores if s.network == network] for name, scores in subjects.items()})
        for network in networks
    )


def number(value: float) -> str:
    """Four digits of it."""
    return f"{value:.4g}"


def value(score: Score) -> str:
    """Four digits of it, and its spread."""
    return number(score.value) + ("" if score.spread is None else f" ± {score.spread:.2g}")


def titled(score: Score, gap: str = " ") -> str:
    """Its short name, and which way is better."""
    name = heading(score.metric) or score.metric.replace("_", " ")
    return f"{name}{gap}{'↓' if score.better == LOWER else '↑'}"


def _block(subjects: Mapping[str, Sequence[Score]]) -> str:
    shown = {name: [s for s in scores if heading(s.metric)] for name, scores in subjects.items()}
    first = next(iter(shown.values()))
    few = len(shown) <= FEW
    cell = value if few else lambda score: number(score.value)
    lines = [["", *(titled(score, " " if few else "") for score in first)]]
    lines += [[_shortened(name), *map(cell, scores)] for name, scores in shown.items()]
    lines.append(["real train", *(number(score.floor) for score in first)])
    lines.append(["noise", *(number(score.noise) for score in first)])
    if few:
        lines = [list(line) for line in zip(*lines, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    text.insert(1 if few else -2, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([*text, protocol(first[0])])


def _shortened(name: str) -> str:
    """The end of a long name."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]


def protocol(score: Score) -> str:
    """What all scores of a network depend on, in one line."""
    if not score.n_real:
        return (
            f"{score.n_fake:,} samples, seed {score.seed}; by {score.network}, SHA-256 {score.network_sha256[:16]}…: a "
            "sample is of high quality within 3 standard deviations of a mode"
        )
    return (
        f"{score.n_fake:,} samples, {score.n_real:,} {score.split} images, seed {score.seed}; "
        f"features: {score.network}, SHA-256 {score.network_sha256[:16]}…"
    )

"""Scores as a table of text: a line for each set of samples, a column for each metric."""

from collections.abc import Mapping, Sequence

from gan_jax.evaluation.scores import LOWER, Score, heading

LONGEST_NAME = 26  # of a set of samples; of a longer one its end is shown


def table(subjects: Mapping[str, Sequence[Score]]) -> str:
    """The scores of several sets of samples under one protocol, above their bounds; a block for each network."""
    networks = {score.network: None for scores in subjects.values() for score in scores}
    return "\n\n".join(
        _block({name: [s for s in scores if s.network == network] for name, scores in subjects.items()})
        for network in networks
    )


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """The end of a long name."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def number(value: float) -> str:
    """Four digits of it."""
    return f"{value:.4g}"


def value(score: Score) -> str:
    """Four digits of it, and its spread."""
    return number(score.value) + ("" if score.spread is None else f" ± {score.spread:.2g}")


def titled(score: Score) -> str:
    """Its short name, and which way is better."""
    return f"{heading(score.metric) or score.metric} {'↓' if score.better == LOWER else '↑'}"


def _block(subjects: Mapping[str, Sequence[Score]]) -> str:
    shown = {name: [s for s in scores if heading(s.metric)] for name, scores in subjects.items()}
    first = next(iter(shown.values()))
    lines = [["", *map(titled, first)]]
    lines += [[shortened(name), *map(value, scores)] for name, scores in shown.items()]
    lines.append(["real train", *(number(score.floor) for score in first)])
    lines.append(["noise", *(number(score.noise) for score in first)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    text.insert(-2, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([*text, protocol(first[0])])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]


def protocol(score: Score) -> str:
    """What all scores of a network depend on, in one line."""
    return (
        f"{score.n_fake:,} samples, {score.n_real:,} {score.split} images, seed {score.seed}; "
        f"features: {score.network}, SHA-256 {score.network_sha256[:16]}…"
    )

"""Scores as a table of text: a line for each, a column for each set of samples."""

from collections.abc import Mapping, Sequence

from gan_jax.evaluation.scores import Score


def table(columns: Mapping[str, Sequence[Score]]) -> str:
    """The scores of several sets of samples under one protocol, beside their bounds."""
    first = next(iter(columns.values()))
    lines = [["score", "better", *columns, "real train", "noise"]]
    for scores in zip(*columns.values(), strict=True):
        name, better, bounds = scores[0].name, scores[0].better, (scores[0].floor, scores[0].noise)
        lines.append([name, better, *map(_value, scores), *(f"{bound:.4g}" for bound in bounds)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    networks = {score.network: score.network_sha256 for score in first}
    hashes = "; ".join(f"{network}: SHA-256 {sha256[:16]}…" for network, sha256 in networks.items())
    text.append(
        f"{first[0].n_fake} samples, {first[0].n_real} {first[0].split} images, seed {first[0].seed}; {hashes}"
    )
    return "\n".join(text)


def _value(score: Score) -> str:
    return f"{score.value:.4g}" + ("" if score.spread is None else f" ± {score.spread:.2g}")

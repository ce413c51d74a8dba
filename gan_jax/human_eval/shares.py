"""What raters' answers add up to: shares of wrong answers, their bootstrap intervals, and the table of them.

The protocol is that of HYPE-infinity (Zhou 2019): real and generated images half and half, and 50% errors mean
that no one can tell them apart. Intervals are 95% percentile bootstraps of 10,000 resamples. A resample draws
raters with replacement, and for each drawn rater that rater's fakes, and reals, with replacement. With one rater
that leaves the images, and says nothing of other raters. With several, the noise within a rater counts twice,
so the interval is somewhat too wide; resampling raters alone would have no width for one, and far too little for
two or three.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.human_eval.answers import Conditions, Tally

RESAMPLES = 10_000


class Share(NamedTuple):
    """`wrong` of `asked`, and the 95% interval of that share; None where nothing was asked."""

    wrong: int
    asked: int
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return "-"
        return f"{self.wrong / self.asked:6.1%} [{self.low:.1%}, {self.high:.1%}]"


class Shares(NamedTuple):
    """The fakes judged real, the reals judged fake, and both together: HYPE's score, best at 50%."""

    fakes: Share
    reals: Share
    errors: Share


def shares(tallies: Sequence[Tally]) -> Shares:
    """The shares over all of these raters' answers; give one tally for one rater."""
    counts = np.array([tally[1:] for tally in tallies], np.int64).reshape(
        -1, 2, 2
    )  # [rater, kind, (asked, wrong)]
    asked, wrong = counts[..., 0], counts[..., 1]
    return Shares(
        _share(wrong[:, :1], asked[:, :1]), _share(wrong[:, 1:], asked[:, 1:]), _share(wrong, asked)
    )


def _share(wrong: np.ndarray, asked: np.ndarray) -> Share:
    """The share over [raters, kinds of image]; images are resampled within their kind."""
    answered = asked.sum(1) > 0
    wrong, asked = wrong[answered], asked[answered]
    if not len(asked):
        return Share(0, 0, None, None)
    rng = np.random.default_rng(0)  # the same answers give the same interval
    rater = rng.integers(len(asked), size=(RESAMPLES, len(asked)))
    # Of n answers drawn with replacement from n with k wrong, Binomial(n, k/n) are wrong.
    again = rng.binomial(asked[rater], (wrong / np.maximum(asked, 1))[rater])
    low, high = np.quantile(again.sum((1, 2)) / asked[rater].sum((1, 2)), [0.025, 0.975])
    return Share(int(wrong.sum()), int(asked.sum()), float(low), float(high))


def caution(found: Shares) -> str | None:
    """What must be said beside an interval that has collapsed onto 0% or 100%."""
    if not any(share.asked and share.wrong in (0, share.asked) for share in found):
        return None
    return "A bootstrap cannot see past 0% or 100%: after none in n answers, up to 3/n are still plausible."


def describe(conditions: Conditions) -> str:
    """A session's conditions in one line."""
    shown = "in a grid" if conditions.grid else "one at a time"
    limit = f"shown for {conditions.seconds:g} s" if conditions.seconds else "no time limit"
    return (
        f"{conditions.dataset} {conditions.split} images against checkpoint {conditions.step}, "
        f"seed {conditions.seed}; {conditions.num} images per rater, {shown}, {limit}"
    )


def table(conditions: Conditions, tallies: Sequence[Tally]) -> str:
    """A session's shares with 95% intervals, a line per rater and one for all together."""
    rows: list[tuple[str, ...]] = [
        ("rater", "answers", "fakes judged real", "reals judged fake", "errors (HYPE)")
    ]
    groups = [(tally.name, [tally], conditions.num) for tally in tallies]
    together = (f"together ({len(tallies)})", list(tallies), conditions.num * len(tallies))
    for name, group, num in [*groups, together]:
        found = shares(group)
        rows.append((name, f"{found.errors.asked}/{num}", *map(str, found)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    notes = {caution(shares(group)) for _, group, _ in [*groups, together]} - {None}
    heading = describe(conditions) + "; shares with 95% intervals"
    return "\n".join(line.rstrip() for line in [heading, *lines, *map(str, notes)])

"""What became of a run after a fault: the same bits, said and repaired, refused with a line, or lost."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.fault_campaign.cases import STEPS, Ended, Result, result

OUTCOMES = ("same bits", "repaired", "refused", "lost", "traceback", "hang")


class Verdict(NamedTuple):
    """One of OUTCOMES, the steps that had to be done again, and what there is to say of it."""

    outcome: str
    steps: int
    note: str


def failed(ended: Ended) -> str | None:
    """What is wrong with how a command ended, whatever it did: "traceback", "hang" or None."""
    if ended.rc == "hang":
        return "hang"
    said = ended.out + ended.err
    if "Traceback" in said or "Exception ignored" in said or ended.rc in (1, -6, -11):
        return "traceback"
    return None


def in_one_line(ended: Ended) -> bool:
    """Whether a command said why it refused in one line; warnings may come before it."""
    *warnings, line = ended.err.strip().splitlines() or [""]
    return line.startswith("error: ") and all(warning.startswith("warning: ") for warning in warnings)


def judge(
    attempts: Sequence[Ended], folder: Path, unchanged: bool, whole: Result, before: tuple[int, int]
) -> Verdict:
    """The verdict on a run that was resumed: `attempts` are all, the last is the one that should have reached the end.

    unchanged: whether that one left the folder as it was. before: the last step that was logged, and that of the newest
    whole checkpoint, when it began.
    """
    for ended in attempts:
        if bad := failed(ended):
            return Verdict(bad, 0, ended.err[-1500:])
    last = attempts[-1]
    found = re.search(r"resuming at step (\d+)", last.out)
    resumed = int(found[1]) if found else 0
    steps = max(before[0] - resumed, 0)
    said = " | ".join(last.err.split("\n")).strip(" |")
    if last.rc == 2:
        return Verdict("refused" if unchanged and in_one_line(last) else "lost", 0, said[:300])
    now = result(folder)
    if now is None or (now.step, now.state) != (STEPS, whole.state):
        return Verdict("lost", steps, f"another state at the end; {said[:300]}")
    if resumed < before[1] and "damaged" not in last.err:
        return Verdict("lost", steps, f"went on from {resumed}, and {before[1]} was there")
    differing = "the log" if now.rows != whole.rows else "pictures" if now.pictures != whole.pictures else ""
    if differing and not (said and last.rc == 3):  # a warning alone, of whatever, does not say it
        return Verdict("lost", steps, f"{differing} differ, and that was not said; {said[:300]}")
    return Verdict("repaired" if said else "same bits", steps, said[:300])

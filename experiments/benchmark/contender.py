"""What a contender of the benchmark is."""

from collections.abc import Callable
from typing import NamedTuple


class Contender(NamedTuple):
    """A program that trains.

    run: trains so many steps, and returns the last one's losses of D and G when all its work is done.
    unit: what its numbers of steps are multiples of.
    parameters: the number of G's and of D's.
    note: what there is to say about it after a run, if anything.
    """

    run: Callable[[int], tuple[float, float]]
    unit: int
    parameters: tuple[int, int]
    note: Callable[[], str] = lambda: ""

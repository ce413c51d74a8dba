"""Work on all pairs of two sets of samples: block by block, so that it fits, and on several threads."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

BLOCK = 500  # rows of a matrix of pairs held at once: 10,000 columns of them are 40 MB
THREADS = 4  # at most, for each holds a few such blocks


def over_blocks(work: Callable[[slice], T], rows: int) -> Iterator[T]:
    """`work(slice)` for consecutive blocks of `rows`, in their order whatever the number of threads.

    NumPy lets go of the interpreter in its loops, yet runs all but matrix products on one core.
    """
    blocks = [slice(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, blocks)

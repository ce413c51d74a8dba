"""Progress bars: of steps, which a notebook shows as well, and of anything that takes seconds."""

import warnings
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(iterable: Iterable, title: str) -> Iterable:
    """A bar that goes away at the end, on a terminal only."""
    return tqdm(iterable, desc=title, leave=False, disable=None, dynamic_ncols=True)


def bar_of_steps(total: int, begin: int, *, hidden: bool = False) -> Any:
    """The bar that `progress=True` shows, in a terminal or a notebook; `begin` of its steps are done."""
    with warnings.catch_warnings():
        # In Jupyter without ipywidgets the bar is one of text, which is no news for whoever trains.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm import auto
    return auto.tqdm(total=total, initial=begin, unit="step", dynamic_ncols=True, disable=hidden)

"""The bar that `progress=True` shows, in a terminal or a notebook."""

import warnings
from typing import Any


def bar(total: int, begin: int, *, hidden: bool = False) -> Any:
    """tqdm's bar of steps, of which `begin` are done."""
    with warnings.catch_warnings():
        # In Jupyter without ipywidgets the bar is one of text, which is no news for whoever trains.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm
    return tqdm(total=total, initial=begin, unit="step", dynamic_ncols=True, disable=hidden)

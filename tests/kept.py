"""Registries as they were, after what enters something in them."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from gan_jax import evaluation, plugins

PRESETS = "experiments.presets"  # a module that enters some when it is imported


@contextlib.contextmanager
def registries_kept() -> Iterator[None]:
    """All that is entered, by plugins too, is gone at the end: as if each use were a process of its own."""
    registries: list[dict[Any, Any]] = [
        *plugins.registries().values(),
        plugins.LOADED,
        evaluation.FAMILIES,
    ]
    before, imported = [dict(registry) for registry in registries], PRESETS in sys.modules
    try:
        yield
    finally:
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)
        if not imported:
            sys.modules.pop(PRESETS, None)  # or the next import would enter nothing

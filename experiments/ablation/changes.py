"""The changes that are tried, one at a time: each a name, and the fields that then differ from the base's."""

import dataclasses
from collections.abc import Callable
from typing import Any

from gan_jax import AUGMENTATIONS, MODELS, PRESETS, Config, Networks, Spec, augmentations
from gan_jax.comparison.systems import DEFAULT
from gan_jax.errors import unknown
from gan_jax.models import conv

BASE = "base"


def _widths(g_shrink: int, d_shrink: int) -> Callable[[Spec], Networks]:
    """`conv_small`, both of whose nets are `conv`'s by 4, with other widths."""
    return lambda spec: Networks(conv(spec, g_shrink).generator, conv(spec, d_shrink).discriminator)


# Parts of the changes that the package does not have.
_MODELS = {
    "conv_small_wide_g": _widths(2, 4),
    "conv_small_wide_d": _widths(4, 2),
    "conv_small_narrow_g": _widths(8, 4),
    "conv_small_narrow_d": _widths(4, 8),
}
# What they hide is grey, by which D can tell it from the background.
_AUGMENTATIONS = {
    "translation_grey": augmentations.translation(augmentations.GREY),
    "cutout_grey": augmentations.cutout(augmentations.GREY),
}


def register() -> None:
    """Enter the changes' own parts in the registries; before any change is made."""
    MODELS.update(_MODELS)
    AUGMENTATIONS.update(_AUGMENTATIONS)


def _rates(g: float, d: float) -> Callable[[Config], dict[str, Any]]:
    return lambda base: {
        "g_learning_rate": g * base.g_learning_rate,
        "d_learning_rate": d * base.d_learning_rate,
    }


def _penalties(*names: str, weight: float | None = None, every: int = 1) -> dict[str, Any]:
    # All of it is said, so that a name means the same whatever the base has.
    return {"spectral_norm": False, "penalty": names, "penalty_weight": weight, "penalty_every": every}


def _of_penalties(**fields: Any) -> Callable[[Config], dict[str, Any]]:
    """Of the base's own penalties, if it has any."""
    return lambda base: fields if base.penalty else {}


# Name -> the fields, or what makes them of the base.
CHANGES: dict[str, dict[str, Any] | Callable[[Config], dict[str, Any]]] = {
    BASE: {},
    "schedule=linear": {"schedule": "linear"},
    "schedule=cosine": {"schedule": "cosine"},
    "schedule=cooldown": {"schedule": "cooldown"},
    "schedule=constant": {"schedule": "constant"},
    "schedule=r3gan": {"schedule": "r3gan", "beta2": 0.99},
    "rates=half": _rates(0.5, 0.5),
    "rates=double": _rates(2, 2),
    "rates=fivefold": _rates(5, 5),
    "rates=double+cooldown": lambda base: {**_rates(2, 2)(base), "schedule": "cooldown"},
    "g_rate=double": _rates(2, 1),
    "d_rate=half": _rates(1, 0.5),
    "d_rate=double": _rates(1, 2),
    "beta1=0": {"beta1": 0.0},
    "beta1=0.5": {"beta1": 0.5},
    "beta2=0.9": {"beta2": 0.9},
    "beta2=0.99": {"beta2": 0.99},
    "batch=8": {"batch_size": 8},
    "batch=16": {"batch_size": 16},
    "batch=32": {"batch_size": 32},
    "batch=64": {"batch_size": 64},
    "batch=128": {"batch_size": 128},
    "batch=256": {"batch_size": 256},
    "ema=0": {"ema": 0.0},
    "ema=0.99": {"ema": 0.99},
    "ema=0.9998": {"ema": 0.9998},
    "ema=0.9999": {"ema": 0.9999},
    "z_dim=32": {"z_dim": 32},
    "z_dim=64": {"z_dim": 64},
    "z_dim=100": {"z_dim": 100},
    "z_dim=256": {"z_dim": 256},
    "z=uniform": {"z_distribution": "uniform"},
    "G=wide": {"model": "conv_small_wide_g"},
    "G=narrow": {"model": "conv_small_narrow_g"},
    "D=wide": {"model": "conv_small_wide_d"},
    "D=narrow": {"model": "conv_small_narrow_d"},
    "spectral_norm": {**_penalties(), "spectral_norm": True},
    "r1": _penalties("r1"),
    "r1=0.1": _penalties("r1", weight=0.1),
    "r1+r2": _penalties("r1", "r2"),
    "r1+r2=0.3": _penalties("r1", "r2", weight=0.3),
    "r1+r2=0.3/4": _penalties("r1", "r2", weight=0.3, every=4),
    "r1+r2=0.1": _penalties("r1", "r2", weight=0.1),
    "gp": _penalties("gp"),
    "penalty_weight=0.1": _of_penalties(penalty_weight=0.1),
    "penalty_weight=0.2": _of_penalties(penalty_weight=0.2),
    "penalty_every=1": _of_penalties(penalty_every=1),
    "penalty_every=4": _of_penalties(penalty_every=4),
    "spectral_norm+r1=0.1": {**_penalties("r1", weight=0.1), "spectral_norm": True},
    "relativistic": {"loss": "relativistic"},
    "cross_entropy": {"loss": "cross_entropy"},
    "d_steps=2": {"d_steps": 2},
    "translation": {"augment": ("translation",)},
    "cutout": {"augment": ("cutout",)},
    "translation+cutout": {"augment": ("translation", "cutout")},
    "translation+cutout=grey": {"augment": ("translation_grey", "cutout_grey")},
    "grad_clip=1": {"grad_clip": 1.0},
}


def base_of(name: str) -> Config:
    """The default system, or a preset. Raises `UserError` for another name."""
    if name not in (DEFAULT, *PRESETS):
        raise unknown("base", name, (DEFAULT, *PRESETS))
    return Config() if name == DEFAULT else Config(preset=name)


def changed(base: Config, change: str, steps: int) -> Config:
    """The base with a change, and as many images seen by D as in `steps` steps of the base."""
    fields = CHANGES[change]
    fields = fields(base) if callable(fields) else fields
    config = dataclasses.replace(base, **fields)
    images = steps * base.d_steps * base.batch_size
    return dataclasses.replace(config, steps=max(1, images // (config.d_steps * config.batch_size)))


def changes_of(base: Config) -> list[str]:
    """The changes that change something of this base, which comes first."""
    plain = changed(base, BASE, 1000)
    found = {name: changed(base, name, 1000) for name in CHANGES if name != BASE}
    widths = plain.model == "conv_small"  # of others there are none to compare with
    return [BASE, *(name for name, c in found.items() if c != plain and (widths or c.model == plain.model))]

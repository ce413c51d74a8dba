"""The systems of the study, and the space from which their settings are drawn: Lucic 2018, table 5 ("wide")."""

import dataclasses
from typing import Any

import numpy as np

from gan_jax import Config

# The first six are theirs; the nets, the optimizer and the noise are the same for all.
SYSTEMS: dict[str, dict[str, Any]] = {
    "mm_gan": {"loss": "minimax"},
    "ns_gan": {"loss": "cross_entropy"},
    "lsgan": {"loss": "least_squares"},
    "wgan": {"loss": "wasserstein", "clip": 0.01},
    "wgan_gp": {"loss": "wasserstein", "penalty": ("gp",)},
    "dragan": {"loss": "cross_entropy", "penalty": ("dragan",)},
    "hinge_sn": {"loss": "hinge", "spectral_norm": True},
    "r3gan": {
        "loss": "relativistic",
        "penalty": ("r1", "r2"),
        "penalty_weight": None,
        "penalty_every": 1,
    },
}
# The weights as they are, not averaged: so the paper has them.
SHARED: dict[str, Any] = {
    "spectral_norm": False,
    "penalty": (),
    "optimizer": "adam",
    "beta2": 0.999,
    "batch_size": 64,
    "z_dim": 64,
    "z_distribution": "uniform",
    "ema": 0.0,
    "log_every": 50,
    "checkpoint_every": 100,
}

RATE = (-5, -2)  # exponents of 10
D_STEPS = (1, 5)
WEIGHT = (-1, 2)
CLIP = (-3, 0)


def base_of(system: str, **given: Any) -> Config:
    """The config of a system before its setting is drawn. Raises `UserError` for values that are not allowed."""
    return Config(**{**SHARED, **SYSTEMS[system], **given})


def draw(base: Config, num: int, updates: int, seed: int) -> list[Config]:
    """Settings drawn at random, each with a GAN's seed of its own; the first ones do not depend on `num`.

    One rate for both nets, 10^U[−5, −2]; β₁ of U[0, 1]; 1 or 5 D updates per G update; and where the system has it, a
    penalty's weight of 10^U[−1, 2] or a clip of 10^U[−3, 0]. With one seed every system gets the same rates, β₁ and D
    updates. All are trained for as many D updates, and so on as many images.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(num):
        rate, beta1, d_steps, weight = rng.uniform(size=4)
        steps_of_d = D_STEPS[int(d_steps * len(D_STEPS))]
        setting: dict[str, Any] = {
            "g_learning_rate": _power(rate, RATE),
            "d_learning_rate": _power(rate, RATE),
            "beta1": beta1,
            "d_steps": steps_of_d,
            "steps": max(1, updates // steps_of_d),
        }
        if base.penalty:
            setting["penalty_weight"] = _power(weight, WEIGHT)
        if base.clip:
            setting["clip"] = _power(weight, CLIP)
        found.append(dataclasses.replace(base, seed=base.seed + i, **setting))
    return found


def _power(share: float, exponents: tuple[int, int]) -> float:
    low, high = exponents
    return float(10 ** (low + share * (high - low)))


def worded(config: Config) -> str:
    """A setting in words."""
    words = [
        f"rate {config.g_learning_rate:.2g}",
        f"β₁ {config.beta1:.2f}",
        f"{config.d_steps} D update{'s' * (config.d_steps > 1)}",
    ]
    if config.penalty:
        words.append(f"weight {config.penalty_weight:.2g}")
    if config.clip:
        words.append(f"clip {config.clip:.2g}")
    return ", ".join(words)

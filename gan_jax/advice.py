"""Advice on configs that are allowed, and known not to train well or not fast."""

import jax

from gan_jax.config import PRESETS, Config
from gan_jax.plan import Plan

# The preset that keeps D in bounds for a loss that needs it: without, these two collapse on real MNIST.
_CONSTRAINED = {"wasserstein": "wgan_gp", "relativistic": "r3gan"}

# What WGAN's clipping takes on convolutional nets without BatchNorm, by trial on MNIST with `conv_small`.
CONV_CLIP = 0.03
CONV_WGAN_FLAGS = (f"--clip={CONV_CLIP}", "--g_learning_rate=5e-4", "--d_learning_rate=5e-4")


def advice(config: Config) -> str | None:
    """A line for such a config, else None."""
    slow = config.dtype == "bfloat16" and jax.default_backend() == "cpu"
    speed = "--dtype=bfloat16 is for GPU and TPU: on a CPU it is slower than float32." if slow else None
    worse = config.preset == "best" and config.conditional
    labels = (
        "with labels --preset=best_conditional is better than best, on MNIST at least." if worse else None
    )
    return " ".join(filter(None, (speed, labels, _on_bounds(config)))) or None


# What the presets' epochs were chosen on, and what is few beside it: images, and steps.
MNIST_IMAGES = 60_000
FEW_IMAGES, FEW_STEPS = 10_000, 5_000

# Steps with labels from which on penalties of this weight, or of more, make MNIST's digits worse.
MANY_STEPS, HEAVY = 40_000, 0.3


def advice_on_length(config: Config, plan: Plan, num_images: int) -> str | None:
    """A line where epochs of few images make a run too short to draw anything, or one with labels is too long for its
    penalties, else None."""
    if plan.total > MANY_STEPS and _heavy_with_labels(config):
        lighter = f"--penalty_weight={PRESETS['best_conditional'].penalty_weight}"
        return (
            f"{plan.total:,} steps with labels are many: on MNIST such runs became worse under penalties of weight "
            f"{HEAVY} or more, and did not under lighter ones. Give {lighter}."
        )
    if config.steps is not None or num_images >= FEW_IMAGES or plan.total >= FEW_STEPS:
        return None
    usual = config.epochs * (MNIST_IMAGES // config.batch_size) // config.d_steps
    return (
        f"{config.epochs} epochs of these {num_images:,} images are {plan.total:,} steps, and of MNIST they are "
        f"{usual:,}: give --steps, or a time such as --time=10m."
    )


def _heavy_with_labels(config: Config) -> bool:
    if not config.conditional or config.preset == "best":  # of which `advice` speaks
        return False
    # None are the papers' weights, which are heavier.
    heavy = config.penalty_weight is None or config.penalty_weight >= HEAVY
    return heavy and bool({"r1", "r2"} & set(config.penalty))


def _on_bounds(config: Config) -> str | None:
    if config.loss not in _CONSTRAINED or config.spectral_norm:
        return None
    if config.loss == "wasserstein" and config.model != "mlp" and 0 < config.clip < CONV_CLIP:
        return (
            f"--clip={config.clip:g} is for critics with BatchNorm, and leaves these nets' samples grey: "
            f"give {' '.join(CONV_WGAN_FLAGS)}."
        )
    if config.clip or config.penalty:
        return None
    preset = _CONSTRAINED[config.loss]
    return (
        f"the {config.loss} loss with nothing that bounds D collapses: "
        f"add --penalty {' '.join(PRESETS[preset].penalty)}, or take --preset={preset}."
    )

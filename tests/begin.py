"""How a run begins, for tests of what is below `fit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optax

from gan_jax import data
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.parts import Parts, build, facts_of
from gan_jax.plan import plan
from gan_jax.state import GanState, hyperparams, init, to_arrays
from gan_jax.workdir import write_config


def begin(
    config: Config,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_images: int = 100,
    axis: str | None = None,
) -> tuple[Parts, GanState]:
    """A config's parts, for images with ten classes, and its state before the first step."""
    made = build(config, image_shape, 10, axis)
    numbers = hyperparams(config, plan(config, num_images).total)
    return made, init(made, numbers, config.seed, num_images)


def save_run(folder: Path, config: Config, steps: Sequence[int]) -> Path:
    """A run's folder with checkpoints of an untrained generator of MNIST's shape at these steps."""
    images, labels = data.load("mnist", "train")
    _, gan = begin(config, num_images=len(images))
    folder.mkdir(parents=True)
    write_config(folder, config, facts_of(images, labels))
    with Checkpoints(folder / "checkpoints", write=True) as checkpoints:
        for step in steps:
            checkpoints.save(to_arrays(gan.replace(step=gan.step + step)), step)
            checkpoints.wait()
    return folder


def by_the_gradient(learning_rate: Any, beta1: Any, beta2: Any) -> optax.GradientTransformation:
    """An optimizer that moves by the gradient itself, times the rate; one for all tests, which then share programs."""
    return optax.sgd(learning_rate)

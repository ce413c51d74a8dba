"""How a run begins, for tests of what is below `fit`."""

from gan_jax.config import Config
from gan_jax.parts import Parts, build
from gan_jax.plan import plan
from gan_jax.state import GanState, hyperparams, init


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

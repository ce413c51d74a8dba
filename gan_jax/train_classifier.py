"""Train the classifier whose last hidden layer is a data set's feature space, and write it as .npz.

    python -m gan_jax.train_classifier --dataset=kmnist
    python -m gan_jax.train_classifier --dataset=mnist --out=gan_jax/assets/mnist_classifier.npz
    python -m gan_jax.train_classifier --dataset=fashion_mnist \\
        --data_dir=/usr/share/datasets/fashion-mnist --out=gan_jax/assets/fashion_mnist_classifier.npz

Without --out it goes to the user's cache folder, where `gan_jax.features.classifier.load_classifier` finds it.
The hash of a new asset belongs into `SHA256` there.

The last epoch's weights are kept, whatever their test accuracy: choosing an epoch by it would spoil the
number. XLA's CPU backend runs convolutions several times slower inside `lax.scan`, so this is a jitted step
called from Python.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import cli, data
from gan_jax.errors import UserError
from gan_jax.features import classifier as features
from gan_jax.options import COUNT, OR_OFF, PATH, POSITIVE, SEED, check, choice, option


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to train, and where to."""

    dataset: str = option(
        "mnist", "One of the registered data sets of 28×28 grey images.", choice("dataset", data.DATASETS)
    )
    out: str | None = option(None, "Where to write, if not to the cache folder.", PATH)
    data_dir: str | None = option(None, "A folder that holds the data set's original files.", PATH)
    epochs: int = option(18, "Passes over the data.", COUNT)
    batch_size: int = option(128, "Images per step.", COUNT)
    learning_rate: float = option(2e-3, "Highest learning rate.", POSITIVE)
    weight_decay: float = option(0.02, "Of AdamW.", OR_OFF)
    seed: int = option(0, "Of the initial weights, the batches and the augmentation.", SEED)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


def warp(key: jax.Array, images: jax.Array) -> jax.Array:
    """Shift, shear, scale and bend each image a little: what a pen may do without changing the character."""
    n, size = images.shape[:2]
    shear_key, shift_key, bend_key = jax.random.split(key, 3)
    shear = jnp.eye(2)[None] + jax.random.uniform(shear_key, (n, 2, 2), minval=-0.15, maxval=0.15)
    shift = jax.random.uniform(shift_key, (n, 1, 1, 2), minval=-2.0, maxval=2.0)
    bend = jax.image.resize(0.7 * jax.random.normal(bend_key, (n, 4, 4, 2)), (n, size, size, 2), "cubic")
    centre = (size - 1) / 2
    grid = jnp.stack(jnp.meshgrid(*[jnp.arange(size) - centre] * 2, indexing="ij"), axis=-1)
    source = jnp.einsum("nij,hwj->nhwi", shear, grid) + centre + shift + bend

    def sample(image: jax.Array, at: jax.Array) -> jax.Array:
        channel = partial(jax.scipy.ndimage.map_coordinates, coordinates=[at[..., 0], at[..., 1]], order=1)
        return jax.vmap(channel, in_axes=-1, out_axes=-1)(image.astype(jnp.float32))

    return jax.vmap(sample)(images, source)


def mirror(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror half of the images, shift each by up to two pixels: clothes are upright, without handedness."""
    n, size = images.shape[:2]
    mirror_key, shift_key = jax.random.split(key)
    flip = jax.random.bernoulli(mirror_key, 0.5, (n, 1, 1, 1))
    images = jnp.where(flip, images[:, :, ::-1], images)
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    corners = jax.random.randint(shift_key, (n, 2), 0, 5)

    def crop(image: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (at[0], at[1], 0), (size, size, image.shape[-1]))

    return jax.vmap(crop)(padded, corners)


AUGMENTATIONS = {"fashion_mnist": mirror}


def make_step(optimizer: optax.GradientTransformation, augment):
    """Return the jitted training step."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(variables: Any, opt_state: Any, key: jax.Array, images: jax.Array, labels: jax.Array):
        def loss_of(params):
            (_, logits), updated = features.Classifier().apply(
                {**variables, "params": params}, augment(key, images), train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        grads, updated = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **updated}, opt_state

    return step


def accuracy(network: features.FeatureNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images whose likeliest class is their label."""
    return float(np.mean(network.apply(images)[1].argmax(1) == labels))


def train(options: Options) -> Any:
    """Train on the train split and return the variables after the last epoch."""
    images, labels = _labelled(options, "train")
    steps = len(images) // options.batch_size
    total = options.epochs * steps
    schedule = optax.warmup_cosine_decay_schedule(0.0, options.learning_rate, total // 10, total)
    optimizer = optax.adamw(schedule, weight_decay=options.weight_decay)
    step = make_step(optimizer, AUGMENTATIONS.get(options.dataset, warp))
    init_key, augment_key = jax.random.split(jax.random.key(options.seed))
    variables = jax.jit(features.Classifier().init)(init_key, images[:1])
    opt_state = optimizer.init(variables["params"])
    order = np.random.default_rng(options.seed)
    for epoch in range(options.epochs):
        start = time.time()
        batches = order.permutation(len(images))[: steps * options.batch_size].reshape(steps, -1)
        for i, batch in enumerate(batches):
            key = jax.random.fold_in(augment_key, epoch * steps + i)
            variables, opt_state = step(variables, opt_state, key, images[batch], labels[batch])
        jax.block_until_ready(variables)
        print(f"epoch {epoch + 1}/{options.epochs}: {time.time() - start:.0f} s", flush=True)
    return variables


def _labelled(options: Options, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = data.load(options.dataset, split, options.data_dir)
    if labels is None:
        raise UserError(f"{options.dataset} has no labels to learn.")
    return images, labels


def main(args: Sequence[str]) -> None:
    """The command: train, write, read back and report."""
    options = cli.parse(Options, args, prog="python -m gan_jax.train_classifier", description=__doc__ or "")
    path = Path(options.out).expanduser() if options.out else features.cached_path(options.dataset)
    sha256 = features.save_variables(path, train(options))
    network = features.network_of(options.dataset, path, sha256)
    for split in ("train", "test"):
        score = accuracy(network, *_labelled(options, split))
        print(f"{split} accuracy {score:.4%}")
    print(f"{path} {path.stat().st_size} bytes, SHA-256 {sha256}")


if __name__ == "__main__":
    cli.run(main)

"""Train the classifier whose last hidden layer is the feature space of `gan_jax.evaluate`, for any labelled images.

    python -m gan_jax.train_classifier --dataset=kmnist
    python -m gan_jax.train_classifier --dataset=mine.npz

It goes to the user's cache folder, under the SHA-256 of the train images and labels, by which `evaluate` and
`train --eval_every` find it. On two cores expect 10 minutes for 60,000 images of 28×28, one or two for a few hundred.
MNIST, Fashion-MNIST and stacked MNIST are judged by classifiers in the package: others are trained with --out alone.
Images of the registered sets are augmented as suits them; of others nothing is known, so they are only shifted, unless
--augment says more.

The last epoch's weights are kept, whatever their test accuracy: choosing an epoch by it would spoil the
number. XLA's CPU backend runs convolutions several times slower inside `lax.scan`, so this is a jitted step
called from Python.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import cli
from gan_jax.bar import bar
from gan_jax.data import are_points
from gan_jax.errors import UserError
from gan_jax.evaluation.reals import Data, check_arrays, load_reals
from gan_jax.features.augment import AUGMENTATIONS, OF_DATASET, Augment, shift
from gan_jax.features.classifier import Classifier, classifier_path, is_shipped, network_of, save_variables
from gan_jax.features.network import FeatureNetwork
from gan_jax.labels import check_without_gaps
from gan_jax.options import COUNT, OR_OFF, PATH, POSITIVE, SEED, check, choice, option
from gan_jax.storage import target

EPOCHS = 18  # of a large set, such as those that the shipped classifiers are of
ENDINGS = {".npz": "the network's arrays"}
FEWEST_STEPS = 1000  # of a small one: 18 steps on 150 digits gave 66% on others, 1,000 gave 88%


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Data):
    """What to train on, how, and where to."""

    out: str | None = option(
        None, "File .npz to write, if not to the cache folder, where evaluate looks.", PATH
    )
    augment: str | None = option(
        None,
        "What is done to training images: warp for handwriting, mirror for upright things, shift for all others. "
        "Default: what suits a registered set; shift for own images.",
        choice("augmentation", AUGMENTATIONS),
    )
    epochs: int | None = option(
        None,
        f"Passes over the images. Default: {EPOCHS}, or as many as make {FEWEST_STEPS:,} steps.",
        COUNT,
    )
    batch_size: int = option(128, "Images per update.", COUNT)
    learning_rate: float = option(2e-3, "Highest learning rate; it warms up, and falls to 0.", POSITIVE)
    weight_decay: float = option(0.02, "AdamW's.", OR_OFF)
    seed: int = option(0, "Of the first weights, the order of images and their augmentation.", SEED)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if self.out is not None:
            target(self.out, ENDINGS)


def _make_step(classifier: Classifier, optimizer: optax.GradientTransformation, augment: Augment) -> Callable:
    """`step(variables, opt_state, key, images, labels) -> (variables, opt_state)`, jitted."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(variables: Any, opt_state: Any, key: jax.Array, images: jax.Array, labels: jax.Array):
        def loss_of(params):
            (_, logits), updated = classifier.apply(
                {**variables, "params": params}, augment(key, images), train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        grads, updated = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **updated}, opt_state

    return step


def _course(num_images: int, batch_size: int, epochs: int | None) -> tuple[int, int]:
    """The steps of an epoch, and the number of epochs; as many as are enough unless they are given."""
    steps = max(1, num_images // batch_size)
    return steps, epochs or max(EPOCHS, -(-FEWEST_STEPS // steps))


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    augment: Augment = shift,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.02,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Any:
    """The variables of a `Classifier` after the last epoch; `save_variables` writes them.

    Args:
      images: uint8 [N, H, W, C].
      labels: whole numbers [N] from 0 on without gaps; the highest says how many classes there are.
      augment: (key, images) -> images, at each step.
      epochs: by default 18, or as many as make 1,000 steps.
      steps: the number of updates, in place of epochs.
      batch_size: at most N is taken.
      progress: wraps the sequence of steps.

    Raises:
      UserError: for other arrays, labels with gaps, or labels of one class.
    """
    check_arrays("train", images, labels)
    check_without_gaps(labels)
    if len(np.unique(labels)) < 2:
        raise UserError("a classifier needs two classes or more, and all labels are the same.")
    labels = labels.astype(np.int32)
    per_epoch, epochs = _course(len(images), batch_size, epochs)
    total = steps or epochs * per_epoch
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, total // 10, total)
    optimizer = optax.adamw(schedule, weight_decay=weight_decay)
    classifier = Classifier(int(labels.max()) + 1)
    step = _make_step(classifier, optimizer, augment)
    init_key, augment_key = jax.random.split(jax.random.key(seed))
    variables = jax.jit(classifier.init)(init_key, jnp.asarray(images[:1]))
    opt_state = optimizer.init(variables["params"])
    rng = np.random.default_rng(seed)
    order = np.zeros(0, np.int64)
    for i in progress(range(total)):
        if i % per_epoch == 0:
            order = rng.permutation(len(images))
        batch = order[i % per_epoch * batch_size :][:batch_size]
        key = jax.random.fold_in(augment_key, i)
        variables, opt_state = step(variables, opt_state, key, images[batch], labels[batch])
    return variables


def accuracy(network: FeatureNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images uint8 [n, H, W, C] whose likeliest class is their label [n]."""
    probabilities = network.apply(images, progress=lambda batches: bar(batches, "accuracy"))[1]
    assert probabilities is not None  # it is a classifier
    return float(np.mean(probabilities.argmax(1) == labels))


def _run(options: Options) -> None:
    source = options.source
    reals = load_reals(source, options.data_dir)
    if are_points(reals.train_images.shape[1:]):
        raise UserError(f"{reals.name} holds points, which python -m gan_jax.evaluate judges by their modes.")
    if reals.train_labels is None:
        raise UserError(
            f"{reals.name} has no labels to learn from: python -m gan_jax.evaluate judges by a random net."
        )
    check_without_gaps(reals.train_labels)
    if options.out is None and is_shipped(reals.train_images, reals.train_labels):
        raise UserError(
            f"{reals.name} is judged by a classifier in the package, and none from the cache folder would take its "
            "place: give --out=FILE.npz to keep a network of your own."
        )
    steps, epochs = _course(len(reals.train_images), options.batch_size, options.epochs)
    path = (
        classifier_path(reals.train_images, reals.train_labels)
        if options.out is None
        else target(options.out, ENDINGS)
    )
    named = options.augment or OF_DATASET.get(source.dataset, "shift")
    print(
        f"{reals.name}: {len(reals.train_images)} images {list(reals.train_images.shape[1:])} of "
        f"{int(reals.train_labels.max()) + 1} classes, augmentation: {named}, {epochs} epochs of "
        f"{steps} step{'s' * (steps > 1)}",
        flush=True,
    )
    variables = train_classifier(
        reals.train_images,
        reals.train_labels,
        augment=AUGMENTATIONS[named],
        epochs=epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        seed=options.seed,
        progress=lambda steps: bar(steps, "training"),
    )
    sha256 = save_variables(path, variables)
    network = network_of(f"{reals.name}-classifier", path, reals.train_images.shape[1:], sha256)
    print(f"train accuracy {accuracy(network, reals.train_images, reals.train_labels):.2%}")
    if reals.test_labels is not None:
        print(f"test accuracy {accuracy(network, reals.test_images, reals.test_labels):.2%}")
    print(f"{path} {path.stat().st_size} bytes, SHA-256 {sha256}")


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.train_classifier", description=__doc__ or "")
    cli.use_compilation_cache()
    _run(options)


if __name__ == "__main__":
    cli.run(main)

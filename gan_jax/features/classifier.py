"""Classifiers as feature networks: small, of the data itself, found by what it holds.

A network's SHA-256 is part of every score, since a Fréchet distance means nothing without its features. The
classifiers of MNIST and Fashion-MNIST are shipped in `gan_jax/assets`; `python -m gan_jax.train_classifier` made
them, and makes one for any other labelled images, which it leaves in the user's cache folder under their SHA-256.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan_jax import storage
from gan_jax.errors import UserError
from gan_jax.features.network import FeatureNetwork, batched, fitting_batch

ASSETS = Path(__file__).parent.parent / "assets"
BATCH_SIZE = 500
WIDTH = 64  # of the features


class Shipped(NamedTuple):
    """A classifier in the package: of which train split (`sha256_of_data`), and the hash its file must have."""

    data: str
    file: str


SHIPPED = {
    "fashion_mnist": Shipped(
        "a20cbeadb2e7049cd14498dbcf55c3aa6347975ba1ed89a2dca8c9cbdde6af65",
        "05ce2c606d5044edfc414c18f2337c0d2ec30332f210a0691d0f778870c4c064",
    ),
    "mnist": Shipped(
        "9a4489e29f3a8ab588f801d18dcb5b83bafabc9fbde2bfb52efbeb3984addbd7",
        "4e40b0f4190ea568703570014869fd620359d37d7ddd4b1968381e92a3be2999",
    ),
}


class Classifier(nn.Module):
    """A small convolutional classifier; its last hidden layer gives the features."""

    classes: int = 10
    width: int = 32
    feature_width: int = WIDTH

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Map images [n,H,W,C] in 0..255 to (features [n, feature_width], logits [n, classes])."""
        x = images.astype(jnp.float32) / 127.5 - 1
        # Halved twice at 32×32 or less; above, until 8×8 are left, since the dense layer grows with the area.
        halvings = 2 + sum(max(images.shape[1:3]) > size for size in (32, 64))
        for channels in [1] + [2] * (halvings - 1):
            for size, stride in ((4, 2), (3, 1)):
                x = nn.Conv(channels * self.width, (size, size), (stride, stride), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        x = nn.Dense(self.feature_width, use_bias=False)(x.reshape(x.shape[0], -1))
        features = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        return features, nn.Dense(self.classes)(features)


def classifier_path(images: np.ndarray, labels: np.ndarray) -> Path:
    """Where the classifier that a user trained on these images is kept. Raises `UserError` without a home folder."""
    return _cached_path(storage.sha256_of_data(images, labels))


def _cached_path(content: str) -> Path:
    return storage.cache_folder() / "classifiers" / f"{content}.npz"


def save_variables(path: Path, variables: Any) -> str:
    """Write variables as .npz, kernels in float16 and the rest in float32; return the file's SHA-256."""
    flat = flatten_dict(variables, sep="/")
    arrays = {k: np.asarray(v, np.float16 if v.ndim > 1 else np.float32) for k, v in sorted(flat.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_atomically(path, storage.npz_bytes(arrays))
    return storage.sha256_of_file(path)


def load_variables(path: Path, image_shape: tuple[int, ...], sha256: str | None = None) -> tuple[Any, str]:
    """Read a classifier's variables (as float32) and the file's SHA-256, which must be `sha256` where given.

    Raises:
      UserError: for a damaged file, or one that holds something else than a classifier of images [H,W,C].
    """
    found = storage.sha256_of_file(path)
    if sha256 and found != sha256:
        raise UserError(f"{path} is damaged: its SHA-256 is {found}, not {sha256}; reinstall gan_jax.")
    try:
        arrays = storage.read_npz(path)
        bias = arrays.get("params/Dense_1/bias", np.zeros(()))
        if bias.ndim != 1 or not bias.size:
            raise storage.Damaged("it has no last layer")
        classifier = Classifier(bias.shape[0])
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
        expected: dict[str, Any] = flatten_dict(
            jax.eval_shape(classifier.init, jax.random.key(0), image), sep="/"
        )
        shapes = {name: array.shape for name, array in arrays.items() if array.dtype.kind == "f"}
        if shapes != {name: array.shape for name, array in expected.items()}:
            raise storage.Damaged("its arrays are those of another network")
    except storage.Damaged as error:
        raise UserError(f"{path} holds no classifier ({error}); train it anew.") from error
    flat = {name: array.astype(np.float32) for name, array in arrays.items()}
    return unflatten_dict(flat, sep="/"), found


# By the module and the images' shape: networks of equal shapes share a program.
@partial(jax.jit, static_argnums=0)
def _classify(classifier: Classifier, variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    # A GPU would otherwise multiply in TF32, whose 10 bits the scores show.
    with jax.default_matmul_precision("highest"):
        features, logits = cast(tuple, classifier.apply(variables, images))
    return features, jax.nn.softmax(logits)


def network_of(
    name: str, path: Path, image_shape: tuple[int, ...], sha256: str | None = None
) -> FeatureNetwork:
    """The feature network `name` of the file `path`, checked against `sha256` where given.

    Raises:
      UserError: as `load_variables`.
    """
    variables, found = load_variables(path, image_shape, sha256)
    classes = len(variables["params"]["Dense_1"]["bias"])
    height, width, channels = image_shape
    apply = batched(
        partial(_classify, Classifier(classes), jax.device_put(variables)),
        fitting_batch(BATCH_SIZE, image_shape),
        (height, width, channels),
    )
    return FeatureNetwork(name, found, apply, WIDTH, classes, judges_labels=True)


# The SHA-256 of stacked MNIST's train split, which is judged by MNIST's classifier.
STACKED = "8754f65162764ca19debb472dc86b2814f5ad92840e0761243dedc9e53625d5c"


def is_shipped(images: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the classifier of these images and labels is in the package, where it comes before any of the cache."""
    content = storage.sha256_of_data(images, labels)
    return content == STACKED or content in {shipped.data for shipped in SHIPPED.values()}


def load_classifier(images: np.ndarray, labels: np.ndarray, name: str) -> FeatureNetwork | None:
    """The feature network trained on these images uint8 [N,H,W,C] and labels [N]; None if there is none so far.

    name: what a network from the cache folder is called by, and by the data's SHA-256: a file mnist.npz must not take
      the name of the shipped one, which has its own.

    Raises:
      UserError: for a damaged file.
    """
    content = storage.sha256_of_data(images, labels)
    if content == STACKED:
        return load_stacked_classifier()
    for known, shipped in SHIPPED.items():
        if content == shipped.data:
            return network_of(
                f"{known}-classifier", ASSETS / f"{known}_classifier.npz", images.shape[1:], shipped.file
            )
    try:
        path = _cached_path(content)
    except UserError:  # no home folder, so no cache
        return None
    return network_of(f"{name}-classifier-{content[:8]}", path, images.shape[1:]) if path.exists() else None


@jax.jit
def _classify_stacked(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each channel by itself; class 100·a + 10·b + c has the product of the three digits' probabilities."""
    n = images.shape[0]
    channels = jnp.moveaxis(images, -1, 1).reshape(n * 3, *images.shape[1:3], 1)
    features, probabilities = _classify(Classifier(), variables, channels)
    a, b, c = jnp.moveaxis(probabilities.reshape(n, 3, -1), 1, 0)
    return features.reshape(n, -1), jnp.einsum("na,nb,nc->nabc", a, b, c).reshape(n, -1)


def load_stacked_classifier() -> FeatureNetwork:
    """MNIST's classifier on stacked MNIST [n,28,28,3], each channel by itself.

    192 features and 1,000 probabilities, of class 100·a + 10·b + c for the digits a, b, c in the three channels.
    """
    variables, found = load_variables(ASSETS / "mnist_classifier.npz", (28, 28, 1), SHIPPED["mnist"].file)
    apply = batched(partial(_classify_stacked, jax.device_put(variables)), BATCH_SIZE, (28, 28, 3))
    name = "mnist-classifier-by-channel"
    return FeatureNetwork(name, found, apply, 3 * WIDTH, 1000, judges_labels=True, modes=1000)

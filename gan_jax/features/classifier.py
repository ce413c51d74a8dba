"""Feature networks: what turns images into the vectors and class probabilities that the metrics compare.

A network's SHA-256 is part of every score's name, since a Fréchet distance means nothing without its
features. The classifiers for MNIST and Fashion-MNIST are shipped in `gan_jax/assets`;
`python -m gan_jax.train_classifier` made them, and makes one for any other data set, which it leaves in the
user's cache folder.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan_jax import data
from gan_jax.errors import UserError, unknown
from gan_jax.storage import cache_folder

ASSETS = Path(__file__).parent.parent / "assets"
BATCH_SIZE = 500
SHAPE = (28, 28, 1)

# What reading a damaged .npz, or something else in its place, may end in.
NPZ_DAMAGE: tuple[type[Exception], ...] = (ValueError, TypeError, AttributeError, OSError, EOFError)
NPZ_DAMAGE += (RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)

# What is shipped, and the hash it must have. A data set absent here has its classifier in the cache folder.
SHA256 = {
    "fashion_mnist": "05ce2c606d5044edfc414c18f2337c0d2ec30332f210a0691d0f778870c4c064",
    "mnist": "4e40b0f4190ea568703570014869fd620359d37d7ddd4b1968381e92a3be2999",
}


class Classifier(nn.Module):
    """A small convolutional classifier of 28×28 images; its last hidden layer gives the features."""

    classes: int = 10
    width: int = 32
    feature_width: int = 64

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Map images [n,28,28,C] in 0..255 to (features [n, feature_width], logits [n, classes])."""
        x = images.astype(jnp.float32) / 127.5 - 1
        for channels, size, stride in ((1, 4, 2), (1, 3, 1), (2, 4, 2), (2, 3, 1)):
            x = nn.Conv(channels * self.width, (size, size), (stride, stride), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        x = nn.Dense(self.feature_width, use_bias=False)(x.reshape(x.shape[0], -1))
        features = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        return features, nn.Dense(self.classes)(features)


class FeatureNetwork(NamedTuple):
    """A named, hashed function from images to features and class probabilities.

    `apply(images uint8 [n,28,28,C])` gives (features [n,d] float32, probabilities [n,classes] float32),
    NumPy. Beside them it takes `batch_size`, which changes the result by rounding at most, and `progress`,
    which wraps the sequence of batches: `tqdm`, for one.
    """

    name: str
    sha256: str
    apply: Callable[..., tuple[np.ndarray, np.ndarray]]


def cached_path(dataset: str) -> Path:
    """Where a classifier that the user trained is kept."""
    return cache_folder() / f"{dataset}_classifier.npz"


def classifier_path(dataset: str) -> Path:
    """The file of a data set's classifier: an asset where one is shipped, else in the cache folder."""
    return ASSETS / f"{dataset}_classifier.npz" if dataset in SHA256 else cached_path(dataset)


def save_variables(path: Path, variables: Any) -> str:
    """Write variables as .npz, kernels in float16 and the rest in float32; return the file's SHA-256."""
    flat = flatten_dict(variables, sep="/")
    arrays = {k: np.asarray(v, np.float16 if v.ndim > 1 else np.float32) for k, v in sorted(flat.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    partial_path = path.with_suffix(".partial")
    partial_path.write_bytes(buffer.getvalue())
    partial_path.replace(path)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_variables(path: Path, sha256: str | None = None) -> tuple[Any, str]:
    """Read a classifier's variables (as float32) and the file's SHA-256, which must be `sha256` where given.

    Raises:
      UserError: for a damaged file, or one that holds something else.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise UserError(f"{path} is damaged: its SHA-256 is {found}, not {sha256}; reinstall gan_jax.")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            flat = {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
        image = jax.ShapeDtypeStruct((1, *SHAPE), jnp.uint8)
        expected: dict[str, Any] = flatten_dict(
            jax.eval_shape(Classifier().init, jax.random.key(0), image), sep="/"
        )
        if {k: v.shape for k, v in flat.items()} != {k: v.shape for k, v in expected.items()}:
            raise ValueError("its arrays are those of another network")
    except NPZ_DAMAGE as error:
        raise UserError(f"{path} holds no classifier ({error}); train it anew.") from error
    return unflatten_dict(flat, sep="/"), found


def batched(
    apply: Callable, batch_size: int, shapes: Sequence[tuple[int, ...]]
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Wrap `apply` to run in batches of one size, the last one padded: it compiles once, whatever n is.

    The result refuses, as a UserError, other than uint8 images [n, *shape] of one of the `shapes`.
    """
    allowed = " or ".join("[n," + ",".join(map(str, shape)) + "]" for shape in shapes)

    def run(
        images: np.ndarray, batch_size: int = batch_size, progress: Callable[[Iterable], Iterable] = iter
    ) -> tuple[np.ndarray, np.ndarray]:
        if images.dtype != np.uint8 or images.shape[1:] not in shapes or len(images) == 0:
            raise UserError(f"images must be uint8 {allowed}, not {images.dtype} {images.shape}.")
        outputs = []
        for start in progress(range(0, len(images), batch_size)):
            batch = images[start : start + batch_size]
            padding = np.zeros((batch_size - len(batch), *images.shape[1:]), images.dtype)
            padded = apply(np.concatenate([batch, padding]))
            outputs.append([np.asarray(x)[: len(batch)] for x in padded])
        features, probabilities = (np.concatenate(x) for x in zip(*outputs, strict=True))
        return features, probabilities

    return run


@jax.jit
def _classify(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    # A GPU would otherwise multiply in TF32, whose 10 bits the scores show.
    with jax.default_matmul_precision("highest"):
        features, logits = cast(tuple, Classifier().apply(variables, images))
    return features, jax.nn.softmax(logits)


@jax.jit
def _classify_stacked(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each channel by itself; class 100·a + 10·b + c has the product of the three digits' probabilities."""
    n = images.shape[0]
    channels = jnp.moveaxis(images, -1, 1).reshape(n * 3, *SHAPE)
    features, probabilities = _classify(variables, channels)
    a, b, c = jnp.moveaxis(probabilities.reshape(n, 3, -1), 1, 0)
    return features.reshape(n, -1), jnp.einsum("na,nb,nc->nabc", a, b, c).reshape(n, -1)


def network_of(dataset: str, path: Path, sha256: str | None = None) -> FeatureNetwork:
    """The feature network of the classifier in the file `path`, checked against `sha256` where given."""
    variables, found = load_variables(path, sha256)
    apply = partial(_classify, jax.device_put(variables))
    return FeatureNetwork(f"{dataset}-classifier", found, batched(apply, BATCH_SIZE, [SHAPE]))


def load_classifier(dataset: str) -> FeatureNetwork:
    """Load the feature network that belongs to a data set: [n,28,28,1] to 64 features and 10 probabilities.

    Stacked MNIST [n,28,28,3] is judged by MNIST's, each channel by itself: 192 features and 1,000
    probabilities, of class 100·a + 10·b + c for the digits a, b, c in the three channels.

    Raises:
      UserError: for an unknown data set, one without a classifier so far, or a damaged file.
    """
    if dataset == "stacked_mnist":
        variables, found = load_variables(classifier_path("mnist"), SHA256["mnist"])
        stacked = partial(_classify_stacked, jax.device_put(variables))
        return FeatureNetwork(
            "mnist-classifier-by-channel", found, batched(stacked, BATCH_SIZE, [(28, 28, 3)])
        )
    if dataset not in data.DATASETS:
        raise unknown("dataset", dataset, {**data.DATASETS, "stacked_mnist": None})
    path = classifier_path(dataset)
    if not path.exists():
        raise UserError(
            f"no classifier for '{dataset}' at {path}; make it with "
            f"`python -m gan_jax.train_classifier --dataset={dataset}`."
        )
    return network_of(dataset, path, SHA256.get(dataset))

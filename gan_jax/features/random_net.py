"""Features of a convolution whose weights are random and fixed: for images that no classifier is for.

Random embeddings tell sets of images apart that a network trained on something else confuses, and need neither
labels nor training (Naeem 2020, §5). One layer of filters, of which the absolute values are averaged over a 4×4 grid,
sees strokes, their place and their sharpness. More layers see less: on MNIST a missing class costs 2.5 times the floor,
and of three layers 1.5 times. A classifier sees 20 times.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.features.network import FeatureNetwork, batched, fitting_batch
from gan_jax.storage import sha256_of_arrays

FILTERS = 32
GRID = 4
WIDTH = 64  # so few that the covariance takes 65 images
# Of the projection: the features are then about as large as a classifier's, and a·b/d in the kernel distance is not
# lost beside its 1.
GAIN = 8
BATCH_SIZE = 500


def _weights(channels: int, seed: int) -> dict[str, np.ndarray]:
    """Filters [4,4,channels,FILTERS] and a projection [GRID², FILTERS, WIDTH], of He's variance and without a mean.

    Without a mean over what they sum, so that neither brightness nor the amount of ink fills every feature. Uniform,
    from the generator's raw bits, by exact steps: neither another NumPy nor another machine changes a bit of them,
    hence not their SHA-256.
    """
    bits = np.random.PCG64(seed)
    weights = {}
    for name, shape in (
        ("filters", (16 * channels, FILTERS)),
        ("projection", (GRID * GRID * FILTERS, WIDTH)),
    ):
        raw = np.asarray(bits.random_raw(shape[0] * shape[1])) >> np.uint64(40)
        # Whole numbers below 2²⁴: their sums are exact in int64 in whatever order they are taken.
        whole = 2 * raw.astype(np.int64).reshape(shape) - 2**24
        centred = (whole * shape[0] - whole.sum(axis=0)[None]).astype(np.float64) / (shape[0] * 2.0**24)
        weights[name] = (centred * np.sqrt(6 / shape[0])).astype(np.float32)
    filters = weights["filters"].reshape(4, 4, channels, FILTERS)
    return {"filters": filters, "projection": GAIN * weights["projection"]}


@jax.jit
def _embed(weights: dict[str, jax.Array], images: jax.Array) -> tuple[jax.Array, None]:
    x = images.astype(jnp.float32) / 255
    x = jax.lax.conv_general_dilated(
        x, weights["filters"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    # Antialiased, this is a mean over overlapping cells, whatever the size.
    x = jax.image.resize(jnp.abs(x), (len(x), GRID, GRID, FILTERS), "linear", antialias=True)
    return jnp.dot(x.reshape(len(x), -1), weights["projection"], precision="highest"), None


def random_network(image_shape: tuple[int, ...], seed: int = 0) -> FeatureNetwork:
    """The network random-filters-SEED: images uint8 [n,H,W,C] to 64 features [n,64], and no probabilities."""
    height, width, channels = image_shape
    weights = _weights(channels, seed)
    apply = batched(
        partial(_embed, jax.device_put(weights)),
        fitting_batch(BATCH_SIZE, image_shape),
        (height, width, channels),
    )
    return FeatureNetwork(f"random-filters-{seed}", sha256_of_arrays(weights), apply, WIDTH)

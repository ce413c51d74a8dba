"""Features of a convolutional net whose weights are random and fixed: for images that no classifier is for.

Random embeddings tell sets of images apart that a network trained on something else confuses, and need neither
labels nor training (Naeem 2020, §5). These see shape, place, sharpness and noise well, and classes worse than a
classifier does: a missing class costs less than a blur.
"""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.features.network import FeatureNetwork, batched, fitting_batch
from gan_jax.storage import sha256_of_arrays

CHANNELS = (32, 64, 128)  # of the convolutions; further ones have as many as the last
MAPS = 16  # averaged over each quarter of the image
WIDTH = 4 * MAPS  # so few that the covariance takes 65 images
# Of the last kernel: the features are then about as large as a classifier's, and a·b/d in the kernel distance is not
# lost beside its 1.
GAIN = 8
BATCH_SIZE = 500


def _kernels(image_shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Kernels [h,w,in,out] of He's variance: 3×3 of stride 2 until at most 4×4 are left, then 1×1 to `MAPS`.

    Uniform, from the generator's raw bits, by exact steps: neither another NumPy nor another machine changes a bit
    of them, hence not their SHA-256.
    """
    bits = np.random.PCG64(seed)
    layers = max(1, int(np.ceil(np.log2(max(image_shape[:2]) / 4))))
    widths = [image_shape[-1], *CHANNELS[:layers], *[CHANNELS[-1]] * (layers - len(CHANNELS))]
    shapes = [(3, 3, a, b) for a, b in pairwise(widths)] + [(1, 1, widths[-1], MAPS)]
    kernels = {}
    for i, shape in enumerate(shapes):
        raw = np.asarray(bits.random_raw(int(np.prod(shape)))) >> np.uint64(40)
        uniform = raw.astype(np.float32) / np.float32(2**23) - np.float32(1)
        bound = np.sqrt(np.float32(6) / np.float32(np.prod(shape[:3])))
        kernels[f"kernel_{i}"] = (uniform * bound).reshape(shape)
    return {**kernels, f"kernel_{layers}": GAIN * kernels[f"kernel_{layers}"]}


@jax.jit
def _embed(kernels: dict[str, jax.Array], images: jax.Array) -> tuple[jax.Array, None]:
    x = images.astype(jnp.float32) / 127.5 - 1
    *_, last = kernels
    for name, kernel in kernels.items():
        stride = (1, 1) if name == last else (2, 2)
        x = jax.lax.conv_general_dilated(
            x, kernel, stride, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )
        x = jax.nn.relu(x)
    # By quarters: a mean over all of the image would not see where in it anything is.
    (top, bottom), (left, right) = (((0, -(-n // 2)), (n // 2, n)) for n in x.shape[1:3])
    quarters = [x[:, slice(*rows), slice(*columns)] for rows in (top, bottom) for columns in (left, right)]
    return jnp.concatenate([quarter.mean(axis=(1, 2)) for quarter in quarters], axis=-1), None


def random_network(image_shape: tuple[int, ...], seed: int = 0) -> FeatureNetwork:
    """The network random-conv-SEED: images uint8 [n,H,W,C] to 64 features [n,64], and no probabilities."""
    kernels = _kernels(image_shape, seed)
    height, width, channels = image_shape
    apply = batched(
        partial(_embed, jax.device_put(kernels)),
        fitting_batch(BATCH_SIZE, image_shape),
        (height, width, channels),
    )
    return FeatureNetwork(f"random-conv-{seed}", sha256_of_arrays(kernels), apply, WIDTH)

"""Stacked MNIST: three random digits as the channels of one image, 1,000 classes, for counting modes.

As PacGAN's authors made it: Lin 2018, §4.1; the idea is Metz 2017's (Unrolled GAN). Which digits are stacked follows
from fixed seeds, so that all see the same images.
"""

import numpy as np

CHANNELS = 3
CLASSES = 1000
COUNTS = {"train": 128_000, "test": 26_000}
_SEEDS = {"train": 0, "test": 1}


def stacked(images: np.ndarray, labels: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
    """A split's images uint8 [128,000 or 26,000, H, W, 3], and labels int32: 100·a + 10·b + c for the digits a, b, c.

    images, labels: MNIST's, uint8 [N, H, W, 1] and [N]. Each digit is drawn from all N, independently of the others.
    """
    index = _drawn(len(images), (CHANNELS, COUNTS[split]), _SEEDS[split])
    out = np.empty((COUNTS[split], *images.shape[1:3], CHANNELS), np.uint8)
    for channel, chosen in enumerate(index):  # each by itself: all at once would take the memory twice
        out[..., channel] = images[chosen, ..., 0]
    digits = labels.astype(np.int32)[index]
    return out, 100 * digits[0] + 10 * digits[1] + digits[2]


def _drawn(below: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Uniform whole numbers from 0 to below − 1.

    From the generator's raw bits, by exact steps: NumPy's own way from bits to numbers may change with its version,
    and the images' SHA-256 with it, by which their classifier is found and a run knows its data.
    """
    raw = np.asarray(np.random.PCG64(seed).random_raw(int(np.prod(shape))))
    return (((raw >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32)).astype(np.int64).reshape(shape)

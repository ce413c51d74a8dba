"""Inception v3 as the Fréchet Inception Distance uses it: the network of 2015-12-05, in Flax.

It differs from the published Inception v3 (Szegedy 2015) and from torchvision's in its weights, in 1,008
outputs, in average pools that leave the padding out of the mean, and in a max pool in its last block. Names
and shapes are those of PyTorch-fid's file of weights, whose numbers are the ones that papers report.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU; a stride of 2 goes without padding."""

    channels: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,h,w,c] to [n,h',w',channels]."""
        kernel = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        padding = self.padding or ("SAME" if self.stride == 1 else "VALID")
        strides = (self.stride, self.stride)
        x = nn.Conv(self.channels, kernel, strides, padding, use_bias=False, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _branch(x: jax.Array, name: str, *units: tuple) -> jax.Array:
    """A chain of units, numbered from 1 where it has several."""
    for i, arguments in enumerate(units, 1):
        x = Unit(*arguments, name=f"{name}_{i}" if len(units) > 1 else name)(x)
    return x


def _average(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max(x: jax.Array, stride: int) -> jax.Array:
    return nn.max_pool(x, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")


class BlockA(nn.Module):
    """35×35: 1×1, 5×5 and double 3×3 convolutions beside a pool."""

    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,35,35,c] to [n,35,35, 224 + pooled]."""
        one = _branch(x, "branch1x1", (64, 1))
        five = _branch(x, "branch5x5", (48, 1), (64, 5))
        double = _branch(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3))
        pool = _branch(_average(x), "branch_pool", (self.pooled, 1))
        return jnp.concatenate([one, five, double, pool], axis=-1)


class BlockB(nn.Module):
    """35×35 to 17×17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,35,35,288] to [n,17,17,768]."""
        three = _branch(x, "branch3x3", (384, 3, 2))
        double = _branch(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3, 2))
        return jnp.concatenate([three, double, _max(x, 2)], axis=-1)


class BlockC(nn.Module):
    """17×17: 7×7 convolutions as pairs of 1×7 and 7×1."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,17,17,768] to [n,17,17,768]."""
        w, row, column = self.width, (1, 7), (7, 1)
        one = _branch(x, "branch1x1", (192, 1))
        seven = _branch(x, "branch7x7", (w, 1), (w, row), (192, column))
        double = _branch(x, "branch7x7dbl", (w, 1), (w, column), (w, row), (w, column), (192, row))
        pool = _branch(_average(x), "branch_pool", (192, 1))
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
    """17×17 to 8×8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,17,17,768] to [n,8,8,1280]."""
        three = _branch(x, "branch3x3", (192, 1), (320, 3, 2))
        seven = _branch(x, "branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))
        return jnp.concatenate([three, seven, _max(x, 2)], axis=-1)


class BlockE(nn.Module):
    """8×8: branches that fork into 1×3 and 3×1; the last block's pool takes the maximum."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n,8,8,c] to [n,8,8,2048]."""
        row, column = (384, (1, 3)), (384, (3, 1))
        one = _branch(x, "branch1x1", (320, 1))
        three = _branch(x, "branch3x3_1", (384, 1))
        threes = [_branch(three, "branch3x3_2a", row), _branch(three, "branch3x3_2b", column)]
        double = _branch(x, "branch3x3dbl", (448, 1), (384, 3))
        doubles = [_branch(double, "branch3x3dbl_3a", row), _branch(double, "branch3x3dbl_3b", column)]
        pool = _branch(_max(x, 1) if self.max_pool else _average(x), "branch_pool", (192, 1))
        return jnp.concatenate([one, *threes, *doubles, pool], axis=-1)


class InceptionV3(nn.Module):
    """The network of 2015-12-05, with its own resize and scaling."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map images [n,h,w,1 or 3] in 0..255 to (pool3 features [n,2048], logits [n,1008])."""
        n = images.shape[0]
        x = jnp.broadcast_to(images.astype(jnp.float32) / 255, (*images.shape[:3], 3))
        x = 2 * jax.image.resize(x, (n, 299, 299, 3), "bilinear", antialias=False) - 1
        x = Unit(32, 3, 2, name="Conv2d_1a_3x3")(x)
        x = Unit(32, 3, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = _max(Unit(64, 3, name="Conv2d_2b_3x3")(x), 2)
        x = Unit(80, 1, name="Conv2d_3b_1x1")(x)
        x = _max(Unit(192, 3, padding="VALID", name="Conv2d_4a_3x3")(x), 2)
        for letter, pooled in (("b", 32), ("c", 64), ("d", 64)):
            x = BlockA(pooled, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            x = BlockC(width, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(max_pool=False, name="Mixed_7b")(x)
        x = BlockE(max_pool=True, name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(1008, name="fc")(features)

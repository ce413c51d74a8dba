"""Make the fixtures that prove Inception v3 in Flax, and the reader of .pth files, against PyTorch.

    pip install 'gan_jax[bench]'
    python experiments/make_inception_fixture.py --out=tests/golden

The network is written here a second time, in PyTorch and in torchvision's manner (Inception3 with the
FIDInception blocks of PyTorch-fid), and run with weights drawn from NumPy: the same names, in alphabetical
order, give the same numbers in the test, so that 24 million of them need no storing. It writes
`inception.npz` (two noise images, names, shapes and activations) and two little state dicts, one in each of
PyTorch's formats.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Options:
    """Where to write."""

    out: Path = Path("tests/golden")
    seed: int = 0


class Conv(nn.Module):
    """torchvision's BasicConv2d."""

    def __init__(self, inputs: int, outputs: int, size, **options):
        """Take a convolution's arguments."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return F.relu(self.bn(self.conv(x)))


def average(x: Tensor) -> Tensor:
    """TensorFlow's average pool: the padding counts for nothing."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class A(nn.Module):
    """FIDInceptionA."""

    def __init__(self, c: int, pool: int):
        """Take the inputs' channels and the pool branch's."""
        super().__init__()
        self.branch1x1 = Conv(c, 64, 1)
        self.branch5x5_1 = Conv(c, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(c, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(c, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Join four branches."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(average(x))], 1)


class B(nn.Module):
    """InceptionB."""

    def __init__(self):
        """Build it for 288 channels."""
        super().__init__()
        self.branch3x3 = Conv(288, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(288, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Join three branches."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class C(nn.Module):
    """FIDInceptionC."""

    def __init__(self, w: int):
        """Take the 7×7 branches' channels."""
        super().__init__()
        row, column = {"padding": (0, 3)}, {"padding": (3, 0)}
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1 = Conv(768, w, 1)
        self.branch7x7_2 = Conv(w, w, (1, 7), **row)
        self.branch7x7_3 = Conv(w, 192, (7, 1), **column)
        self.branch7x7dbl_1 = Conv(768, w, 1)
        self.branch7x7dbl_2 = Conv(w, w, (7, 1), **column)
        self.branch7x7dbl_3 = Conv(w, w, (1, 7), **row)
        self.branch7x7dbl_4 = Conv(w, w, (7, 1), **column)
        self.branch7x7dbl_5 = Conv(w, 192, (1, 7), **row)
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Join four branches."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(average(x))], 1)


class D(nn.Module):
    """InceptionD."""

    def __init__(self):
        """Build it for 768 channels."""
        super().__init__()
        self.branch3x3_1 = Conv(768, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(768, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Join three branches."""
        seven = self.branch7x7x3_2(self.branch7x7x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, stride=2)], 1)


class E(nn.Module):
    """FIDInceptionE_1, or FIDInceptionE_2 with a max pool."""

    def __init__(self, c: int, max_pool: bool):
        """Take the inputs' channels."""
        super().__init__()
        row, column = {"padding": (0, 1)}, {"padding": (1, 0)}
        self.max_pool = max_pool
        self.branch1x1 = Conv(c, 320, 1)
        self.branch3x3_1 = Conv(c, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3), **row)
        self.branch3x3_2b = Conv(384, 384, (3, 1), **column)
        self.branch3x3dbl_1 = Conv(c, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), **row)
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), **column)
        self.branch_pool = Conv(c, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Join four branches, two of them forked."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pool = F.max_pool2d(x, 3, stride=1, padding=1) if self.max_pool else average(x)
        branches = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pool)]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    """PyTorch-fid's fid_inception_v3, with its wrapper's resize and scaling."""

    def __init__(self):
        """Build it in torchvision's order."""
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a = B()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = C(128), C(160), C(160), C(192)
        self.Mixed_7a = D()
        self.Mixed_7b, self.Mixed_7c = E(1280, False), E(2048, True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [n,3,h,w] in 0..1 to pool3 features and logits."""
        x = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        features = F.adaptive_avg_pool2d(x, (1, 1)).flatten(1)
        return features, self.fc(features)


def random_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights in alphabetical order that keep the activations' size through the layers."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted(shapes.items()):
        noise = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            state[name] = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            offset = 1 if name.endswith(("bn.weight", "running_var")) else 0
            state[name] = offset + np.float32(0.1) * noise
    return state


def main(options: Options) -> None:
    """Run the reference and write the fixtures."""
    torch.manual_seed(options.seed)
    network = Inception().eval()
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items() if v.ndim}
    state = {k: torch.from_numpy(v) for k, v in random_state(shapes, options.seed).items()}
    network.load_state_dict(state, strict=False)
    images = np.random.default_rng(options.seed).integers(0, 256, (2, 3, 28, 28), np.uint8)
    images[1] = images[1, :1]  # a grey one, in three equal channels
    with torch.no_grad():
        features, logits = network(torch.from_numpy(images.astype(np.float32) / 255))
    np.savez_compressed(
        options.out / "inception.npz",
        images=images.transpose(0, 2, 3, 1),
        names=np.array(sorted(shapes)),
        shapes=np.array([str(shapes[name]).strip("(),") for name in sorted(shapes)]),
        features=features.numpy(),
        logits=logits.numpy(),
    )
    little = Conv(2, 3, (1, 3))
    for name, zipped in (("state_dict_zip.pth", True), ("state_dict_legacy.pth", False)):
        torch.save(little.state_dict(), options.out / name, _use_new_zipfile_serialization=zipped)
    arrays = {k: v.numpy() for k, v in little.state_dict().items()}
    np.savez(options.out / "state_dict.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Options.out)
    parser.add_argument("--seed", type=int, default=Options.seed)
    main(Options(**vars(parser.parse_args())))

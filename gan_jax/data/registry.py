"""The datasets that go by a name. To add one is to add an entry to `DATASETS`."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.data import mixtures, prepared
from gan_jax.data.originals import MNIST_FILES, Originals, from_cifar
from gan_jax.data.stacked import stacked

Split = tuple[np.ndarray, np.ndarray | None]
Loader = Callable[[str, str | Path | None], Split]  # split, data_dir -> images or points, labels


def _prepared(name: str, builder: str, url: str, sha256: tuple[str, ...], **more: Any) -> Loader:
    """The registry's entry for a set that comes as MNIST does; the checksums in the order of the files."""
    files = [file for pair in MNIST_FILES.values() for file in pair]
    originals = Originals(builder, url, dict(zip(files, sha256, strict=True)), **more)
    return functools.partial(prepared.load_prepared, name, originals)


def _stacked_mnist(split: str, data_dir: str | Path | None) -> Split:
    images, labels = DATASETS["mnist"](split, data_dir)
    assert labels is not None  # MNIST has them
    return stacked(images, labels, split)


DATASETS: dict[str, Loader] = {
    "mnist": _prepared(  # LeCun, Cortes and Burges 1998
        "mnist",
        "MNIST",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        shipped=Path(__file__).parent.parent / "assets" / "mnist",
    ),
    "fashion_mnist": _prepared(  # Xiao, Rasul and Vollgraf 2017; in Debian: dataset-fashion-mnist
        "fashion_mnist",
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        gzip_time={"train": 1504176606, "t10k": 1504176627},  # 31 August 2017, 10:50 UTC
    ),
    "kmnist": _prepared(  # Clanuwat et al. 2018
        "kmnist",
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
    "cifar10": functools.partial(  # Krizhevsky 2009
        prepared.load_prepared,
        "cifar10",
        Originals(
            "Cifar10",
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
            parse=from_cifar,
        ),
    ),
    "stacked_mnist": _stacked_mnist,  # Lin 2018, §4.1
    **{name: functools.partial(mixtures.load_mixture, name) for name in mixtures.MIXTURES},
}

"""Every kind of file that is read: a whole one's content, and what reads it."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gan_jax import data, environment, plugins, report, workdir
from gan_jax.config import Config
from gan_jax.data.folder import open_folder
from gan_jax.data.npz import open_npz
from gan_jax.evaluation.images_file import read_images
from gan_jax.features.classifier import load_variables
from gan_jax.features.torch_file import read_state_dict
from gan_jax.parts import Facts
from gan_jax.storage import npz_bytes, read_npz

FACTS = Facts((8, 8, 1), 96, None, "0" * 64)


class Kind(NamedTuple):
    """A kind of file: its name, a whole one's content, and what reads it."""

    file: str
    content: Callable[[Path], bytes]
    read: Callable[[Path], object]


def _config(folder: Path) -> bytes:
    workdir.write_config(folder, Config(preset="wgan_gp", model="mlp"), FACTS)
    return (folder / "config.json").read_bytes()


def _population(folder: Path) -> bytes:
    workdir.write_population_config(folder, [Config(seed=i) for i in range(2)], FACTS)
    return (folder / "config.json").read_bytes()


def _metrics(folder: Path) -> bytes:
    row = {"epoch": 1, "batch": 3, "d_loss": 0.5, "g_loss": 1.5, "real_score": 0.1, "steps_per_s": 20.5}
    return b"".join(json.dumps({"step": 5 * i, **row}).encode() + b"\n" for i in range(1, 6))


def _environment(folder: Path) -> bytes:
    environment.record(folder, 0, print)
    return (folder / "environment.json").read_bytes()


def _npz(folder: Path) -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
    return npz_bytes({"images": images, "labels": np.arange(12) % 3})


def _idx(folder: Path) -> bytes:
    return gzip.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 8, 8)) + bytes(192))


def _png(folder: Path) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "PNG")
    return stream.getvalue()


def _jpeg(folder: Path) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "JPEG")
    return stream.getvalue()


def _weights(folder: Path) -> bytes:
    """A state dict of one tensor, as `torch.save` writes it: protocol 2, written by hand."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    pickle = b"\x80\x02}X\x01\x00\x00\x00w" + rebuild + storage + b"K\x00K\x04\x85K\x01\x85\x89}tRs."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())
    return stream.getvalue()


def _plugin(folder: Path) -> bytes:
    return b"from gan_jax.objectives import OBJECTIVES\nOBJECTIVES['mine'] = OBJECTIVES['hinge']\n"


def _images_of_folder(path: Path) -> object:
    return open_folder(path.parent).read(8, 1)


def _read_idx(path: Path) -> object:
    return data.load("mnist", "train", path.parent)


KINDS: dict[str, Kind] = {
    "config.json": Kind("config.json", _config, lambda path: workdir.read(path.parent)),
    "a population's config.json": Kind("config.json", _population, workdir.read_file),
    "metrics.jsonl": Kind("metrics.jsonl", _metrics, lambda path: report.read_rows(path, 100)),
    "environment.json": Kind(
        "environment.json", _environment, lambda path: environment.record(path.parent, 5, print)
    ),
    "own npz": Kind("x.npz", _npz, lambda path: open_npz(path).read(None, None)),
    "npz to judge": Kind("x.npz", _npz, lambda path: read_images(path, (8, 8, 1), 4)),
    "npz of the cache": Kind("x.npz", _npz, read_npz),
    "a classifier": Kind("x.npz", _npz, lambda path: load_variables(path, (8, 8, 1))),
    "IDX": Kind("train-images-idx3-ubyte.gz", _idx, _read_idx),
    "PyTorch weights": Kind("x.pth", _weights, read_state_dict),
    "PNG": Kind("x.png", _png, _images_of_folder),
    "JPEG": Kind("x.jpg", _jpeg, _images_of_folder),
    "plugin": Kind("x.py", _plugin, plugins.load_plugin),
}

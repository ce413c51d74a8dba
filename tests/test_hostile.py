"""Hostile input: what is read and every command line ends in a value or in an error of one line, within bounds."""

import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.fault_campaign import hostile
from experiments.fault_campaign.command_lines import COMMANDS
from experiments.fault_campaign.mutations import mutated
from experiments.fault_campaign.read_files import KINDS
from gan_jax.checkpoint import Checkpoints
from gan_jax.data.npz import open_npz
from gan_jax.errors import UserError
from gan_jax.evaluation.images_file import read_images
from gan_jax.features.torch_file import read_state_dict
from gan_jax.storage import Damaged, read_npz
from tests.kept import registries_kept

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=20, deadline=None, database=None)
@given(seed=SEEDS)
def test_a_mutated_file_is_read_or_refused_in_one_line(name: str, folder: Path, seed: int) -> None:
    place = folder / name.replace(" ", "-")
    place.mkdir(exist_ok=True)
    with registries_kept():  # a mutated plugin may still be one
        hostile.file(name, place, seed)


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=50, deadline=None, database=None)
@given(seed=SEEDS)
def test_an_odd_command_line_is_taken_or_refused_in_one_line(name: str, seed: int) -> None:
    hostile.command_line(name, seed)


def test_a_mutated_checkpoint_is_never_the_wrong_one(folder: Path) -> None:
    source = folder / "source"
    with Checkpoints(source, write=True) as checkpoints:
        for step in (1, 2):
            checkpoints.save({"x": np.full(100, step, np.float32)}, step)
            checkpoints.wait()
    for seed in range(5):
        assert not hostile.checkpoint(source, folder / "copy", seed)  # the one before is whole
        with Checkpoints(folder / "copy") as checkpoints:
            found = checkpoints.restore(lambda text: None)
        assert found is not None
        np.testing.assert_array_equal(found[1]["x"], np.full(100, found[0], np.float32))


def test_the_mutations_differ_and_are_repeated_by_their_seed() -> None:
    content = b'{"a": [1, 2, {"b": null}]}' * 3
    made = {mutated(content, random.Random(seed)) for seed in range(100)}
    assert len(made) > 50
    assert mutated(content, random.Random(7)) == mutated(content, random.Random(7))


def declaring(path: Path, shape: tuple[int, ...], size: int) -> Path:
    """An .npz whose header declares `shape`, and whose directory says that its entry holds `size` bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content)
        archive.infolist()[0].file_size = size + len(content)
        archive.infolist()[0].compress_size = len(content)
    return path


def test_a_header_of_a_trillion_images_costs_nothing(tmp_path: Path) -> None:
    shape = (10**12, 8, 8, 1)
    path = declaring(tmp_path / "x.npz", shape, 64 * 10**12)
    for read in (
        lambda: open_npz(path).read(None, None),
        lambda: read_images(path, (8, 8, 1), 4),
        lambda: read_npz(path),
    ):
        assert hostile.attempt(read)  # refused, in a bound of time and memory


def test_a_bomb_is_refused_by_what_it_would_unpack_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((20_000, 28, 28), np.uint8))
    assert (tmp_path / "x.npz").stat().st_size < 50_000
    for module in ("storage", "features.torch_file"):
        monkeypatch.setattr(f"gan_jax.{module}.available_memory", lambda: 10**7)
    with pytest.raises(Damaged, match="more than the memory"):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(UserError, match="memory"):
        open_npz(tmp_path / "x.npz").read(None, None)
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**7))
    with pytest.raises(UserError, match="of memory"):
        read_state_dict(tmp_path / "x.pth")


def test_a_picture_of_a_billion_pixels_is_refused_unseen(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    assert hostile.attempt(lambda: KINDS["PNG"].read(tmp_path / "x.png"))

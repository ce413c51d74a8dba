"""Datasets: MNIST against what is known of it; the cache against damage, kills and races.

Run as a script, this file is the child process of those tests: it loads a small set made like MNIST.
"""

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gan_jax
from gan_jax import data
from gan_jax.data import originals, prepare, prepared
from gan_jax.errors import UserError

CLOSED = "http://127.0.0.1:9/"  # the discard port: connections are refused at once
FILES = [file for pair in originals.MNIST_FILES.values() for file in pair]
ASSETS = Path(gan_jax.__file__).parent / "assets" / "mnist"


# ---- the real MNIST, prepared once ----


@pytest.fixture(scope="session")
def mnist_cache(cache_home):
    """The session's cache folder, with MNIST prepared in it."""
    data.load("mnist", "train")
    return cache_home


@pytest.fixture
def mnist(mnist_cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(mnist_cache))
    return functools.partial(data.load, "mnist")


def test_mnist_is_mnist(mnist):
    """Counts from Y. LeCun's page and the label files; 0.1307 and 0.3081 are the figures everybody uses."""
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    for split, expected in counts.items():
        images, labels = mnist(split)
        assert images.shape == (sum(expected), 28, 28, 1)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        assert images.flags.c_contiguous
        assert images.flags.writeable
        np.testing.assert_array_equal(np.bincount(labels), expected)
    images, _ = mnist("train")
    np.testing.assert_allclose(images.mean(), 33.318421, atol=1e-6)
    np.testing.assert_allclose([images.mean() / 255, images.std() / 255], [0.1307, 0.3081], atol=5e-5)


@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_arrays_are_those_of_the_original_files_in_their_order(mnist, split, prefix):
    images, labels = mnist(split)
    pixels = gzip.decompress((ASSETS / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
    digits = gzip.decompress((ASSETS / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
    np.testing.assert_array_equal(images.reshape(-1), np.frombuffer(pixels, np.uint8))
    np.testing.assert_array_equal(labels, np.frombuffer(digits, np.uint8))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "cifar10"])
def test_urls_and_checksums_are_those_that_tfds_registers(name):
    import tensorflow_datasets as tfds

    entry = data.DATASETS[name].args[1]
    stock = getattr(tfds.image_classification, entry.builder)
    assert stock.name == name
    registered = {url: info.checksum for url, info in stock.url_infos.items()}
    assert registered == {entry.url + file: sha for file, sha in entry.sha256.items()}
    if entry.shipped:
        shipped = {file: hashlib.sha256((ASSETS / file).read_bytes()).hexdigest() for file in FILES}
        assert shipped == entry.sha256


def test_a_start_from_the_cache_imports_neither_tfds_nor_tensorflow(mnist_cache):
    code = "import sys, gan_jax.data as d; d.load('mnist', 'train'); print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True, env=_env(mnist_cache)).split()
    assert "gan_jax.data" in modules
    assert not {"tensorflow", "tensorflow_datasets", "array_record"} & set(modules)


def test_stock_tfds_reads_what_was_prepared(mnist, mnist_cache):
    import tensorflow_datasets as tfds

    source = tfds.data_source("mnist", split="test", data_dir=mnist_cache / "gan_jax" / "datasets")
    images, labels = mnist("test")
    assert len(source) == 10_000
    np.testing.assert_array_equal(source[9_999]["image"], images[9_999])
    assert source[9_999]["label"] == labels[9_999]
    assert "tensorflow" not in sys.modules


# ---- a small set of the same kind ----


def _write_originals(folder, seed=0, sizes=(50, 20)):
    """Four files in MNIST's format with random images; -> images and labels by split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, arrays = np.random.default_rng(seed), {}
    for (split, (images_file, labels_file)), n in zip(originals.MNIST_FILES.items(), sizes, strict=True):
        images = rng.integers(0, 256, (n, 28, 28, 1), np.uint8)
        labels = rng.integers(0, 10, n, np.uint8)
        arrays[split] = images, labels
        header = struct.pack(">4I", 0x803, n, 28, 28)
        (folder / images_file).write_bytes(gzip.compress(header + images.tobytes(), mtime=0))
        (folder / labels_file).write_bytes(
            gzip.compress(struct.pack(">2I", 0x801, n) + labels.tobytes(), mtime=0)
        )
    return arrays


def _tiny_entry(folder, url=CLOSED, **more):
    """The registry's entry for the files in `folder`, as they are now."""
    sha256 = _told(folder, FILES, url)
    return functools.partial(
        prepared.load_prepared, "tiny", originals.Originals("MNIST", url, sha256, **more)
    )


def _tiny_cifar(archive):
    sha256 = _told(archive.parent, [archive.name], CLOSED)
    entry = originals.Originals("Cifar10", CLOSED, sha256, parse=originals.from_cifar)
    return functools.partial(prepared.load_prepared, "tiny", entry)


def _told(folder, files, url):
    """The checksums of the files, which TFDS is told, too."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.core.utils import Size

    sha256 = {}
    for file in files:
        content = (folder / file).read_bytes()
        sha256[file] = hashlib.sha256(content).hexdigest()
        checksums.get_all_url_infos()[url + file] = checksums.UrlInfo(Size(len(content)), sha256[file], file)
    return sha256


def _env(cache):
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONWARNINGS": "error"}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """-> the folder of the originals; `tiny` is registered, cannot be downloaded and is not yet prepared."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _write_originals(tmp_path / "originals")
    monkeypatch.setitem(data.DATASETS, "tiny", _tiny_entry(tmp_path / "originals"))
    return tmp_path / "originals"


def _root(tiny):
    return tiny.parent / "cache" / "gan_jax" / "datasets"


def _assert_loads(tiny, data_dir=None, seed=0):
    """Both splits hold what the originals were made from; the cache holds only the set and its lock."""
    for split, (images, labels) in _write_originals(tiny.parent / "again", seed).items():
        loaded = data.load("tiny", split, data_dir)
        np.testing.assert_array_equal(loaded[0], images)
        np.testing.assert_array_equal(loaded[1], labels)
    assert sorted(path.name for path in _root(tiny).iterdir()) == [".tiny.lock", "tiny"]


def _error(*args):
    """The text of the UserError that this load must raise: one line."""
    with pytest.raises(UserError) as caught:
        data.load(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("folder", [".", "tiny"])
def test_data_dir_or_its_subfolder_is_read_and_never_written(tiny, folder):
    data_dir = tiny.parent / "given"
    shutil.copytree(tiny, data_dir / folder)
    before = {path: path.stat().st_mtime_ns for path in [data_dir, *data_dir.rglob("*")]}
    _assert_loads(tiny, data_dir)
    assert {path: path.stat().st_mtime_ns for path in [data_dir, *data_dir.rglob("*")]} == before
    shutil.rmtree(data_dir)
    _assert_loads(tiny)  # once prepared, without


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, Path.unlink, functools.partial(Path.write_bytes, data=b"")]
)
@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy"])
def test_damaged_arrays_are_decoded_again_without_the_originals(tiny, file, damage):
    _assert_loads(tiny, tiny)
    damage(_root(tiny) / "tiny" / "decoded" / file)
    _assert_loads(tiny)


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, Path.unlink, functools.partial(Path.write_bytes, data=b"[]")]
)
@pytest.mark.parametrize("file", ["checksums.json", "3.0.1/tiny-train.array_record-00000-of-00001"])
def test_a_damaged_prepared_set_is_prepared_again(tiny, file, damage):
    _assert_loads(tiny, tiny)
    damage(_root(tiny) / "tiny" / file)
    assert "is not on this machine" in _error("tiny", "train")  # the arrays alone do not count
    _assert_loads(tiny, tiny)


def test_other_registered_checksums_make_the_cache_stale(tiny, monkeypatch):
    _assert_loads(tiny, tiny)
    _write_originals(tiny, seed=1)
    monkeypatch.setitem(data.DATASETS, "tiny", _tiny_entry(tiny))
    _assert_loads(tiny, tiny, seed=1)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("damage", [_truncate, _flip])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_original_is_refused(tiny, cached, damage, file):
    if cached:
        data.load("tiny", "test", tiny)
    expected = hashlib.sha256((tiny / file).read_bytes()).hexdigest()
    damage(tiny / file)
    actual = hashlib.sha256((tiny / file).read_bytes()).hexdigest()
    for split in originals.SPLITS:
        message = _error("tiny", split, tiny)
        assert all(part in message for part in (str(tiny / file), expected, actual, CLOSED + file, "Replace"))
    assert cached or not (_root(tiny) / "tiny").exists()


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_mnists_files_pass_for_no_other_set(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    message = _error(name, "train", ASSETS)
    entry = data.DATASETS[name].args[1]
    assert "another dataset's" in message
    assert entry.sha256[FILES[0]] in message
    assert entry.url + FILES[0] in message


def test_a_damaged_shipped_file_is_refused(tiny, monkeypatch):
    entry = _tiny_entry(tiny, shipped=tiny)
    monkeypatch.setitem(data.DATASETS, "tiny", entry)
    _flip(tiny / FILES[2])
    message = _error("tiny", "test")
    assert str(tiny / FILES[2]) in message
    assert "Reinstall gan_jax" in message
    given = tiny.parent / "given"
    _write_originals(given)
    (given / FILES[0]).unlink()
    _assert_loads(tiny, given)  # the file that it lacks is the shipped one


def test_an_original_without_its_gzip_name_and_time_is_known_again(tiny, monkeypatch):
    """As Debian's strip-nondeterminism leaves them; a changed image is still refused."""
    for file in FILES:
        body = (tiny / file).read_bytes()[10:]
        original = (
            b"\x1f\x8b\x08\x08" + struct.pack("<I", 12345) + b"\x00\x03" + file[:-3].encode() + b"\x00" + body
        )
        (tiny / file).write_bytes(original)
        assert gzip.decompress(original)
    entry = _tiny_entry(tiny, gzip_time={"train": 12345, "t10k": 12345})
    monkeypatch.setitem(data.DATASETS, "tiny", entry)
    _write_originals(tiny)  # the same deflated data, another header
    _assert_loads(tiny, tiny)
    _flip(tiny / FILES[1])
    assert "is damaged" in _error("tiny", "test", tiny)


@pytest.mark.parametrize("present", [1, 2])
def test_without_network_the_error_names_files_url_and_flag(tiny, present):
    data_dir = tiny.parent / "given"
    data_dir.mkdir()
    for file in FILES[:present]:
        shutil.copy(tiny / file, data_dir)
    for message, flag, missing in (
        (_error("tiny", "train"), "a folder DIR and pass --data_dir=DIR", FILES),
        (_error("tiny", "train", data_dir), f"--data_dir={data_dir}", FILES[present:]),
    ):
        assert flag in message
        assert CLOSED in message
        assert "refused" in message
        assert [file for file in FILES if file in message] == list(missing)


def test_a_data_dir_without_any_original_is_refused_even_where_the_set_is_at_hand(mnist, tmp_path):
    with pytest.raises(UserError, match="holds none of the original files of mnist") as caught:
        mnist("train", tmp_path)
    assert FILES[0] in str(caught.value)


def test_no_folder_no_such_name_and_no_such_split(tiny, tmp_path):
    assert "does not exist" in _error("mnist", "train", tmp_path / "nowhere")
    assert "is a file" in _error("mnist", "train", tiny / FILES[0])
    for wrong in ("mnits", "MNIST"):
        message = _error(wrong, "train")
        assert "Did you mean 'mnist'?" in message
        assert "FILE.npz" in message
        assert "FOLDER" in message
    for path in (tmp_path / "photos", f"{tmp_path}/photos", "photos.npz"):
        assert "no such file" in _error(path, "train")
    assert "Allowed: train, test" in _error("mnist", "validation")


def _write_cifar(path, counts):
    """An archive in the format that CIFAR-10's page describes; -> images and labels by split.

    A record is a byte for the label, then 1024 each of red, green and blue, row by row.
    """
    rng, arrays, files = np.random.default_rng(0), {}, {}
    for split, names in {
        "train": [f"data_batch_{i}" for i in (1, 2, 3, 4, 5)],
        "test": ["test_batch"],
    }.items():
        images, labels = [], []
        for name in names:
            content = b""
            for _ in range(counts[split]):
                images.append(rng.integers(0, 256, (32, 32, 3), np.uint8))
                labels.append(int(rng.integers(0, 10)))
                content += bytes([labels[-1]]) + b"".join(images[-1][..., c].tobytes() for c in (0, 1, 2))
            files[f"cifar-10-batches-bin/{name}.bin"] = content
        arrays[split] = np.stack(images), np.array(labels)
    files["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\n"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in sorted(files, reverse=True):  # the original's are in no order, either
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return arrays


@pytest.mark.parametrize("damage", [None, Path.unlink, lambda path: path.write_bytes(b"")])
def test_cifars_archive_is_read_in_its_order_and_back_from_what_tfds_stored(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "originals" / "cifar-10-binary.tar.gz"
    arrays = _write_cifar(archive, {"train": 3, "test": 4})
    monkeypatch.setitem(data.DATASETS, "tiny", _tiny_cifar(archive))
    data.load("tiny", "train", archive.parent)
    if damage:  # then the arrays are decoded from TFDS's records
        for split in arrays:
            damage(tmp_path / "cache" / "gan_jax" / "datasets" / "tiny" / "decoded" / f"{split}_images.npy")
    for split, (images, labels) in arrays.items():
        loaded = data.load("tiny", split)
        assert (loaded[0].dtype, loaded[1].dtype) == (np.uint8, np.int32)
        assert loaded[0].flags.c_contiguous
        np.testing.assert_array_equal(loaded[0], images)
        np.testing.assert_array_equal(loaded[1], labels)


def test_a_damaged_archive_of_cifar_is_refused_and_none_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "originals" / "cifar-10-binary.tar.gz"
    _write_cifar(archive, {"train": 1, "test": 1})
    monkeypatch.setitem(data.DATASETS, "tiny", _tiny_cifar(archive))
    assert f"Put {archive.name} from {CLOSED}" in _error("tiny", "test")
    _flip(archive)
    assert "is damaged" in _error("tiny", "test", archive.parent)


def test_options_of_own_images_are_refused_for_a_registered_name():
    for option in ({"image_size": 32}, {"channels": 3}):
        with pytest.raises(UserError, match=f"--{next(iter(option))}=.*own images"):
            data.load("mnist", "train", **option)


def test_a_plain_function_can_be_registered(monkeypatch):
    images = np.zeros((3, 8, 8, 1), np.uint8)
    monkeypatch.setitem(data.DATASETS, "mine", lambda split, data_dir: (images, {"train": None}[split]))
    assert data.load("mine", "train") == (images, None)
    assert data.dataset_name("mine") == "mine"
    assert data.held_out_note("mine") is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/faces.npz", "faces"),
        (Path("a/b.c"), "b.c"),
        ("a/b/", "b"),
        ("mnist", "mnist"),
        ("/x/..", "images"),
    ],
)
def test_dataset_name(path, name):
    assert data.dataset_name(path) == name


def test_an_unwritable_cache_says_how_to_move_it(tiny, monkeypatch):
    (tiny.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny.parent / "file"))
    message = _error("tiny", "train", tiny)
    assert str(tiny.parent / "file") in message
    assert "XDG_CACHE_HOME" in message


def test_a_full_disk_says_so(tiny, monkeypatch):
    from tensorflow_datasets.core import writer

    def full(*args, **kwargs):
        raise RuntimeError(f"write() failed: {os.strerror(28)}; writing a chunk")

    with monkeypatch.context() as patch:
        patch.setattr(writer.ExampleWriter, "write", full)
        message = _error("tiny", "train", tiny)
    assert "No space left on device" in message
    assert "XDG_CACHE_HOME" in message
    _assert_loads(tiny, tiny)


# ---- download ----


@pytest.fixture
def server(tmp_path):
    """-> the URL of a server on this machine and the folder that it serves."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path / "served")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", tmp_path / "served"
        httpd.shutdown()
        thread.join()


def test_a_set_is_downloaded_and_a_damaged_download_refused(tiny, server, monkeypatch):
    url, served = server
    shutil.copytree(tiny, served)
    monkeypatch.setitem(data.DATASETS, "tiny", _tiny_entry(tiny, url))
    _flip(served / FILES[3])
    digests = [hashlib.sha256((folder / FILES[3]).read_bytes()).hexdigest() for folder in (tiny, served)]
    message = _error("tiny", "train")
    assert all(part in message for part in (url + FILES[3], *digests, "Try again"))
    (served / FILES[3]).unlink()
    assert "404" in _error("tiny", "train")
    shutil.copy(tiny / FILES[3], served)
    (tiny / FILES[3]).unlink()
    _assert_loads(tiny, tiny)  # three files from data_dir, one from the server


# ---- processes ----


def _child(tiny, *args, **env):
    command = [sys.executable, __file__, str(tiny), *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**_env(tiny.parent / "cache"), **env}, stdout=pipe, stderr=pipe)


def test_preparation_is_silent_and_touches_only_the_cache(tiny):
    home = tiny.parent / "home"
    (home / "tensorflow_datasets" / "tiny").mkdir(parents=True)
    (home / "tmp").mkdir()
    child = _child(tiny, HOME=str(home), XDG_CACHE_HOME="", TMPDIR=str(home / "tmp"))
    assert child.communicate() == (b"(50, 28, 28, 1)\n", b"")
    assert child.returncode == 0
    assert sorted(path.name for path in home.iterdir()) == [".cache", "tensorflow_datasets", "tmp"]
    assert not list((home / "tensorflow_datasets" / "tiny").iterdir())
    assert not list((home / "tmp").iterdir())


def test_on_a_terminal_preparation_shows_one_bar_which_tells_reading_from_downloading(tiny, server):
    url, served = server
    shutil.copytree(tiny, served)
    (tiny / FILES[3]).unlink()
    err = _on_a_terminal(
        [sys.executable, __file__, str(tiny), "", url, str(served)], _env(tiny.parent / "cache")
    )
    lines = [line for line in re.split(r"[\r\n]+|\x1b\[A", err) if line.strip()]
    assert all(re.match(r"tiny:? .*%\|", line) for line in lines), err
    assert "tiny: prepared: 100%" in lines[-1]
    assert f"downloading {FILES[3]}" in err
    assert not any(f"downloading {file}" in err for file in FILES[:3])
    assert f"reading {FILES[0]}" in err


def _on_a_terminal(command, env):
    """What the command writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # tqdm shows nothing on one without columns
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 4096):
            written += part
    os.close(ours)
    assert child.wait() == 0, written.decode()
    return written.decode()


KILLS = {  # where a child is killed: the owner and name of a function that it will not return from
    "originals written": (prepare, "_fetch"),
    "examples being written": (Image, "fromarray"),
    "prepared, arrays not begun": (prepare, "_save"),
    "arrays being written": (np, "save"),
    "arrays without checksums": (json, "dumps"),
    "about to be moved into place": (Path, "rename"),
}


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_preparation_leaves_nothing_half_made(tiny, point):
    child = _child(tiny, point)
    _, err = child.communicate()
    assert child.returncode == -signal.SIGKILL, err.decode()
    assert (_root(tiny) / ".tiny.preparing").exists()
    assert not (_root(tiny) / "tiny").exists()
    assert "is not on this machine" in _error("tiny", "train")
    _assert_loads(tiny, tiny)


@pytest.mark.parametrize("point", ["arrays being written", "about to be moved into place"])
def test_a_killed_repair_leaves_nothing_half_made(tiny, point):
    _assert_loads(tiny, tiny)
    part = "decoded/train_images.npy" if point == "arrays being written" else "checksums.json"
    _flip(_root(tiny) / "tiny" / part)
    child = _child(tiny, point)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    _assert_loads(tiny, tiny)


def test_of_two_processes_one_prepares_and_both_load(tiny):
    first = _child(tiny, "held up")
    while not (_root(tiny) / ".tiny.preparing").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = _child(tiny)
    assert second.stderr.readline() == b"waiting for another process that is preparing tiny\n"
    (tiny / "go on").write_text("")
    (out, err), seconds = first.communicate(), second.communicate()
    assert [out, err, *seconds] == [b"(50, 28, 28, 1)\n", b"", b"(50, 28, 28, 1)\n", b""]
    _assert_loads(tiny)


# ---- scaling ----


@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray])
def test_to_float_spans_minus_one_to_one_and_to_uint8_inverts_it(asarray):
    pixels = asarray(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
    images = data.to_float(pixels)
    assert isinstance(images, type(pixels))
    assert images.dtype == np.float32
    np.testing.assert_allclose(np.ravel(images), np.linspace(-1, 1, 256), atol=1e-6)
    back = data.to_uint8(images)
    assert isinstance(back, jax.Array)
    assert back.dtype == jnp.uint8
    np.testing.assert_array_equal(back, pixels)


def test_scaling_compiles_and_to_uint8_rounds_and_clips():
    pixels = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_array_equal(jax.jit(lambda x: data.to_uint8(data.to_float(x)))(pixels), pixels)
    values = np.array([-7.0, -1.0, -0.5, 0.0, 0.003, 1.0, 1.1, np.inf])
    np.testing.assert_array_equal(data.to_uint8(values), [0, 0, 64, 128, 128, 255, 255, 255])
    white = data.to_uint8(jnp.array([1.0, -1.0], jnp.bfloat16))
    np.testing.assert_array_equal(white, [255, 0])


def _main(tiny, point=None, url=CLOSED, files=None):
    """Load the small set from `tiny`; at `point` the process is held up or, if it is one of KILLS, killed."""
    data.DATASETS["tiny"] = _tiny_entry(Path(files or tiny), url)
    owner, name = KILLS.get(point, (prepare, "_save"))
    real = getattr(owner, name)

    def stop(*args, **kwargs):
        if point in KILLS and (name != "rename" or args[0].parent.name == ".tiny.preparing"):
            os.kill(os.getpid(), signal.SIGKILL)
        while point == "held up" and not (tiny / "go on").exists():
            time.sleep(0.01)
        return real(*args, **kwargs)

    setattr(owner, name, stop)
    images, _ = data.load("tiny", "train", tiny)
    print(images.shape)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])

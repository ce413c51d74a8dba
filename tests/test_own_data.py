"""Own images, from .npz files and folders: against Pillow and NumPy; every refusal; the cache by content."""

import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan_jax import data, storage
from gan_jax.data import convert, npz, own
from gan_jax.data.convert import decode
from gan_jax.errors import UserError
from gan_jax.parts import facts_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the entries, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gan_jax" / "datasets" / "own"


def _random(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def _save(path, pixels, **options):
    """Write uint8 [H, W] or [H, W, 3], or a Pillow image, as the file's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def _both(name, **options):
    """Images and labels of both splits, put together in the order in which they were given."""
    held_out = own.held_out
    with pytest.MonkeyPatch.context() as patch:
        ranks = []
        patch.setattr(own, "held_out", lambda *args: ranks.append(held_out(*args)) or ranks[-1])
        (train, train_labels), (test, test_labels) = (
            data.load(name, split, **options) for split in ("train", "test")
        )
    rank = ranks[0]
    np.testing.assert_array_equal(rank, ranks[1])
    images = np.empty((len(train) + len(test), *train.shape[1:]), np.uint8)
    rest = np.setdiff1d(np.arange(len(images)), rank)
    images[rank], images[rest] = test, train
    if train_labels is None:
        assert test_labels is None
        return images, None
    labels = np.empty(len(images), np.int32)
    labels[rank], labels[rest] = test_labels, train_labels
    return images, labels


def _error(name, **options):
    """The text of the UserError that this load must raise: one line."""
    with pytest.raises(UserError) as caught:
        data.load(name, "train", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- .npz ----


@pytest.mark.parametrize("shape", [(8, 128), (9, 8, 1), (16, 16, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_uint8_images_are_taken_as_they_are_without_a_cache(tmp_path, cache, shape, dtype):
    images, labels = _random(20, *shape), np.arange(20, dtype=dtype) % 7 * 3
    loaded = _both(_npz(tmp_path / "a.npz", images=images, labels=labels, more=np.zeros(3)))
    np.testing.assert_array_equal(loaded[0], images.reshape(20, *(*shape, 1)[:3]))
    np.testing.assert_array_equal(loaded[1], labels)
    one, one_labels = data.load(str(tmp_path / "a.npz"), "test")
    assert (one.dtype, one_labels.dtype) == (np.uint8, np.int32)
    assert not cache.exists()


def test_a_home_folder_and_a_name_in_capitals_are_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with (tmp_path / "A.NPZ").open("wb") as file:
        np.savez(file, images=_random(4, 8, 8))
    assert data.load("~/A.NPZ", "train")[1] is None
    assert data.dataset_name("~/A.NPZ") == "A"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("lowest", [0, -1])
def test_floating_images_become_the_nearest_of_256_values(tmp_path, dtype, lowest):
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    floats = pixels / 255 if lowest == 0 else pixels / 127.5 - 1
    loaded, _ = _both(_npz(tmp_path / "a.npz", images=floats.astype(dtype)))
    np.testing.assert_array_equal(loaded[..., 0], pixels)


def test_floats_are_of_one_range_in_both_splits(tmp_path):
    path = _npz(tmp_path / "a.npz", images=np.zeros((2, 8, 8)), test_images=np.full((3, 8, 8), -1.0))
    assert np.unique(data.load(path, "train")[0]) == 128  # 127.5, to even
    assert np.unique(data.load(path, "test")[0]) == 0


def test_a_given_test_split_is_taken(tmp_path):
    images, test_images = _random(5, 8, 8), _random(1, 8, 8, seed=1)
    labels = {"labels": np.arange(5), "test_labels": np.array([3])}
    path = _npz(tmp_path / "a.npz", images=images, test_images=test_images, **labels)
    note = "5 images, stored as 8×8×1, in 5 classes. 1 more are for evaluation."
    assert data.held_out_note(path) == note
    for split, expected, classes in (("train", images, range(5)), ("test", test_images, [3])):
        loaded, loaded_labels = data.load(path, split)
        np.testing.assert_array_equal(loaded[..., 0], expected)
        np.testing.assert_array_equal(loaded_labels, list(classes))


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("image_size", [None, 8, 40])
def test_size_and_channels_are_pillows(tmp_path, depth, channels, image_size):
    images = _random(4, 20, 12, depth)
    path = _npz(tmp_path / "a.npz", images=images)
    loaded, _ = _both(path, image_size=image_size, channels=channels)
    for image, result in zip(images, loaded, strict=True):
        picture = Image.fromarray(image.squeeze()).convert({1: "L", 3: "RGB"}[channels or depth])
        if image_size:
            picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(result.squeeze(), np.asarray(picture))


def test_resizing_is_antialiased(tmp_path):
    """Every other column white: the nearest neighbour would make of it all black or all white."""
    stripes = np.zeros((2, 64, 64), np.uint8)
    stripes[..., ::2] = 255
    loaded, _ = _both(_npz(tmp_path / "a.npz", images=stripes), image_size=16)
    np.testing.assert_allclose(loaded[:, 4:-4, 4:-4], 127.5, atol=8)


def _wrong(**arrays):
    return {"images": _random(4, 8, 8), **arrays}


NOT_A_NUMBER = np.zeros((4, 8, 8))
NOT_A_NUMBER[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x_train": np.zeros(3)}, ["no array 'images'", "x_train", "np.savez"]),
        ({}, ["no array 'images'", "nothing"]),
        (_wrong(images=np.full((4, 8, 8), 255.0)), ["255.0", "uint8", "[0, 1]", "[-1, 1]"]),
        (_wrong(images=np.full((4, 8, 8), -1.5)), ["-1.5", "uint8"]),
        (_wrong(images=NOT_A_NUMBER), ["nan", "uint8"]),
        (_wrong(images=np.zeros((4, 8, 8)), test_images=NOT_A_NUMBER), ["nan", "uint8"]),
        (_wrong(images=np.zeros((4, 8, 8), np.int64)), ["int64", "uint8"]),
        (_wrong(images=np.zeros((4, 8, 8), bool)), ["bool", "uint8"]),
        (_wrong(images=np.zeros((4, 8, 8), complex)), ["complex128", "uint8"]),
        (_wrong(images=_random(4, 64)), ["[4, 64]", "[N, H, W]"]),
        (_wrong(images=_random(4, 3, 8, 8)), ["[4, 3, 8, 8]", "[N, H, W, 3]"]),
        (_wrong(images=_random(4, 8, 8, 4)), ["[4, 8, 8, 4]", "[N, H, W, 3]"]),
        (_wrong(images=_random(0, 8, 8)), ["[0, 8, 8]"]),
        (_wrong(images=_random(1, 8, 8)), ["1 image", "2 or more"]),
        (_wrong(images=_random(4, 7, 8)), ["7×8", "8 to 128", "--image_size=32"]),
        (_wrong(images=_random(4, 8, 129)), ["8×129", "8 to 128", "--image_size=32"]),
        (_wrong(labels=np.zeros(3, int)), ["'labels'", "[3]", "[4]"]),
        (_wrong(labels=np.zeros((4, 10), int)), ["'labels'", "[4, 10]", "[4]"]),
        (_wrong(labels=np.zeros(4)), ["'labels'", "float64", "integers"]),
        (_wrong(labels=np.array(["a"] * 4)), ["'labels'", "<U1", "integers"]),
        (_wrong(labels=np.array([0, -1, 0, 0])), ["'labels'", "-1", "from 0"]),
        (_wrong(labels=np.array([0, 2**31, 0, 0])), ["'labels'", "2147483648", "from 0"]),
        (_wrong(images=np.array([None] * 4)), ["Python objects"]),
        (_wrong(test_labels=np.zeros(4, int)), ["'test_labels'", "without 'test_images'"]),
        (_wrong(test_images=_random(4, 8, 9)), ["[8, 8, 1]", "[8, 9, 1]", "one size"]),
        (_wrong(test_images=np.zeros((4, 8, 8))), ["uint8", "float64", "one type"]),
        (_wrong(test_images=_random(4, 8, 8), labels=np.zeros(4, int)), ["one split only"]),
        (
            _wrong(test_images=_random(4, 8, 8), labels=np.arange(4), test_labels=np.array([0, 9, 1, 7])),
            ["'test_labels' have classes that 'labels' lack (7, 9)"],
        ),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, arrays, parts):
    path = tmp_path / "a.npz"
    np.savez(path, allow_pickle=True, **arrays)
    message = _error(path)
    assert all(part in message for part in [str(path), *parts]), message


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def _text(path):
    path.write_text("images\n")


def _single(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize("damage", [_truncated, _flipped, _text, _single])
def test_a_damaged_npz_is_refused(tmp_path, damage):
    path = _npz(tmp_path / "a.npz", images=_random(4, 8, 8))
    damage(path)
    message = _error(path)
    assert f"'{path}' is damaged or no .npz file" in message


@pytest.mark.parametrize("claims", [None, 10**12 * 64])
def test_a_header_that_claims_a_trillion_images_is_refused_at_once(tmp_path, claims):
    """Whether or not the archive's own directory claims the same."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content)
        if claims:
            archive.infolist()[0].file_size = claims + 10 + len(header)
    message = _error(path)
    assert "declares 64000000000000 bytes" in message if claims is None else "64000.0 GB" in message


def test_what_does_not_fit_in_half_of_the_memory_is_refused_with_both_numbers(tmp_path, monkeypatch):
    path = _npz(tmp_path / "a.npz", images=_random(1000, 20, 20, 3))
    pictures = tmp_path / "pictures"
    for i in range(3):
        _save(pictures / f"{i}.png", _random(100, 100, 3))
    monkeypatch.setattr(storage, "available_memory", lambda: 2_400_000)
    assert len(data.load(path, "train")[0]) == 800  # just
    monkeypatch.setattr(storage, "available_memory", lambda: 2_399_999)
    monkeypatch.setattr(npz, "read_npz", None)  # nor is anything loaded for it
    for name, options in ((path, {}), (path, {"image_size": 32})):
        message = _error(name, **options)
        assert "1.2 MB" in message if not options else "3.1 MB" in message
        assert all(part in message for part in ("2.4 MB", "fewer images", "--image_size", "--channels=1")), (
            message
        )
    monkeypatch.setattr(storage, "available_memory", lambda: 100_000)
    assert "0.1 MB" in _error(pictures)
    data.load(pictures, "train", image_size=32)


# ---- a folder ----


def test_subfolders_are_classes_in_the_order_of_their_names(tmp_path):
    root, expected = tmp_path / "pets", []
    for label, name in enumerate(["Cat", "dog", "eel"]):
        for i, file in enumerate(["0.png", "1.PNG", "deep/2.png"]):
            pixels = _random(8, 10, 3, seed=10 * label + i)
            expected.append((label, pixels))
            _save(root / name / file, pixels, format="PNG")
    for other in ("notes.txt", ".hidden.png", "Cat/notes.txt", ".git/a.png", "Cat/.thumbs/a.png"):
        (root / other).parent.mkdir(exist_ok=True)
        (root / other).write_text("no image")
    (root / "empty").mkdir()
    images, labels = _both(root)
    np.testing.assert_array_equal(labels, [label for label, _ in expected])
    np.testing.assert_array_equal(images, [pixels for _, pixels in expected])
    assert data.dataset_name(root) == "pets"


def test_images_without_subfolders_have_no_labels(tmp_path):
    pixels = [_random(8, 8, seed=i) for i in range(12)]
    for i, image in enumerate(pixels):
        _save(tmp_path / "a" / f"{i:02}.png", image)
    images, labels = _both(str(tmp_path / "a"))
    assert labels is None
    np.testing.assert_array_equal(images[..., 0], pixels)


def test_train_and_test_are_the_splits(tmp_path):
    for i, (split, name) in enumerate((split, name) for split in ("train", "test") for name in ("a", "b")):
        _save(tmp_path / "x" / split / name / "0.png", np.full((8, 8), i, np.uint8))
    _save(tmp_path / "x" / "valid" / "a" / "0.png", np.full((8, 8), 99, np.uint8))
    assert str(data.held_out_note(tmp_path / "x")).endswith(" more are for evaluation.")
    for split, values in (("train", [0, 1]), ("test", [2, 3])):
        images, labels = data.load(tmp_path / "x", split)
        np.testing.assert_array_equal(images[:, 0, 0, 0], values)
        np.testing.assert_array_equal(labels, [0, 1])


@pytest.mark.parametrize("folder", ["x/a", "x"])
@pytest.mark.parametrize("link", ["x/again", "x/a/again"])
def test_a_link_that_leads_in_a_circle_ends(tmp_path, folder, link):
    for i in range(3):
        _save(tmp_path / folder / f"{i}.png", _random(8, 8, seed=i))
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "x" if link == "x/again" else (tmp_path / link).parent)
    assert len(_both(tmp_path / "x")[0]) == 3


def _jpeg_turned(path):
    """EXIF 6: the camera was held so that the picture must be turned a quarter to the right."""
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    _save(path, pixels, exif=exif, quality=100)
    return np.rot90(pixels, -1)[..., None]


def _palette(path):
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2).convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    _save(path, picture)
    return np.where((np.arange(64) % 2).reshape(8, 8, 1), [0, 0, 255], [255, 0, 0])


def _transparent(path):
    """From opaque red at the left to transparent green at the right: what shines through is the black behind."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4], pixels[:, 4:] = [255, 0, 0, 255], [0, 255, 0, 0]
    pixels[:, 3:5, 3] = 128
    _save(path, pixels)
    return pixels[..., :3] * (pixels[..., 3:] / 255)


def _grey_and_transparent(path):
    pixels = np.full((8, 8, 2), 200, np.uint8)
    pixels[..., 1] = np.arange(8) * 36
    _save(path, Image.frombytes("LA", (8, 8), pixels.tobytes()))
    return pixels[..., :1] * (pixels[..., 1:] / 255)


def _palette_and_transparent(path):
    """The white of the palette is transparent in one half, of which PNG says how much for each of its colours."""
    index = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    picture = Image.frombytes("P", (8, 8), index.tobytes())
    picture.putpalette([255, 255, 255, 255, 255, 255, 0, 0, 200])
    _save(path, picture, transparency=bytes([0, 255, 255]))
    return np.array([[0, 0, 0], [255, 255, 255], [0, 0, 200]])[index]


def _one_of_the_palette_transparent(path):
    picture = Image.frombytes("P", (8, 8), bytes([0, 1] * 32))
    picture.putpalette([255, 255, 255, 0, 255, 0])
    _save(path, picture, transparency=0)
    return np.where(np.arange(64).reshape(8, 8, 1) % 2, [0, 255, 0], 0)


def _one_grey_transparent(path):
    pixels = (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)
    _save(path, pixels, transparency=252)
    return np.where(pixels == 252, 0, pixels)[..., None]


def _one_colour_transparent(path):
    pixels = np.full((8, 8, 3), [250, 240, 230], np.uint8)
    pixels[:, :3] = [10, 20, 30]
    _save(path, pixels, transparency=(250, 240, 230))
    return np.where(pixels == [250, 240, 230], 0, pixels)


def _bits_transparent(path):
    pixels = np.eye(8, dtype=bool)
    _save(path, Image.fromarray(pixels), transparency=255)
    return np.zeros((8, 8, 1))


def _deep_and_transparent(path):
    pixels = (np.arange(64, dtype=np.uint16) * 1024 + 7).reshape(8, 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    chunk = b"tRNS" + struct.pack(">H", int(pixels[7, 7]))
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:at] + chunk + content[at:])
    return np.where(pixels == pixels[7, 7], 0, pixels // 256)[..., None]


def _deep(path):
    pixels = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    _save(path, pixels)
    return (pixels // 256)[..., None]


def _bits(path):
    pixels = np.eye(8, dtype=bool)
    _save(path, Image.fromarray(pixels))
    return pixels[..., None] * 255


def _colour(path):
    pixels = _random(8, 8, 3)
    _save(path, pixels)
    return pixels


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (_jpeg_turned, "jpeg"),
        (_palette, "png"),
        (_transparent, "png"),
        (_grey_and_transparent, "png"),
        (_palette_and_transparent, "png"),
        (_one_of_the_palette_transparent, "png"),
        (_one_grey_transparent, "png"),
        (_one_colour_transparent, "png"),
        (_deep_and_transparent, "png"),
        (_deep, "png"),
        (_bits, "png"),
        (_colour, "png"),
    ],
)
def test_every_kind_of_png_and_jpeg_is_shown_as_a_viewer_on_black_shows_it(tmp_path, make, suffix):
    expected = [make(tmp_path / "x" / f"{i}.{suffix}") for i in range(2)]
    images, _ = _both(tmp_path / "x")
    np.testing.assert_allclose(images, expected, atol=2 if suffix == "jpeg" else 0.6)


def test_bits_that_are_transparent_lie_on_black_too(tmp_path):
    """By itself: a set of nothing but black is refused."""
    expected = _bits_transparent(tmp_path / "0.png")
    np.testing.assert_array_equal(
        decode(tmp_path / "0.png", None, 1).squeeze(), np.asarray(expected).squeeze()
    )


def test_a_jpeg_in_cmyk_becomes_rgb(tmp_path):
    for i in range(2):
        _save(tmp_path / "x" / f"{i}.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    np.testing.assert_allclose(_both(tmp_path / "x")[0], np.broadcast_to([255, 0, 0], (2, 8, 8, 3)), atol=3)


def test_files_of_many_sizes_and_modes_are_brought_to_one_as_by_pillow(tmp_path):
    sizes = [(8, 30), (300, 200), (24, 24)]
    pixels = [_random(*size, 3, seed=i) for i, size in enumerate(sizes)] + [_random(9, 9)]
    for i, image in enumerate(pixels):
        _save(tmp_path / "x" / f"{i}.png", image)
    images, _ = _both(tmp_path / "x", image_size=24, channels=3)
    for image, result in zip(pixels, images, strict=True):
        picture = Image.fromarray(image).convert("RGB").resize((24, 24), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(result, np.asarray(picture))


def test_sizes_or_modes_that_differ_are_refused_with_two_files_and_the_remedy(tmp_path):
    one = _save(tmp_path / "x" / "0.png", _random(8, 9))
    _save(tmp_path / "x" / "1.png", _random(8, 9))
    other = _save(tmp_path / "x" / "2.png", _random(10, 11))
    message = _error(tmp_path / "x")
    assert all(part in message for part in (str(one), "8×9", str(other), "10×11", "--image_size=32")), message
    _save(other, _random(8, 9, 3))
    message = _error(tmp_path / "x")
    assert all(part in message for part in (str(one), "8×9×1", str(other), "8×9×3", "--channels=1")), message


def _huge(path):
    """A PNG of a few bytes whose header says 60,000 by 60,000."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">2I5B", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))


def _large(path):
    """Above Pillow's limit, below twice it: there Pillow itself only warns."""
    Image.new("1", (9_500, 9_500)).save(path)


def _gif(path):
    Image.new("L", (8, 8)).save(path, "GIF")


def _empty(path):
    path.write_bytes(b"")


def _half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_huge, _large, _gif, _empty, _half, _text])
@pytest.mark.parametrize("index", [0, 2])
def test_a_damaged_image_is_refused_by_name_and_nothing_kept(tmp_path, cache, damage, index):
    for i in range(3):
        _save(tmp_path / "x" / f"{i}.png", _random(64, 64, 3))
    damage(tmp_path / "x" / f"{index}.png")
    message = _error(tmp_path / "x", image_size=8)
    assert f"'{tmp_path / 'x' / f'{index}.png'}' is damaged or no PNG or JPEG" in message
    assert not list(cache.glob("*"))


def test_images_of_one_value_are_refused_with_the_reason(tmp_path):
    for i in range(3):
        icon = np.zeros((8, 8, 4), np.uint8)
        icon[2:4, i : i + 2, 3] = 255  # black on nothing
        _save(tmp_path / "x" / f"{i}.png", icon)
    message = _error(tmp_path / "x")
    assert all(
        part in message for part in ("every pixel of every image is 0", "transparent", "black", "white")
    )
    assert "every pixel of every image is 7" in _error(
        _npz(tmp_path / "a.npz", images=np.full((4, 8, 8), 7, np.uint8))
    )
    _save(tmp_path / "x" / "3.png", _random(8, 8))  # one that differs is enough
    _both(tmp_path / "x", channels=1)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make):
    _save(tmp_path / "x" / "0.png", _random(8, 8))
    make(tmp_path / "x" / "1.png")
    message = _error(tmp_path / "x")
    assert str(tmp_path / "x" / "1.png") in message
    assert "remove it" in message


def test_a_name_with_a_line_break_gives_one_line(tmp_path):
    _save(tmp_path / "x" / "0.png", _random(8, 8))
    (tmp_path / "x" / "a\nb.png").write_text("no image")
    assert r"a\nb.png" in _error(tmp_path / "x")


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ([], ["no images", ".png, .jpg or .jpeg"]),
        (["a.png"], ["1 image", "2 or more"]),
        (["a.png", "cat/a.png"], ["a.png", "cat", "subfolder"]),
        (["train/cat/a.png"], ["'train'", "add the other"]),
        (["train/cat/a.png", "test/dog/a.png"], ["cat", "dog", "the same"]),
        (["train/a.png", "test/dog/a.png"], ["dog", "the same"]),
        (["train/a.png", "test/a.png", "a.png"], ["a.png", "beside"]),
    ],
)
def test_folders_of_another_form_are_refused(tmp_path, files, parts):
    (tmp_path / "x").mkdir()
    for file in files:
        _save(tmp_path / "x" / file, _random(8, 8))
    message = _error(tmp_path / "x")
    assert all(part in message for part in [str(tmp_path / "x"), *parts]), message


# ---- arguments ----


def test_arguments_that_do_not_go_together_are_refused(tmp_path):
    path = _npz(tmp_path / "a.npz", images=_random(4, 8, 8))
    assert "leave --data_dir out" in _error(path, data_dir=tmp_path)
    for size in (7, 129, 0, -1):
        assert "8 to 128" in _error(path, image_size=size)
    assert "1 (grey) or 3" in _error(path, channels=2)
    (tmp_path / "a.zip").write_bytes(path.read_bytes())
    for other in (tmp_path / "a.zip", "/dev/null"):
        assert "neither an .npz file nor a folder" in _error(other)
    os.mkfifo(tmp_path / "pipe.npz")
    assert "neither an .npz file nor a folder" in _error(tmp_path / "pipe.npz")


# ---- the split ----


@given(st.integers(2, 200_000))
def test_the_held_out_split_is_a_tenth_within_its_bounds(count):
    index = own.held_out(count)
    expected = count // 2 if count < 400 else 200 if count < 2000 else min(count // 10, 10_000)
    assert len(index) == expected
    assert len(np.unique(index)) == len(index)
    assert index.min() >= 0
    assert index.max() < count
    np.testing.assert_array_equal(index, np.sort(index))


def test_the_splits_are_apart_in_order_and_drawn_at_random(tmp_path):
    values = np.arange(1500)
    images = np.broadcast_to((values // 6).astype(np.uint8)[:, None, None], (1500, 8, 8)).copy()
    images[:, 0, 0] = values % 6
    path = _npz(tmp_path / "a.npz", images=images)
    train, test = (data.load(path, split)[0][..., 0].astype(int) for split in ("train", "test"))
    train, test = (split[:, 1, 1] * 6 + split[:, 0, 0] for split in (train, test))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), values)
    assert (len(train), len(test)) == (1300, 200)
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert abs(test.mean() - 750) < 100  # 3 of its standard deviations: not those at either end
    note = "1500 images, stored as 8×8×1, without labels. "
    note += "200 of them, drawn by seed 0, are held out for evaluation."
    assert data.held_out_note(path) == data.held_out_note(str(path)) == note


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_each_class_gives_its_share_and_keeps_an_image(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    index = own.held_out(len(labels), labels)
    assert len(index) == min(len(labels) // 2, len(labels) - len(counts))
    np.testing.assert_array_equal(index, np.unique(index))
    taken = np.bincount(labels[index], minlength=labels.max() + 1)[::3]
    assert (taken < np.array(counts)).all()
    if len(index) == len(labels) // 2 and min(counts) > 2:
        # A class's own rounding is below one image, and so is each class's part in where the line is drawn.
        shares = np.array(counts) / len(labels)
        assert (np.abs(taken - np.array(counts) / 2) <= 1 + len(counts) * shares).all()


def test_a_class_of_few_images_gives_none_or_one_and_on_average_its_share():
    """A tenth of 4000 images: of 300 classes of 4 images each 0.4 are held out, 120 in all."""
    labels = np.concatenate([np.repeat(np.arange(300), 4), np.full(2800, 300)])
    taken = np.bincount(labels[own.held_out(4000, labels)])
    assert set(taken[:300]) == {0, 1}
    assert taken[:300].sum() == pytest.approx(120, abs=30)
    assert taken.sum() == 400


def test_both_splits_have_the_number_of_classes_of_the_whole_set(tmp_path):
    """The last class has one image; drawn from all of them it was held out for half of the seeds."""
    for images in (200, 1000):
        labels = np.append(np.arange(images - 1) % 2, 2)
        path = _npz(tmp_path / "a.npz", images=_random(images, 8, 8), labels=labels)
        train, test = (data.load(path, split)[1] for split in ("train", "test"))
        assert facts_of(*data.load(path, "train")).num_classes == 3
        assert set(train) == {0, 1, 2}
        assert set(test) == {0, 1}
        assert data.held_out_note(path) == (
            f"{images} images, stored as 8×8×1, in 3 classes. "
            f"{len(test)} of them, drawn by seed 0 within each class, are held out for evaluation."
        )


def test_a_label_for_each_image_leaves_none_to_hold_out(tmp_path):
    path = _npz(tmp_path / "a.npz", images=_random(5, 8, 8), labels=np.arange(5))
    message = _error(path)
    assert all(part in message for part in (str(path), "one image of each class", "leave the labels out"))
    with pytest.raises(UserError, match="one image of each class"):
        data.held_out_note(path)


def test_of_a_folder_the_remedy_is_one_that_a_folder_has(tmp_path):
    for name in "abc":
        _save(tmp_path / "x" / name / "0.png", _random(8, 8))
    message = _error(tmp_path / "x")
    assert "put all images into one folder" in message
    assert "leave the labels out" not in message


def test_of_a_folder_the_note_says_the_same_and_what_was_passed_over(tmp_path):
    for i in range(4):
        _save(tmp_path / "x" / "ab"[i % 2] / f"{i}.png", _random(8, 9))
    note = "4 images, the first stored as 8×9×1, in 2 classes{}. "
    note += "2 of them, drawn by seed 0 within each class, are held out for evaluation."
    assert data.held_out_note(tmp_path / "x") == note.format("")
    for name in ("a/4.webp", "b/5.bmp", "notes.txt", ".hidden"):
        (tmp_path / "x" / name).write_bytes(b"x")
    passed = "; 3 other files passed over, which are no PNG or JPEG"
    assert data.held_out_note(tmp_path / "x") == note.format(passed)


# ---- the cache ----


def _sources(tmp_path):
    for i in range(6):
        _save(tmp_path / "x" / ("a" if i < 3 else "b") / f"{i}.png", _random(12, 12, 3, seed=i))
    return {
        "folder": (tmp_path / "x", {}),
        "floats": (_npz(tmp_path / "f.npz", images=_random(6, 8, 8) / 255), {}),
        "resized": (
            _npz(tmp_path / "r.npz", images=_random(6, 12, 8), labels=np.arange(6) % 3),
            {"image_size": 10},
        ),
    }


@pytest.fixture(params=["folder", "floats", "resized"])
def source(request, tmp_path):
    return _sources(tmp_path)[request.param]


def _assert_same(one, other):
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_second_load_converts_nothing(source, cache, monkeypatch):
    name, options = source
    before = _both(name, **options)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        for kind in (own.Npz, own.Folder):
            patch.setattr(kind, "read", None)
        _assert_same(_both(name, **options), before)


@pytest.mark.parametrize("damage", [_truncated, _flipped, _text, _empty])
def test_a_damaged_entry_is_made_anew(source, cache, damage):
    name, options = source
    before = _both(name, **options)
    [entry] = cache.iterdir()
    content = entry.read_bytes()
    damage(entry)
    _assert_same(_both(name, **options), before)
    assert entry.read_bytes() == content
    assert list(cache.iterdir()) == [entry]


def test_other_content_sizes_channels_and_versions_make_other_entries(tmp_path, cache, monkeypatch):
    root = _sources(tmp_path)["folder"][0]
    first, _ = _both(root)
    _both(root, image_size=8)
    _both(root, image_size=8, channels=1)
    assert len(list(cache.iterdir())) == 3
    _save(root / "a" / "1.png", 255 - first[1])
    changed, _ = _both(root)
    np.testing.assert_array_equal(changed[1], 255 - first[1])
    np.testing.assert_array_equal(np.delete(changed, 1, 0), np.delete(first, 1, 0))
    (root / "a" / "2.png").rename(root / "b" / "2.png")  # the same bytes in the same order, another class
    assert np.count_nonzero(_both(root)[1]) == 4
    assert len(list(cache.iterdir())) == 5
    root.rename(tmp_path / "elsewhere")
    _both(tmp_path / "elsewhere")
    assert len(list(cache.iterdir())) == 5  # the same, in another place
    monkeypatch.setattr(own, "VERSION", 1)  # when transparency was white
    _both(tmp_path / "elsewhere")
    assert len(list(cache.iterdir())) == 6


def test_an_unwritable_cache_costs_a_warning(source, tmp_path, monkeypatch, capsys):
    name, options = source
    before = _both(name, **options)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    capsys.readouterr()
    loaded = data.load(name, "train", **options)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("warning: ")
    assert "XDG_CACHE_HOME" in err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _assert_same([loaded[0]], [data.load(name, "train", **options)[0]])
    _assert_same(_both(name, **options), before)


def test_decoding_writes_nothing_to_a_pipe_and_many_threads_give_one_order(tmp_path, capsys, monkeypatch):
    pixels = [np.full((8, 8), i, np.uint8) for i in range(200)]
    for i, image in enumerate(pixels):
        _save(tmp_path / "x" / f"{i:03}.png", image)
    monkeypatch.setattr(convert, "AT_ONCE", 7)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    np.testing.assert_array_equal(_both(tmp_path / "x")[0][..., 0], pixels)
    assert capsys.readouterr() == ("", "")


def test_pillows_limit_is_what_it_was():
    assert convert.MAX_PIXELS == Image.MAX_IMAGE_PIXELS

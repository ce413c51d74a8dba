"""Pictures that move, and what they are made of: ways through the latents, walks, a run's film."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin
from PIL import Image
from scipy.stats import norm, truncnorm

import gan_jax
from gan_jax import film, paths, pictures, plane
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.parts import Facts, Parts, build
from gan_jax.plan import plan
from gan_jax.report import Report
from gan_jax.state import to_arrays
from gan_jax.workdir import write_config

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]

STEPS = range(2, 17, 2)
NEAR = 255 / (pictures.GREYS - 1) / 2  # of a GIF's grey to that which it stands for


def make_run(folder: Path, config: Config) -> None:
    """An untrained run on images of 8 × 8 in 10 classes, whose eight grids are of steps 2 to 16, two an epoch."""
    _, state = begin(config, (8, 8, 1), 64)
    course = plan(config, 64)
    folder.mkdir()
    write_config(folder, config, Facts((8, 8, 1), 64, 10, "0"))
    with Checkpoints(folder / "checkpoints", write=True) as checkpoints:
        checkpoints.save(to_arrays(state), 16)
    rng = np.random.default_rng(0)
    with Report(folder, config, course, 0) as report:
        for step in STEPS:
            row = {"step": step, "epoch": course.epoch(step), "batch": course.batch(step)}
            report.log({**row, "d_loss": 1.0, "g_loss": 1.0})
            images = rng.integers(0, 256, (64, 8, 8, 1), np.uint8)
            report.samples(row, lambda images=images: pictures.grid(images))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `w`, and the conditional one `c`."""
    folder = tmp_path_factory.mktemp("runs")
    config = Config(model="mlp", penalty=(), ema=0.0, batch_size=16, z_dim=8, steps=16)
    make_run(folder / "w", config)
    make_run(folder / "c", dataclasses.replace(config, conditional=True))
    return folder


@pytest.fixture
def here(runs: Path, in_process: Command, tmp_path: Path) -> Path:
    """A copy of the runs in tmp_path, where this process is."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    return tmp_path


def parts(small: Small, **fields: object) -> Parts:
    return build(small(**fields), (8, 8, 1), 10)


# Latents


def test_gaussian_noise_goes_along_the_sphere(small: Small) -> None:
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 5, 8)).astype(np.float32)
    share = np.linspace(0, 1, 7)
    found = np.asarray(paths.lines(parts(small), np.concatenate([start, end]), 7))
    # Shoemake 1985, §3.3.
    cosine = (start * end).sum(-1) / np.linalg.norm(start, axis=-1) / np.linalg.norm(end, axis=-1)
    angle = np.arccos(cosine)[:, None, None]
    ahead, behind = np.sin(share[:, None] * angle), np.sin((1 - share[:, None]) * angle)
    expected = (behind * start[:, None] + ahead * end[:, None]) / np.sin(angle)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The squared length of what was independent stays near that of noise; of the straight way's middle it is half.
    z = rng.normal(size=(400, 64))
    middle = paths.lines(parts(small, z_dim=64), z, 3)[:, 1]
    assert float((middle**2).sum(-1).mean()) == pytest.approx(64, rel=0.05)


def test_uniform_noise_goes_straight(small: Small) -> None:
    uniform = parts(small, z_distribution="uniform")
    found = paths.lines(uniform, np.eye(2), 3)
    np.testing.assert_allclose(found[0], [[1, 0], [0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("factor", [1.0, -1.0, 2.0, 0.0])
def test_ends_on_one_line_with_the_origin_are_joined_straight(small: Small, factor: float) -> None:
    start = np.array([[1.0, -2.0, 0.5]])
    found = paths.lines(parts(small), np.concatenate([start, factor * start]), 3)[0]
    np.testing.assert_allclose(found[1], (1 + factor) / 2 * start[0], atol=1e-5)


def test_a_walk_ends_where_it_began(small: Small) -> None:
    stops = np.random.default_rng(0).normal(size=(3, 2, 8))
    found = np.asarray(paths.loop(parts(small), stops, 4))
    assert found.shape == (12, 2, 8)
    np.testing.assert_allclose(found[::4], stops, atol=1e-6)
    back = paths.lines(parts(small), np.concatenate([stops[2], stops[0]]), 5)
    np.testing.assert_allclose(found[8:], np.swapaxes(back[:, :4], 0, 1), atol=1e-6)


@pytest.mark.parametrize("limit", [0.01, 0.5, 2.0, 6.0])
def test_truncated_noise_is_that_of_a_truncated_normal(small: Small, limit: float) -> None:
    z = np.linspace(-7, 7, 1401, dtype=np.float32)
    found = np.asarray(paths.truncated(parts(small), jnp.asarray(z), limit))
    assert np.abs(found).max() <= limit
    # SciPy's own in float64, of the lower tail, where it has the digits.
    tail = truncnorm.ppf(norm.cdf(-np.abs(z.astype(np.float64))), -limit, limit)
    np.testing.assert_allclose(found, -np.sign(z) * tail, rtol=1e-3, atol=1e-4)


def test_a_limit_beyond_all_noise_changes_nothing(small: Small) -> None:
    z = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    np.testing.assert_allclose(paths.truncated(parts(small), jnp.asarray(z), 50.0), z, atol=1e-4)
    uniform = parts(small, z_distribution="uniform")
    np.testing.assert_allclose(paths.truncated(uniform, jnp.asarray(z), 0.25), z / 4)
    for limit, where in ((2.0, uniform), (0.0, uniform), (float("nan"), parts(small))):
        with pytest.raises(UserError, match=r"--truncation=.* is not allowed"):
            paths.truncated(where, jnp.asarray(z), limit)


# gan_jax.sample


def test_sample_draws_grids_ways_and_walks(here: Path, in_process: Command) -> None:
    def draw(*flags: str) -> str:
        done = in_process("sample", *flags)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    gan = gan_jax.load("w")
    draw("--workdir=w", "--grid=2x3", "--scale=4", "--truncation=0.5", "--seed=1", "--out=a.png")
    images = gan.sample(6, 1, truncation=0.5)
    np.testing.assert_array_equal(images, gan.draw(paths.truncated(gan.parts, gan.latents(6, 1), 0.5)))
    with Image.open("a.png") as picture:
        expected = pictures.mosaic(images, 3)[..., 0]
        np.testing.assert_array_equal(np.asarray(picture), expected.repeat(4, 0).repeat(4, 1))

    assert draw("--workdir=w", "--interpolate", "--grid=2x5", "--out=a.npz").startswith("2 interpolations")
    with np.load("a.npz") as file:
        ways = file["images"].reshape(2, 5, 8, 8, 1)
    ends = gan.sample(4, gan.config.seed)
    for found, expected in ((ways[:, 0], ends[:2]), (ways[:, -1], ends[2:])):
        assert np.abs(found.astype(int) - expected).max() <= 1  # the sphere's ends are exact up to rounding
    draw("--workdir=w", "--interpolate", "--grid=2x5", "--out=b.png")
    with Image.open("b.png") as picture:
        np.testing.assert_array_equal(
            np.asarray(picture), pictures.mosaic(ways.reshape(-1, 8, 8, 1), 5)[..., 0]
        )

    assert "a walk of 2 samples" in draw(
        "--workdir=c", "--interpolate", "--grid=1x2", "--label=2", "--out=a.gif"
    )
    frames = gan_jax.load("c").walk(2, seed=gan.config.seed, label=2)
    with Image.open("a.gif") as moving:
        assert moving.n_frames == len(frames) == 80
        scale = moving.width // 22
        moving.seek(33)
        shown = np.asarray(moving.convert("L"))[::scale, ::scale].astype(int)
        np.testing.assert_allclose(shown, pictures.mosaic(frames[33], 2)[..., 0], atol=NEAR)
    draw("--workdir=c", "--interpolate", "--grid=3x2", "--out=c.npz")
    with np.load("c.npz") as file:
        assert file["labels"].tolist() == [0, 0, 1, 1, 2, 2]  # a way stays within a class


# gan_jax.film


def film_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as moving:
        frames, milliseconds = [], []
        for i in range(getattr(moving, "n_frames", 1)):
            moving.seek(i)
            frames.append(np.asarray(moving.convert("L")))
            milliseconds.append(moving.info["duration"])
        return frames, milliseconds


@pytest.mark.parametrize("name", ["film.gif", "film.webp"])
def test_a_film_shows_the_runs_grids_crisp_and_in_order(here: Path, in_process: Command, name: str) -> None:
    grids = sorted(Path("w/samples").iterdir())
    assert len(grids) == 8
    done = in_process(
        "film", "--workdir=w", "--scale=2", *([] if name == "film.gif" else [f"--out=w/{name}"])
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{Path('w', name)}: 8 frames of 164 × " in done.stdout
    frames, milliseconds = film_of(Path("w", name))
    for frame, path in zip(frames, grids, strict=True):
        with Image.open(path) as picture:
            near = NEAR if name.endswith(".gif") else 0
            np.testing.assert_allclose(frame[:164:2, :164:2].astype(int), np.asarray(picture), atol=near)
        np.testing.assert_array_equal(frame[:164], frame[:164:2, :164:2].repeat(2, 0).repeat(2, 1))
        assert frame[164:].max() > 200  # the caption
        assert near == 0 or len(np.unique(frame)) <= pictures.GREYS
    assert milliseconds == [film.SLOWEST] * 7 + [film.SLOWEST + film.HOLD]
    done_so_far = [int((frame[164] > film.DONE - 5).sum()) for frame in frames]
    assert done_so_far == [round(164 * (i + 1) / 8) for i in range(8)]


def test_grids_are_in_the_order_of_their_epochs() -> None:
    names = [
        f"sample_{epoch:04}_{batch:06}.png" for epoch, batch in [(10000, 2), (9999, 1), (10000, 1), (1, 3)]
    ]
    found = [path.stem for path in sorted(map(Path, names), key=film._place)]
    assert found == ["sample_0001_000003", "sample_9999_000001", "sample_10000_000001", "sample_10000_000002"]


def test_a_caption_says_the_step(here: Path) -> None:
    steps = film.steps_of(Path("w"))
    assert [film.caption(path, steps) for path in sorted(Path("w/samples").iterdir())][::7] == [
        "step 2 · epoch 1",
        "step 16 · epoch 4",
    ]
    assert film.caption(Path("sample_0004_000003.png"), {}) == "epoch 4"


def test_a_caption_says_what_the_film_is_of_where_it_fits(small: Small) -> None:
    config = small(loss="least_squares", dataset="fashion_mnist")
    assert film.title(config) == "least_squares on fashion_mnist"
    assert film.title(Config(preset="wgan_gp", dataset="mine/cats.npz")) == "wgan_gp on cats"
    words = "step 9,370 · epoch 10"
    for width, fits in ((726, True), (164, False)):
        picture = Image.new("L", (width, 40))
        with_title, without = (
            np.asarray(film._captioned(picture, words, of, 0.5)) for of in (film.title(config), "")
        )
        differing = np.flatnonzero((with_title != without).any(0))
        assert bool(len(differing)) == fits
        assert not fits or differing.min() > np.flatnonzero(without[50:].any(0)).max()  # clear of the step


def test_a_short_film_takes_grids_evenly_and_leaves_damaged_ones_out(here: Path) -> None:
    said: list[str] = []
    damaged, *_ = sorted(Path("w/samples").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    made = film.film("w", "short.gif", scale=1, seconds=0.2, captions=False, warn=said.append)
    frames, milliseconds = film_of(made.path)
    assert (made.frames, made.size) == (4, (82, 82))
    assert [frame.shape for frame in frames] == [(82, 82)] * 4
    assert milliseconds == [50, 50, 50, 2050]
    with Image.open(sorted(Path("w/samples").iterdir())[-1]) as last:
        np.testing.assert_allclose(frames[-1].astype(int), np.asarray(last), atol=NEAR)
    assert said == [f"damaged grids in {Path('w/samples')}, left out: 1"]
    assert film.chosen([Path(str(i)) for i in range(5)], 3) == [Path("0"), Path("2"), Path("4")]


def test_a_film_takes_no_other_pictures_than_the_runs_grids(here: Path) -> None:
    grids = sorted(Path("w/samples").iterdir())
    for name in ("sample_best.png", f"{grids[0].stem} (copy).png", "sample_0001_000001_old.png"):
        shutil.copy(grids[0], Path("w/samples", name))
    assert film.grids_of(Path("w"), pytest.fail) == grids


def test_a_film_of_more_pixels_than_pillow_reads_is_counted_all_the_same(
    here: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A grid has 82 × 82, and the film twice that on a side.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    done = in_process("film", "--workdir=w", "--scale=2", "--out=a.webp")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a.webp: 8 frames of 164 × " in done.stdout


def test_a_film_that_its_format_cannot_hold_is_refused_before_any_work(
    here: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.grid(np.zeros((1, 296, 296, 1), np.uint8)).save("w/samples/sample_0009_000001.png")
    monkeypatch.setattr(pictures, "enlarged", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(gan_jax.Gan, "walk", lambda *_, **options: pytest.fail("it began"))
    for command, flags, words in (
        ("film", [], "19,200 × 20,741: lower --scale."),
        ("sample", ["--interpolate", "--grid=1x30"], "19,328 × 768: lower --scale or --grid."),
    ):
        done = in_process(command, "--workdir=w", "--out=a.webp", "--scale=64", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert line == f"error: a .webp has at most 16,383 pixels on a side, and these frames have {words}"
    pictures.check_film(".gif", (65_535, 2_730), "--scale")
    with pytest.raises(UserError, match="65,535 pixels on a side"):  # its two bytes say no more
        pictures.check_film(".gif", (1, 65_536), "--scale")
    assert Image.MAX_IMAGE_PIXELS is not None
    with pytest.raises(UserError, match=f"at most {2 * Image.MAX_IMAGE_PIXELS:,} pixels, and"):
        pictures.check_film(".gif", (65_535, 2_731), "--scale")


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("sample", ["--workdir=w", "--out=a.gif"], "add --interpolate, or give a .png"),
        (
            "sample",
            ["--workdir=w", "--out=a.png", "--grid=8"],
            "--grid=8 is not allowed: it must be ROWSxCOLUMNS",
        ),
        ("sample", ["--workdir=w", "--out=a.png", "--grid=0x2"], "each from 1 to 1000"),
        (
            "sample",
            ["--workdir=w", "--out=a.png", "--grid=2x2", "--num=4"],
            "--num is not allowed beside --grid",
        ),
        ("sample", ["--workdir=w", "--out=a.npz", "--scale=2"], "--scale is of pictures"),
        ("sample", ["--workdir=w", "--out=a.png", "--truncation=0"], "it must be greater than 0"),
        ("film", ["--workdir=w", "--out=a.mp4"], "it must end in .gif (a film) or .webp (a film)"),
        ("film", ["--workdir=w", "--out=no/a.gif"], "there is no folder"),
        ("film", ["--workdir=nowhere"], "--workdir=nowhere holds no run"),
        ("film", ["--workdir=empty"], "empty holds no grids yet"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    here: Path, in_process: Command, command: str, flags: list[str], words: str
) -> None:
    Path("empty").mkdir()
    shutil.copy("w/config.json", "empty")
    done = in_process(command, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(Path().glob("*.gif"))


def test_a_populations_and_a_strangers_folder_have_no_film(here: Path, small: Small) -> None:
    values = json.loads(Path("w/config.json").read_text())
    beside = {name: values.pop(name) for name in ("data", "plugins")}
    Path("p").mkdir()
    Path("p/config.json").write_text(json.dumps({"members": [values, values], **beside}))
    with pytest.raises(UserError, match="p holds a population, which draws no grids"):
        film.film("p")
    # A picture with whole checksums that is none.
    path = Path("w/samples/sample_0009_000001.png")
    path.write_bytes(pictures._SIGNATURE + bytes.fromhex("0000000049454e44ae426082"))
    with pytest.raises(UserError, match=r"sample_0009_000001\.png cannot be read"):
        film.film("w")


def test_points_have_a_film_and_no_grid_of_images(small: Small, in_process: Command) -> None:
    Path("t").mkdir()
    config = small(model="toy", dataset="ring8")
    write_config(Path("t"), config, Facts((2,), 64, None, "0"))
    for flag in ("--grid=2x2", "--scale=2", "--interpolate"):
        done = in_process("sample", "--workdir=t", "--out=a.png", flag)
        assert f"{flag.split('=')[0]} is of images, and t makes points" in done.stderr
    Path("t/samples").mkdir()
    points = np.random.default_rng(0).uniform(-1, 1, (2, 50, 2))
    for i in (1, 2):
        plane.picture(points[i - 1]).save(f"t/samples/sample_0001_00000{i}.png")
    made = film.film("t", scale=1)
    with Image.open(made.path) as moving:
        assert (moving.n_frames, moving.size) == (made.frames, made.size)
        assert (made.frames, made.size[0]) == (2, 480)
        moving.seek(1)
        difference = np.asarray(moving.convert("RGB"))[:480].astype(int) - plane.picture(points[1])
        assert np.abs(difference).mean() < 2  # of 256 colours

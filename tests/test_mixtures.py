"""Points in the plane: the mixtures, the nets `toy`, scores against numbers by hand, pictures, and every command."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gan_jax
from experiments.mixtures import drawing as mixture_drawing
from gan_jax import data, drawing, plane
from gan_jax.data import MIXTURES
from gan_jax.errors import UserError
from gan_jax.evaluation.mixtures import MixtureEvaluator
from gan_jax.metrics import mode_scores
from gan_jax.objectives import OBJECTIVES

Command = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = gan_jax.Config(
    preset="gan", dataset="ring8", model="toy", z_dim=2, batch_size=64, steps=4, log_every=2, seed=3
)
RUN = ["--preset=gan", "--dataset=ring8", "--model=toy", "--z_dim=2", "--batch_size=64", "--log_every=2"]
RING = MIXTURES["ring8"]


def config(**fields: object) -> gan_jax.Config:
    return dataclasses.replace(CONFIG, **fields)


@pytest.fixture(scope="module")
def gan() -> gan_jax.Gan:
    *_, found = gan_jax.fit(CONFIG)
    return found


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    for word in words:
        assert word in line


@pytest.mark.parametrize(("name", "modes", "radius"), [("ring8", 8, 100.0), ("grid25", 25, 80 * 2**0.5)])
def test_mixtures_are_the_literatures_up_to_scale(name: str, modes: int, radius: float) -> None:
    # In standard deviations: a radius of 2 at 0.02 (Metz 2017) or of 1 at 0.01, corners at (4, 4) at 0.05 (Lin 2018).
    mixture = MIXTURES[name]
    assert mixture.means.shape == (modes, 2)
    assert np.linalg.norm(mixture.means, axis=1).max() / mixture.sd == pytest.approx(radius)
    np.testing.assert_allclose(mixture.means.mean(0), 0, atol=1e-12)
    gaps = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=-1) + 9 * np.eye(modes)
    nearest = {"ring8": 2 * 100 * np.sin(np.pi / 8), "grid25": 40.0}[name]
    np.testing.assert_allclose(gaps.min(1) / mixture.sd, nearest, rtol=1e-12)


@pytest.mark.parametrize("name", MIXTURES)
def test_points_have_the_moments_of_their_modes(name: str) -> None:
    means, sd = MIXTURES[name]
    (points, labels), (test, test_labels) = (data.load(name, split) for split in ("train", "test"))
    assert (points.shape, points.dtype) == ((50_000, 2), np.float32)
    assert (labels.shape, labels.dtype) == ((50_000,), np.int32)
    assert len(test) == len(test_labels) == 10_000
    assert np.abs(points).max() < 1
    counts = np.bincount(labels, minlength=len(means))
    np.testing.assert_allclose(counts, 50_000 / len(means), rtol=0.12)
    away = (points - means[labels]) / sd
    np.testing.assert_allclose(away.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(away.T), np.eye(2), atol=0.03)
    assert not set(map(tuple, points.tolist())) & set(map(tuple, test.tolist()))
    np.testing.assert_array_equal(points, data.load(name, "train")[0])


def test_scores_by_hand() -> None:
    means = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    inside, outside = 2.9 * 0.1, 3.1 * 0.1
    points = np.array([[inside, 0], [0, -inside], [1 + outside, 0], [1, 1]], np.float32)
    # Two at the first, one of low quality at the second, none at the third: ½, ¼, 0, ¼.
    found, share, kl = mode_scores(points, means, 0.1)
    assert (found, share) == (2, 0.75)
    assert kl == pytest.approx(0.5 * np.log(2), rel=1e-12)  # ½ ln(½·4) + 2·¼ ln(¼·4)
    assert mode_scores(points[-1:], means, 0.1) == (1, 1.0, pytest.approx(np.log(4)))
    assert mode_scores(points + 50, means, 0.1)[:2] == (0, 0.0)
    with pytest.raises(UserError, match=r"points must be \[n, 2\], n at least 1"):
        mode_scores(np.zeros((0, 2)), means, 0.1)


def test_real_points_score_as_two_gaussian_axes_say() -> None:
    evaluator = MixtureEvaluator(data.load("grid25", "train")[0], name="grid25")
    floors = evaluator.floors()
    assert evaluator.num == 2500
    assert floors["modes_found"] == 25
    # Within r standard deviations of two axes: 1 − exp(−r²/2).
    assert floors["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.006)
    assert 0 < floors["mode_kl"] < 0.02  # (25 − 1) / (2·2500) is expected
    noise = np.random.default_rng(1).uniform(-1, 1, (2500, 2))
    for score in evaluator.scores(noise):
        assert score.name == f"{score.metric}/grid25-modes/2500"
        if score.metric == "high_quality":  # circles' share of the square
            area = 25 * np.pi * (3 * MIXTURES["grid25"].sd) ** 2 / 4
            assert score.value == pytest.approx(area, abs=0.02)
    with pytest.raises(UserError, match="the modes of mine are not known"):
        MixtureEvaluator(noise, name="mine")
    with pytest.raises(UserError, match="--num=2501 is not allowed"):
        MixtureEvaluator(noise, name="grid25", num=2501)


def test_a_gan_of_points_samples_generates_and_judges_floats(gan: gan_jax.Gan) -> None:
    points = gan.sample(70, seed=1)
    assert (points.shape, points.dtype) == ((70, 2), np.float32)
    np.testing.assert_array_equal(points[:5], gan.sample(5, seed=1))
    np.testing.assert_allclose(points, gan.generate(gan.latents(70, 1)), rtol=1e-5, atol=1e-6)
    assert gan.discriminate(np.float32([[0, 0], [7, -9]])).shape == (2,)  # anywhere in the plane
    assert repr(gan) == "<Gan: gan, points, step 4 of 4>"
    for wrong, words in (
        (np.zeros((2, 2), np.uint8), "points must be floats, not uint8"),
        (np.zeros((2, 3), np.float32), r"images must be \[n, 2\]"),
    ):
        with pytest.raises(UserError, match=words):
            gan.discriminate(wrong)


def test_surface_is_the_logs_score_of_each_place(gan: gan_jax.Gan) -> None:
    scores = drawing.sketch(gan).scores
    axis = np.linspace(-plane.EXTENT, plane.EXTENT, plane.RESOLUTION)
    for row, column in ((0, 0), (0, 63), (10, 50)):  # the highest row first
        at = np.float32([[axis[column], -axis[row]]])
        assert float(scores[row, column]) == pytest.approx(
            float(jax.nn.sigmoid(gan.discriminate(at))[0]), rel=1e-4
        )


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
def test_surface_of_a_difference_is_that_from_generated_points(gan: gan_jax.Gan, loss: str) -> None:
    # A constant added to all logits changes nothing.
    parts = dataclasses.replace(gan.parts, objective=OBJECTIVES[loss])
    fake = jnp.asarray(gan.sample(64))
    params = gan.state.d_params
    raised = {**params, "Dense_2": {**params["Dense_2"], "bias": params["Dense_2"]["bias"] + 5}}
    one, two = (plane.surface(parts, {"params": p}, fake, None) for p in (params, raised))
    np.testing.assert_allclose(one, two, atol=1e-5)
    middle = float(gan.discriminate(np.zeros((1, 2), np.float32))[0] - gan.discriminate(fake).mean())
    assert float(one[31:33, 31:33].mean()) == pytest.approx(1 / (1 + np.exp(-middle)), abs=0.01)


def test_pictures_show_points_modes_and_surface_where_they_are() -> None:
    scores = np.tile(np.linspace(0, 1, plane.RESOLUTION), (plane.RESOLUTION, 1))  # real at the right
    drawn = np.asarray(plane.picture(np.array([[0.5, 0.5], [9, 9]]), scores=scores, size=200)).astype(int)
    assert drawn.shape == (200, 200, 3)
    x, y = round((0.5 / 2.5 + 0.5) * 200), round((0.5 - 0.5 / 2.5) * 200)
    assert drawn[y, x].sum() < drawn[y + 20, x].sum() / 1.5  # a dark dot
    assert drawn[150, 5, 2] > drawn[150, 5, 0]  # blue
    assert drawn[150, 195, 0] > drawn[150, 195, 2]  # orange
    assert drawn[150, 100].min() > 230  # cannot tell
    empty = np.asarray(plane.picture(np.zeros((0, 2)), mixture=RING, size=200)).astype(int)
    ringed = np.argwhere(empty.min(-1) < 200)
    away = [
        np.abs(ringed - [(0.5 - y / 2.5) * 200, (0.5 + x / 2.5) * 200]).max(1).min() for x, y in RING.means
    ]
    assert max(away) < 5


def test_the_experiments_pictures_say_what_they_show_and_touch_no_edge(tmp_path: Path) -> None:
    dark = Image.new("RGB", (plane.SIZE, plane.SIZE), plane.BLACK)
    planes = {name: {1: dark, 20: dark} for name in ("one", "two")}
    captions = {name: f"{name}: 8.0 modes found" for name in planes}
    mixture_drawing.animation(planes, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 2
        frames = [np.asarray(moving.convert("L"))]
    frames.append(np.asarray(mixture_drawing.sheet(planes, captions, [1, 20]).convert("L")))
    for frame in frames:
        edge = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert edge.min() >= 250
    for width in (360, 1000):  # in several lines, and in one
        legend = np.asarray(mixture_drawing.legend_of(width))
        assert (legend[:, -mixture_drawing.MARGIN :] == 255).all()
        for colour in (*plane.COLOURS, plane.MODE):
            assert (legend == np.array(colour)).all(-1).any()


def test_faint_scores_are_not_made_strong() -> None:
    scores = np.full((64, 64), 0.5)
    scores[0, 0] = 0.501
    drawn = np.asarray(plane.picture(np.zeros((0, 2)), scores=scores, size=64))
    assert drawn.min() > 240


def test_own_points_train_and_others_are_refused() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (100, 2)).astype(np.float32)
    *_, found = gan_jax.fit(config(dataset="mnist", steps=2), points)
    assert found.grid().size == (plane.SIZE, plane.SIZE)
    for wrong, words in (
        (points.astype(np.float64), r"points must be float32 \[N, 2\]"),
        (points[:, :1], r"points must be float32 \[N, 2\]"),
        (points[:0], "N at least 1"),
        (3 * points, "divide them by a constant"),
        (np.where(points > 0.9, np.nan, points), "nan"),
    ):
        with pytest.raises(UserError, match=words):
            gan_jax.fit(CONFIG, wrong)


@pytest.mark.parametrize("model", ["mlp", "conv", "conv_small"])
def test_nets_of_images_refuse_points(model: str) -> None:
    with pytest.raises(UserError, match=f"--model={model}: .* give --model=toy"):
        gan_jax.fit(config(model=model))


def test_the_toys_refuse_images() -> None:
    images = np.zeros((64, 8, 8, 1), np.uint8)
    with pytest.raises(UserError, match=r"--model=toy: .*images \[8, 8, 1\]: give --model=mlp"):
        gan_jax.fit(CONFIG, images)


def test_a_conditional_one_draws_a_mode_on_demand_and_in_colours() -> None:
    *_, found = gan_jax.fit(config(conditional=True, spectral_norm=True, steps=2))
    np.testing.assert_array_equal(found.sample(8, label=2), found.sample(64, label=2)[:8])
    assert found.sample(8, label=2).shape == (8, 2)
    colours = np.asarray(found.grid()).reshape(-1, 3).astype(int)
    assert (np.ptp(colours, axis=1) > 60).any()
    assert drawing.sketch(found).scores.shape == (plane.RESOLUTION, plane.RESOLUTION)


@pytest.mark.long
def test_members_of_a_population_are_the_single_runs() -> None:
    *_, population = gan_jax.fit_population([config(seed=seed, penalty=("gp",)) for seed in (0, 1)])
    assert repr(population) == "<Population: 2 of gan, points, step 4 of 4>"
    *_, single = gan_jax.fit(config(seed=1, penalty=("gp",)))
    np.testing.assert_allclose(population[1].sample(20), single.sample(20), rtol=1e-3, atol=1e-5)


def test_a_system_that_covers_the_ring_learns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])  # eight would take turns at nets this small
    # Seconds of training: all eight modes, where one sample in 400 would be of high quality by chance.
    fields = {"preset": "lsgan", "dataset": "ring8", "model": "toy", "z_dim": 2, "batch_size": 128}
    plain = {"spectral_norm": False, "beta1": 0.5, "g_learning_rate": 1e-3, "d_learning_rate": 1e-3}
    *_, found = gan_jax.fit(gan_jax.Config(**fields, **plain, steps=1500, log_every=500))
    scores = mode_scores(found.sample(1000), *RING)
    assert scores.found == 8
    assert scores.high_quality > 0.2
    assert scores.kl < 0.2


def test_the_commands_train_resume_sample_and_evaluate(in_process: Command, tmp_path: Path) -> None:
    for steps in (2, 4):
        done = in_process("train", *RUN, f"--steps={steps}", "--workdir=w", "--tensorboard")
        assert done.returncode == 0, done.stderr
    names = [path.name for path in sorted(Path("w/samples").iterdir())]
    assert names == ["sample_0001_000002.png", "sample_0001_000004.png"]
    for name in ("samples.png", "real.png", f"samples/{names[-1]}"):
        with Image.open(Path("w", name)) as picture:
            assert picture.size == (plane.SIZE, plane.SIZE)
    found = gan_jax.load("w")
    assert Path("w/samples.png").read_bytes() == Path("w/samples", names[-1]).read_bytes()

    assert in_process("sample", "--workdir=w", "--out=a.png").returncode == 0
    assert Path("a.png").read_bytes() == Path("w/samples.png").read_bytes()
    assert in_process("sample", "--workdir=w", "--num=300", "--seed=5", "--out=a.npz").returncode == 0
    with np.load("a.npz") as file:
        np.testing.assert_array_equal(file["images"], found.sample(300, 5))

    done = in_process("evaluate", "--workdir=w", "--num=200")
    assert done.returncode == 0, done.stderr
    for words in ("modes found ↑", "high quality ↑", "mode KL ↓", "real train", "noise", "ring8-modes"):
        assert words in done.stdout
    report = json.loads(Path("w/evaluation.json").read_text())
    expected = mode_scores(found.sample(200), *RING)
    for metric, value in zip(("modes_found", "high_quality", "mode_kl"), expected, strict=True):
        assert report["scores"][f"{metric}/ring8-modes/200"]["value"] == pytest.approx(value)
    assert sum(report["mode_shares"]) == pytest.approx(1)
    assert Path("w/evaluation.png").stat().st_size > 5000

    done = in_process("evaluate", "--npz=a.npz", "--dataset=ring8")  # as many as there are
    assert done.returncode == 0, done.stderr
    assert "modes_found/ring8-modes/300" in json.loads(Path("a.evaluation.json").read_text())["scores"]
    Path("elsewhere").mkdir()
    np.savez("b.npz", images=np.full((300, 2), np.nan))
    refused(in_process("evaluate", "--npz=b.npz", "--dataset=ring8"), "must be finite floats [N,2]")
    refused(in_process("evaluate", "--workdir=w", "--features=random"), "leave --features and")
    refused(in_process("evaluate", "--workdir=w", "--dataset=mnist"), "makes images [2]")
    refused(in_process("human_eval.__main__", "--workdir=w"), "makes points, and people judge images")


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("train", ["--dataset=ring8"], ["--model=conv_small: these nets are for images", "give --model=toy"]),
        ("train", ["--model=toy"], ["--model=toy: these nets are for points", "--dataset=ring8"]),
        ("train", [*RUN, "--eval_every=1"], ["--eval_every measures images, and ring8 holds points"]),
        ("train", [*RUN, "--data_dir=d"], ["leave it out for 'ring8'"]),
        ("train", [*RUN, "--image_size=8"], ["leave it out for 'ring8'"]),
        ("train_classifier", ["--dataset=grid25"], ["grid25 holds points"]),
    ],
)
def test_what_is_not_for_points_is_one_line(
    in_process: Command, tmp_path: Path, command: str, flags: list[str], words: list[str]
) -> None:
    refused(in_process(command, *flags), *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_a_comparison_counts_modes_and_keeps_checkpoints(in_process: Command, tmp_path: Path) -> None:
    flags = ["--dataset=ring8", "--model=toy", "--steps=6", "--seeds=3", "--num=100", "--workdir=c"]
    flags += ["--checkpoint_every=1", "--keep_every=2"]
    done = in_process("compare", "--systems", "gan", "lsgan", *flags)
    assert done.returncode == 0, done.stderr
    results = json.loads(Path("c/results.json").read_text())
    assert results["protocol"] == "METRIC/ring8-modes/100"
    assert [pair["metric"] for pair in results["differences"]] == ["modes_found", "mode_kl", "high_quality"]
    [first, *_] = results["systems"]["gan"]["members"]
    assert first["scores"].keys() == {"modes_found", "high_quality", "mode_kl"}
    report = Path("c/report.md").read_text()
    assert "Differences in modes found over" in report
    assert "\n| real points | | 8 |" in report
    assert {path.name for path in Path("c/gan/checkpoints").glob("[0-9]*")} == {"2", "4", "5", "6"}
    with Image.open("c/gan/samples.png") as picture:
        assert picture.width > 2 * plane.SIZE  # the planes of its members


def test_more_modes_win_a_comparison() -> None:
    from gan_jax.comparison.results import _verdict
    from gan_jax.comparison.spread import difference

    found = difference([8, 8, 7], [2, 1, 2])
    assert _verdict("many", "few", found, less=False, sure=True).endswith("many is better")
    assert _verdict("far", "near", found, less=True, sure=True).endswith("near is better")

"""The evaluation from end to end: workdirs and files, the order of scores, what is written, what is refused."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from begin import save_run
from matplotlib.figure import Figure
from PIL import Image

from gan_jax import cli, data, evaluate, features, pictures, plugins, train_classifier, workdir
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.evaluation import (
    cache,
    judgement,
    neighbours,
    picture,
    protocol,
    scores,
    statistics,
    subjects,
    table,
)
from gan_jax.evaluation.named import evaluator_for, evaluator_of
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.reals import Reals, Source
from gan_jax.features import classifier
from gan_jax.features.random_net import random_network
from gan_jax.gan import Gan
from gan_jax.parts import facts_of
from gan_jax.storage import sha256_of_data
from tests.conftest import alone, few_of_mnist

NUM = 500
FRECHET = "frechet_distance/mnist-classifier/500-test"
METRICS = [
    "frechet_distance",
    "kernel_distance",
    "kernel_distance_subsets",
    "inception_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "class_balance",
    "classes_found",
]

Command = Callable[..., subprocess.CompletedProcess[str]]
Refuse = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def mnist(cache_home: Path) -> Iterator[np.ndarray]:
    """Its first 10,000 train images, and several blocks of them still."""
    with pytest.MonkeyPatch.context() as patch, few_of_mnist() as images:
        patch.setattr(statistics, "BLOCK", 4_000)
        yield images


@pytest.fixture(scope="module")
def evaluator(mnist: np.ndarray) -> Evaluator:
    return evaluator_for("mnist", num=NUM)


@pytest.fixture(scope="module")
def tiny() -> Reals:
    """Small coloured images of three classes that a classifier learns in seconds: a bright third each."""
    rng = np.random.default_rng(0)

    def split(num: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = rng.integers(0, 90, (num, 12, 12, 3), np.uint8), rng.integers(0, 3, num, np.int32)
        for image, label in zip(images, labels, strict=True):
            image[4 * label : 4 * label + 4] += 120
        return images, labels

    return Reals("tiny", *split(300), *split(150))


def leave_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "save", lambda page, path: path.touch())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves evaluation.png empty, for tests that do not look at it: to draw it takes more than to judge."""
    leave_undrawn(monkeypatch)


def make_run(folder: Path, steps: tuple[int, ...] = (0, 10)) -> Path:
    """A run with checkpoints of an untrained generator."""
    return save_run(folder, Config(model="mlp"), steps)


def _classifier_name(reals: Reals) -> str:
    return f"{reals.name}-classifier-{sha256_of_data(reals.train_images, reals.train_labels)[:8]}"


def blurred(images: np.ndarray) -> np.ndarray:
    """Each pixel the mean of 5 × 5."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)))
    shifts = [padded[:, i : i + 28, j : j + 28] for i in range(5) for j in range(5)]
    return np.mean(shifts, axis=0).astype(np.uint8)


def noise(num: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 28, 28, 1), np.uint8)


def by_metric(found: list[scores.Score]) -> dict[str, scores.Score]:
    return {score.metric: score for score in found}


def read(path: Path) -> dict:
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# Scores


def test_scores_come_in_the_order_anyone_would_expect(evaluator: Evaluator, mnist: np.ndarray) -> None:
    """Real images, blurred ones, noise; each score between its two bounds or at them."""
    images = protocol.choose(
        mnist, NUM, seed=1
    )  # the last ones are of other writers, and score 3 times worse
    real, soft, bad = (by_metric(evaluator.scores(x)) for x in (images, blurred(images), noise(NUM)))
    assert list(real) == METRICS
    for metric in ("frechet_distance", "kernel_distance", "kernel_distance_subsets"):
        assert real[metric].value < 0.2 * soft[metric].value < 0.1 * bad[metric].value, metric
    for metric in ("precision", "density", "coverage", "recall", "inception_score"):
        assert real[metric].value > soft[metric].value >= bad[metric].value, metric
    assert real["class_balance"].value < 0.05 < bad["class_balance"].value
    assert real["classes_found"].value == 10
    for score in real.values():  # other train images than the floor's, so near it
        assert score.floor == pytest.approx(score.value, rel=0.4, abs=0.05), score.name
    for score in bad.values():
        assert score.noise == pytest.approx(score.value, rel=0.1, abs=0.05), score.name


def test_a_score_says_all_that_it_depends_on(evaluator: Evaluator, mnist: np.ndarray) -> None:
    found = by_metric(evaluator.scores(mnist[:NUM]))
    score = found["frechet_distance"]
    assert score.name == "frechet_distance/mnist-classifier/500-test"
    assert (score.n_real, score.n_fake, score.split, score.seed) == (NUM, NUM, "test", 0)
    assert score.network_sha256 == classifier.SHIPPED["mnist"].file
    assert score.spread is None
    assert found["inception_score"].spread_is == "standard deviation over 10 splits"
    assert found["kernel_distance_subsets"].spread_is == "standard error over 10 disjoint subsets"
    assert found["kernel_distance_subsets"].spread > 0
    assert {s.better for s in found.values()} == {"lower", "higher"}


def test_names_count_in_thousands(evaluator: Evaluator) -> None:
    names = [scores.full_name("recall", evaluator.network, n) for n in (10_000, 1000, 2500)]
    assert [name.removeprefix("recall/mnist-classifier/") for name in names] == [
        "10k-test",
        "1k-test",
        "2500-test",
    ]


def test_the_quick_frechet_distance_is_the_tables(evaluator: Evaluator, mnist: np.ndarray) -> None:
    assert evaluator.frechet(mnist[:700]) == evaluator.scores(mnist[:700])[0].value


def test_mode_collapse_is_seen(evaluator: Evaluator) -> None:
    images, labels = data.load("mnist", "train")
    found = by_metric(evaluator.scores(images[labels == 4][:NUM]))
    assert found["classes_found"].value <= 3
    assert found["class_balance"].value == pytest.approx(np.log(10), abs=0.2)  # log of 1/share
    assert found["coverage"].value < 0.2 < 0.5 < found["precision"].value


def test_sorted_files_are_shuffled(mnist: np.ndarray) -> None:
    """Sorted by class, each of the Inception score's splits would hold one class and score 1."""
    images, labels = data.load("mnist", "train")
    images = images[:NUM][np.argsort(labels[:NUM])]
    found = by_metric(evaluator_for("mnist", num=NUM, families=["Inception score"]).scores(images))
    assert found["inception_score"].value > 7


@pytest.mark.parametrize("batch_size", [7, 128])
def test_batch_size_changes_no_score(
    evaluator: Evaluator, mnist: np.ndarray, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "cached", lambda name, key, compute: compute())
    apply = partial(evaluator.network.apply, batch_size=batch_size)
    other = evaluator_for("mnist", num=NUM, network=evaluator.network._replace(apply=apply))
    for one, two in zip(evaluator.scores(mnist[:NUM]), other.scores(mnist[:NUM]), strict=True):
        for number in ("value", "floor", "noise"):
            assert getattr(one, number) == pytest.approx(getattr(two, number), rel=1e-6, abs=1e-6), one.name


def test_an_infinite_score_is_written_as_a_string(evaluator: Evaluator, mnist: np.ndarray) -> None:
    score = evaluator.scores(mnist[:NUM])[0]._replace(value=float("inf"))
    assert score.to_json()["value"] == "inf"


# The cache


def test_real_statistics_are_computed_once(
    evaluator: Evaluator, mnist: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluator.scores(mnist[:NUM])
    again = evaluator_for("mnist", num=NUM)
    seen = []
    monkeypatch.setattr(Evaluator, "see", lambda self, images, title="samples": seen.append(title))
    assert again.scores(mnist[:NUM], evaluator_see(evaluator, mnist)) == before
    assert seen == []


def evaluator_see(evaluator: Evaluator, mnist: np.ndarray) -> scores.Seen:
    chosen = protocol.choose(mnist[:NUM], NUM, 0)
    return scores.Seen(*evaluator.network.apply(chosen))


def test_the_cache_is_tied_to_what_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def get(key: str) -> float:
        compute = lambda: calls.append(key) or {"x": np.array([len(calls)])}
        return int(cache.cached("name", {"of": key}, compute)["x"][0])

    assert [get("a"), get("a"), get("b"), get("a")] == [1, 1, 2, 1]
    assert capsys.readouterr().err == ""
    for path in (tmp_path / "gan_jax" / "statistics").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    assert get("a") == 3
    assert "is damaged" in capsys.readouterr().err
    assert get("a") == 3


def test_versions_and_not_the_source_decide_what_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Reals
) -> None:
    """One metric's change leaves the others' bounds alone; a network's change leaves none; a metric without a version
    is never taken from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured: list[str] = []

    def family(name: str, version: int | None) -> scores.Family:
        measure = lambda real, fake, seed: (
            measured.append(name) or {name: scores.Measured(fake.features.mean(), scores.LOWER)}
        )
        return scores.Family(measure, version=version)

    def computed(**families: int | None) -> list[str]:
        """Which families' bounds, for train images and noise, a new evaluator computed."""
        measured.clear()
        with pytest.MonkeyPatch.context() as patch:
            for name, version in families.items():
                patch.setitem(scores.FAMILIES, name, family(name, version))
            made = evaluator_of(tiny, families=list(families))
            for name in families:
                made.statistics.bounds(name)
        return sorted(measured)

    assert computed(a=1, b=1, c=None) == ["a", "a", "b", "b", "c", "c"]
    assert computed(a=1, b=1, c=None) == ["c", "c"]
    assert computed(a=2, b=1) == ["a", "a"]
    monkeypatch.setattr(statistics, "FEATURES_VERSION", 10**6)
    assert computed(a=2, b=1) == ["a", "a", "b", "b"]
    sources = Path(protocol.__file__).parent.rglob("*.py")
    monkeypatch.setattr(Path, "read_bytes", _refusing(set(sources), Path.read_bytes))
    assert computed(a=2, b=1) == []


def _refusing(paths: set[Path], read: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    """`read`, for other than these paths: the package's source is no part of a key."""

    def checked(path: Path) -> bytes:
        assert path not in paths
        return read(path)

    return checked


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.cached("name", {}, lambda: {"x": np.ones(1)})["x"] == 1
    assert "cannot be written" in capsys.readouterr().err


# Neighbours


def test_nearest_against_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    rng = np.random.default_rng(0)
    queries, points = rng.normal(size=(9, 4)), rng.normal(size=(50, 4))
    found = neighbours.nearest_points(queries, points)
    distances = np.linalg.norm(queries[:, None] - points[None], axis=2)
    np.testing.assert_array_equal(found.indices, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distances, distances.min(axis=1))


def test_a_recited_training_image_is_found(evaluator: Evaluator, mnist: np.ndarray) -> None:
    copies = mnist[[9_999, 3]]
    for found in (evaluator.nearest_pixels(copies), evaluator.nearest(evaluator.see(copies))):
        assert found.indices.tolist() == [9_999, 3]
        assert found.distances == pytest.approx([0, 0], abs=1e-4)


# The command


def test_the_command_judges_runs_and_files_side_by_side(in_process: Command, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    images = np.concatenate([noise(40), data.load("mnist", "train")[0][:NUM]])
    np.savez_compressed(tmp_path / "theirs.npz", images=images, labels=np.arange(3))
    done = in_process("evaluate", "--workdir=run", "--npz=theirs.npz", f"--num={NUM}", "--seed=3")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "mnist"
    titles, _, *rows = [re.split(r"  +", line.strip()) for line in lines[1:12]]
    assert titles == ["run", "theirs.npz", "real train", "noise"]
    names = ["Fréchet ↓", "kernel ↓", "Inception ↑", "precision ↑", "recall ↑", "density ↑", "coverage ↑"]
    assert [row[0] for row in rows] == [*names, "class KL ↓", "classes ↑"]
    assert " ± " in rows[2][2]
    assert lines[12].startswith(
        "500 samples, 500 test images, seed 3; features: mnist-classifier, SHA-256 4e40b0"
    )
    run, file = read(tmp_path / "run/evaluation.json"), read(tmp_path / "theirs.evaluation.json")
    assert run["scores"].keys() == file["scores"].keys()
    assert [name.split("/")[0] for name in run["scores"]] == METRICS
    assert (run["source"]["workdir"], run["source"]["step"]) == ("run", 10)
    assert run["left_out"] == file["left_out"] == {}
    expected = [run["scores"][FRECHET]["value"], file["scores"][FRECHET]["value"]]
    expected += [run["scores"][FRECHET][bound] for bound in ("floor", "noise")]
    assert [float(cell) for cell in rows[0][1:]] == pytest.approx(expected, rel=1e-3)
    assert file["source"]["npz"] == "theirs.npz"
    for report in (run, file):
        for score in report["scores"].values():
            assert score["n_real"] == score["n_fake"] == NUM
            assert (score["split"], score["seed"]) == ("test", 3)
            assert score["network_sha256"] == classifier.SHIPPED["mnist"].file
            assert all(isinstance(score[x], float) for x in ("value", "floor", "noise"))
        assert sum(report["class_shares"]["samples"]) == pytest.approx(1)
        assert report["nearest_train_image"]["pixel_distance"]["test"] == pytest.approx(4.82, abs=0.01)
    assert file["scores"][FRECHET]["value"] < run["scores"][FRECHET]["value"]
    heights = []
    for path in (tmp_path / "run/evaluation.png", tmp_path / "theirs.evaluation.png"):
        with Image.open(path) as drawn:
            assert drawn.size[0] == 1200
            heights.append(drawn.size[1])
    assert heights[0] > heights[1] + 400  # the interpolations
    assert not [path for path in tmp_path.rglob(".*") if path.is_file() and "checkpoints" not in path.parts]


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_images_were_moved_is_judged_by_those_given(
    in_process: Command, tmp_path: Path, mnist: np.ndarray
) -> None:
    config = Config(model="mlp", dataset="gone/mine.npz", data_dir=None)
    save_run(tmp_path / "run", config, (3,))
    done = in_process("evaluate", "--workdir=run")
    assert done.returncode == 2
    assert "run was trained on gone/mine.npz" in done.stderr
    assert "--dataset=PATH" in done.stderr
    images, labels = data.load("mnist", "train")
    np.savez(tmp_path / "moved.npz", images=images[:400], labels=labels[:400])
    done = in_process("evaluate", "--workdir=run", "--dataset=moved.npz", "--features=random")
    assert done.returncode == 0, done.stderr
    assert "run was trained on other images than moved.npz holds" in done.stderr  # on all of MNIST
    assert read(tmp_path / "run/evaluation.json")["dataset"] == "moved"


def test_a_conditional_runs_samples_are_held_against_the_classes_asked_for(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = (x[:NUM] for x in data.load("mnist", "train"))
    asked = np.where(labels == 7, 3, labels)  # every seven was to be a three
    np.savez(tmp_path / "real.npz", images=images)
    monkeypatch.setattr(subjects.JudgedFile, "labels", lambda self, num: asked)
    file = subjects.JudgedFile(tmp_path / "real.npz", data=Source("mnist"), data_dir=None)
    file.read((28, 28, 1), NUM)
    found = judgement.judge(file, [evaluator]).report["label_accuracy"]
    assert found["samples"] == pytest.approx((labels != 7).mean(), abs=0.01)
    assert found["test"] == pytest.approx(0.996, abs=0.006)  # the classifier's own, on these 500
    of_three = (labels == 3).sum() / (asked == 3).sum()
    right = [1.0] * 3 + [of_three] + [1.0] * 3 + [1.0] * 2
    assert list(found["by_class"]) == list("012345689")  # none was to be a seven
    np.testing.assert_allclose(list(found["by_class"].values()), right, atol=0.05)


SCORED = f"""
import json
import numpy as np
from gan_jax.evaluation.named import evaluator_for

found = evaluator_for("mnist", num={NUM}, seed=5).scores(np.load("s.npz")["images"])
print(json.dumps({{score.name: score.value for score in found}}))
"""


@pytest.mark.usefixtures("undrawn")
def test_samples_score_the_same_as_a_file_and_on_any_number_of_devices(
    in_process: Command, tmp_path: Path
) -> None:
    make_run(tmp_path / "run")
    for name, *args in (
        ["sample", "--workdir=run", "--out=s.npz"],
        ["evaluate", "--workdir=run", "--npz=s.npz"],
    ):
        done = in_process(name, *args, "--seed=5", f"--num={NUM}")
        assert (done.returncode, done.stderr) == (0, "")
    run, file = read(tmp_path / "run/evaluation.json"), read(tmp_path / "s.evaluation.json")
    assert run["scores"] == file["scores"]
    assert run["source"]["images_sha256"] == file["source"]["images_sha256"]
    assert jax.device_count() == 8
    there = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCORED], cwd=tmp_path, env=alone(), stdout=subprocess.PIPE
    )
    assert there.returncode == 0
    found = json.loads(there.stdout)
    assert found.keys() == run["scores"].keys()
    for name, value in found.items():
        assert value == pytest.approx(run["scores"][name]["value"], rel=1e-6, abs=1e-6), name


@pytest.mark.usefixtures("undrawn")
def test_inception_adds_its_own_rows(
    tmp_path: Path, mnist: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are not at hand: a projection stands for it, with fewer features."""
    weights = np.random.default_rng(0).normal(size=(784, 20)) / 255

    def apply(images: np.ndarray, progress: Callable = iter) -> tuple[np.ndarray, np.ndarray]:
        found = images.reshape(len(images), -1) @ weights
        return found, np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)

    asked = []
    network = features.FeatureNetwork("inception-2015-12-05", "f" * 64, apply, width=20, classes=20)
    monkeypatch.setattr(evaluate, "load_inception", lambda path: asked.append(path) or network)
    np.savez(tmp_path / "a.npz", images=mnist[:NUM])
    evaluate.main(
        [f"--npz={tmp_path}/a.npz", f"--num={NUM}", "--inception_weights=~/w.pth", "--features=inception"]
    )
    assert asked == [Path.home() / "w.pth"]
    found = read(tmp_path / "a.evaluation.json")["scores"]
    assert {name.split("/")[1] for name in found} == {"inception-2015-12-05"}
    assert len(found) == 4
    asked.clear()
    for name in ("weights.pth", "download"):
        evaluate.main([f"--npz={tmp_path}/a.npz", f"--num={NUM}", f"--inception_weights={name}"])
    assert asked == [Path("weights.pth"), None]
    found = read(tmp_path / "a.evaluation.json")["scores"]
    assert [name for name in found if "inception-" in name] == [
        f"{metric}/inception-2015-12-05/500-test" for metric in METRICS[:4]
    ]
    assert found["frechet_distance/inception-2015-12-05/500-test"]["network_sha256"] == "f" * 64
    assert "inception-2015-12-05, SHA-256 ffff" in capsys.readouterr().out


def test_the_curve_is_the_logs_where_it_has_one(tmp_path: Path, evaluator: Evaluator) -> None:
    folder = make_run(tmp_path / "run")
    run = subjects.JudgedRun(folder, checkpoint=None, given=evaluate.Options(workdir=("run",)))
    curve = run.curve(evaluator, 0.5)
    assert (curve.name, curve.steps) == ("frechet_distance/mnist-classifier/500-test", [0, 10])
    assert curve.values[0] == evaluator.frechet(run.images(evaluator)) == curve.values[1]  # not trained
    row = {"epoch": 1, "d_loss": 1.0, "g_loss": 1.0}
    rows = [row | {"step": 5}, row | {"step": 10, "frechet_distance/x": 7.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"st')
    assert run.curve(evaluator, 0.5) == ("frechet_distance/x", [10], [7.0], None)  # another floor
    name = "frechet_distance/mnist-classifier/500-test"
    (folder / "metrics.jsonl").write_text(json.dumps(row | {"step": 10, name: 7.0}) + "\n")
    assert run.curve(evaluator, 0.5) == (name, [10], [7.0], 0.5)


def test_interpolations_say_their_class(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", Config(model="mlp", conditional=True), (3,))
    run = subjects.JudgedRun(folder, checkpoint=None, given=evaluate.Options(workdir=("run",)))
    assert run.path_classes() == [0, 1, 2, 3, 4, 5]
    axes = Figure().subplots()
    picture._name_rows(axes, [4, 5], 28)
    assert [text.get_text() for text in axes.texts] == ["class 4", "class 5"]
    assert [text.get_position()[1] for text in axes.texts] == [16, 46]


def test_interpolations_keep_the_noise_in_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subjects.JudgedRun(
        make_run(tmp_path / "run"), checkpoint=None, given=evaluate.Options(workdir=("run",))
    )
    drawn: list[np.ndarray] = []

    def draw(self: Gan, z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        drawn.append(z)
        return np.zeros((len(z), 28, 28, 1), np.uint8)

    monkeypatch.setattr(Gan, "draw", draw)
    assert run.interpolations(0).shape == (subjects.PATHS * picture.COLUMNS, 28, 28, 1)
    z = drawn[0].reshape(subjects.PATHS, -1, run.gan.parts.z_dim)
    latents = np.asarray(run.gan.latents(2 * subjects.PATHS, 0))
    np.testing.assert_allclose(z[:, 0], latents[: subjects.PATHS], atol=1e-6)
    np.testing.assert_allclose(z[:, -1], latents[subjects.PATHS :], atol=1e-6)
    assert np.linalg.norm(z, axis=2) == pytest.approx(np.sqrt(run.gan.parts.z_dim), rel=0.35)


# Images without a classifier, and few of them


@pytest.fixture
def own(tiny: Reals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An .npz of `tiny`'s train images as samples, judged by tiny itself, which stands in mnist's place."""
    monkeypatch.setattr(evaluate, "load_reals", lambda source, data_dir: tiny)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez(tmp_path / "samples.npz", images=tiny.train_images)
    return tmp_path / "samples.npz"


def test_labelled_images_without_a_classifier_are_judged_by_random_features(
    own: Path, tiny: Reals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate.main([f"--npz={own}"])
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert "random-filters-0" in err
    assert "python -m gan_jax.train_classifier --dataset=mnist" in err
    report = read(own.with_name("samples.evaluation.json"))
    found = {name.split("/")[0]: score for name, score in report["scores"].items()}
    assert list(found) == [
        name for name in METRICS if name not in ("inception_score", "class_balance", "classes_found")
    ]
    assert "frechet_distance/random-filters-0/150-test" in report["scores"]  # all the test images there are
    assert "class_shares" not in report
    assert found["frechet_distance"]["value"] < 0.2 * found["frechet_distance"]["noise"]
    assert "Inception" not in out
    with Image.open(own.with_name("samples.evaluation.png")) as drawn:
        assert drawn.size[0] == 1200
    leave_undrawn(monkeypatch)
    # Once there is one it is found by the images' content, and taken.
    variables = classifier.Classifier(3).init(jax.random.key(0), tiny.train_images[:1])
    classifier.save_variables(classifier.classifier_path(tiny.train_images, tiny.train_labels), variables)
    evaluate.main([f"--npz={own}", "--num=100"])
    out, err = capsys.readouterr()
    assert err == ""
    report = read(own.with_name("samples.evaluation.json"))
    assert len(report["class_shares"]["samples"]) == 3
    assert {name.split("/")[1] for name in report["scores"]} == {_classifier_name(tiny)}
    evaluate.main([f"--npz={own}", "--features=random"])
    assert capsys.readouterr().err == ""  # it was asked for


@pytest.mark.usefixtures("undrawn")
def test_the_command_that_is_suggested_works_as_it_is_printed(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the very images: their size and channels, a plugin's set with its folder, paths with blanks."""
    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.setattr(data, "DATASETS", dict(data.DATASETS))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    untrained = lambda images, labels, **how: classifier.Classifier(3).init(jax.random.key(0), images[:1])
    monkeypatch.setattr(train_classifier, "train_classifier", untrained)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 12, 12, 3), np.uint8), np.arange(300) % 3
    np.savez(tmp_path / "it's mine.npz", images=images, labels=labels)
    np.savez(tmp_path / "samples.npz", images=images[:, :8, :8, :1])
    (tmp_path / "my set.py").write_text(
        "import numpy as np\nfrom gan_jax import data\n\ndef load(split, folder):\n"
        "    found = np.load(f'{folder}/images.npz')\n    return found['images'], found['labels']\n\n"
        "data.DATASETS['plugged'] = load\n"
    )
    (tmp_path / "my folder").mkdir()
    small = {"images": images[:, :8, :8, :1], "labels": labels}
    np.savez(tmp_path / "my folder" / "images.npz", **small)
    for flags in (
        ["--dataset=it's mine.npz", "--image_size=8", "--channels=1"],
        ["--dataset=plugged", "--data_dir=my folder", "--plugin=my set.py"],
    ):
        judge = ["evaluate", "--npz=samples.npz", *flags]
        done = in_process(*judge)
        assert done.returncode == 0, done.stderr
        [suggested] = re.findall("`(.*)`", done.stderr)
        python, m, name, *args = shlex.split(suggested)
        assert (python, m, name) == ("python", "-m", "gan_jax.train_classifier")
        assert sorted(args) == sorted(flags)
        assert in_process("train_classifier", *args).returncode == 0
        assert in_process(*judge).stderr == ""  # it is found


@pytest.mark.usefixtures("undrawn")
def test_unlabelled_images_say_which_features_they_take(
    own: Path, tiny: Reals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tiny._replace(train_labels=None, test_labels=None)
    monkeypatch.setattr(evaluate, "load_reals", lambda source, data_dir: bare)
    evaluate.main([f"--npz={own}"])
    assert capsys.readouterr().err.splitlines() == [
        "the features are those of random-filters-0, since tiny has no labels."
    ]
    with pytest.raises(UserError, match=r"tiny has no labels, so no classifier: take --features=random\.$"):
        evaluate.main([f"--npz={own}", "--features=classifier"])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "changed", [{"train_labels": None}, {"test_labels": None}, {"test_labels": np.full(150, 9)}]
)
def test_labels_of_one_split_alone_are_no_error(
    own: Path, tiny: Reals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: dict
) -> None:
    """Nor is a class that only the test images have."""
    bare = tiny._replace(**changed)
    variables = classifier.Classifier(3).init(jax.random.key(0), tiny.train_images[:1])
    classifier.save_variables(classifier.classifier_path(tiny.train_images, tiny.train_labels), variables)
    for module in (evaluate, train_classifier):
        monkeypatch.setattr(module, "load_reals", lambda source, data_dir: bare)
    monkeypatch.setattr(subjects.JudgedFile, "labels", lambda self, judge: np.arange(judge.num) % 3)
    monkeypatch.setattr(train_classifier, "train_classifier", lambda images, labels, **how: variables)
    evaluate.main([f"--npz={own}"])
    report = read(own.with_name("samples.evaluation.json"))
    judged = bare.train_labels is not None
    assert (f"classes_found/{_classifier_name(tiny)}/150-test" in report["scores"]) == judged
    assert ("label_accuracy" in report) == judged
    assert ("test" in report.get("label_accuracy", {})) == (judged and bare.test_labels is not None)
    if judged:
        train_classifier.main([])
        assert ("test accuracy" in capsys.readouterr().out) == (bare.test_labels is not None)


@pytest.mark.usefixtures("undrawn")
def test_fewer_test_images_than_features_cost_the_frechet_distance_alone(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main([f"--npz={own}", "--features=random", "--num=64"])
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "warning: no Fréchet distance: with random-filters-0 it takes at least 65 images, and there are 64."
    ]
    report = read(own.with_name("samples.evaluation.json"))
    assert list(report["left_out"]) == ["Fréchet distance/random-filters-0/64-test"]
    assert "kernel_distance/random-filters-0/64-test" in report["scores"]
    evaluate.main([f"--npz={own}", "--features=random", "--num=65"])
    assert capsys.readouterr().err == ""


def test_two_networks_that_lack_images_each_say_so(own: Path, tiny: Reals) -> None:
    network = random_network(tiny.train_images.shape[1:])
    judges = [
        evaluator_of(
            tiny, num=64, network=network._replace(name=name), families=[scores.FRECHET, "kernel distance"]
        )
        for name in ("one", "other")
    ]
    subject = subjects.JudgedFile(own, data=Source("mnist"), data_dir=None)
    subject.read(tiny.train_images.shape[1:], 64)
    left_out = judgement.judge(subject, judges).report["left_out"]
    assert list(left_out) == ["Fréchet distance/one/64-test", "Fréchet distance/other/64-test"]
    assert [why.split()[1] for why in left_out.values()] == ["one", "other"]


def test_an_evaluator_of_plain_arrays(tiny: Reals) -> None:
    evaluator = Evaluator(tiny.test_images, tiny.train_images)
    assert (evaluator.num, evaluator.network.name) == (150, "random-filters-0")
    found = by_metric(evaluator.scores(tiny.train_images[:150]))
    dark = by_metric(evaluator.scores(tiny.train_images[:150] // 4))
    assert found["frechet_distance"].value < 0.1 * dark["frechet_distance"].value
    assert found["coverage"].value > 0.8 > 0.2 > dark["coverage"].value
    with pytest.raises(UserError, match="least 65 images"):
        Evaluator(tiny.test_images, tiny.train_images, num=60).check_frechet()
    with pytest.raises(UserError, match="differ"):
        Evaluator(tiny.test_images[..., :1], tiny.train_images)
    with pytest.raises(UserError, match="train labels must be"):
        Evaluator(tiny.test_images, tiny.train_images, train_labels=tiny.test_labels)
    with pytest.raises(UserError, match="has 150 images to compare with"):
        Evaluator(tiny.test_images, tiny.train_images, num=151)


@pytest.mark.usefixtures("undrawn")
def test_a_file_of_few_images_is_judged_whole(
    own: Path, tiny: Reals, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many as it has are taken unless --num says how many, of runs beside it too."""
    np.savez(own, images=tiny.train_images[:90])
    evaluate.main([f"--npz={own}"])
    assert "90 samples, 90 test images" in capsys.readouterr().out
    with pytest.raises(UserError, match="fewer than --num=100"):
        evaluate.main([f"--npz={own}", "--num=100"])


@pytest.mark.usefixtures("undrawn")
def test_a_metric_of_ones_own_is_in_the_table(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = lambda real, fake, seed: {
        "brightness": scores.Measured(float(len(fake.features)), scores.HIGHER)
    }
    monkeypatch.setitem(scores.FAMILIES, "mine", scores.Family(measure))
    evaluate.main([f"--npz={own}", "--features=random"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "brightness" in line] == [["brightness", "↑", *["150"] * 3]]


@pytest.mark.usefixtures("undrawn")
def test_a_metric_may_give_numpys_numbers(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = lambda real, fake, seed: {
        "spread": scores.Measured(fake.features.std(), scores.HIGHER, fake.features.std(), "its own")
    }
    monkeypatch.setitem(scores.FAMILIES, "spread", scores.Family(measure))
    evaluate.main([f"--npz={own}", "--features=random"])
    found = read(own.with_name("samples.evaluation.json"))["scores"]["spread/random-filters-0/150-test"]
    assert found["value"] == found["spread"] > 0


def test_what_json_cannot_say_leaves_no_picture_behind(tmp_path: Path) -> None:
    judged = judgement.Judged([], {"value": np.float32(1)}, lambda path: path.touch())
    with pytest.raises(TypeError, match="not JSON serializable"):
        evaluate._write(tmp_path / "evaluation", judged)
    assert not list(tmp_path.iterdir())


# The table and the picture


def _score(
    metric: str, value: float, network: str = "mnist-classifier", spread: float | None = None
) -> scores.Score:
    return scores.Score(
        f"{metric}/{network}/10k-test", value, "lower", spread, None, 0.1, 200.0, 10_000, 10_000, "test", 0, network,
        "f" * 64,
    )  # fmt: skip


def test_fifteen_subjects_fit_a_terminal() -> None:
    """834 columns once; and a long path keeps its end, which tells runs apart."""
    measured = [_score(metric, 1234.5678, spread=0.012) for metric in METRICS]
    subject = {f"runs/{'long' * 20}-{i:02}": measured for i in range(15)}
    lines = table.table(subject).splitlines()
    assert len(lines) == 15 + 5
    assert max(map(len, lines)) <= 120
    assert [line.split()[0][-3:] for line in lines[1:16]] == [f"-{i:02}" for i in range(15)]


def test_two_subjects_have_a_column_each() -> None:
    measured = [_score(metric, 1234.5678, spread=0.012) for metric in METRICS]
    lines = table.table({f"runs/{'long' * 20}-{i:02}": measured for i in range(2)}).splitlines()
    assert len(lines) == 9 + 3
    assert max(map(len, lines)) <= 100
    assert [word[-3:] for word in lines[0].split()[:2]] == ["-00", "-01"]
    ends = [match.end() for match in re.finditer(r"\S+( train)?", lines[0])]
    assert all(
        line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines[2:11] for end in ends
    )


def test_headings_stand_over_their_numbers() -> None:
    axes = Figure().subplots()
    picture.draw_scores(axes, [_score(metric, 1.0) for metric in METRICS])
    cells = axes.tables[0].get_celld()
    for column in range(4):
        assert {cells[row, column].get_text().get_ha() for row in range(11)} == {
            "left" if not column else "right"
        }


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.3, 0.4, 0.5, 0.6, 0.9], 0.3, 0.9),  # a short run's first value is no outlier
        ([*np.linspace(1, 2, 99), 1e9], 1, 2),
        ([*np.linspace(1, 2, 99), -1e9, np.nan, np.inf], 1, 2),
        ([1.0, 1.0], 0.9, 1.1),
    ],
)
def test_a_spike_does_not_flatten_the_losses(values: list[float], low: float, high: float) -> None:
    bottom, top = pictures.limits(np.array([values]))
    assert bottom is not None
    assert top is not None
    margin = 0.1 * (high - low)
    assert low - margin <= bottom <= low
    assert high <= top <= high + margin
    assert pictures.limits(np.array([[np.nan]])) == (None, None)


def test_each_network_has_a_block_of_the_table() -> None:
    found = table.table({"run": [_score("recall", 1.0), _score("recall", 2.0, "inception", spread=0.125)]})
    blocks = found.split("\n\n")
    assert [re.split("  +", block.splitlines()[2].strip())[1] for block in blocks] == ["1", "2 ± 0.12"]
    assert "features: inception, SHA-256" in blocks[1]


@pytest.mark.parametrize(
    ("values", "floor", "top"),
    [([300.0, 20.0, 10.0], 0.1, 300), ([1e6, 20.0, 10.0, 9.0], 0.1, 20), ([1.0], 5.0, 5)],
)
def test_one_outlier_does_not_flatten_a_curve(values: list[float], floor: float, top: float) -> None:
    limits = picture.curve_limits(picture.Curve("x", list(range(len(values))), values, floor))
    assert limits is not None
    assert limits[0] < min(*values, floor)
    assert top < limits[1] < 1.5 * top


@pytest.mark.parametrize("values", [[0.6], [0.61, 0.83], [1.1, 1.2, 1.15], [0.7, 40.0], [3.0, 900.0]])
def test_a_curves_ticks_are_plain_numbers_and_whole_steps(values: list[float]) -> None:
    axes = Figure().subplots()
    curve = picture.Curve(FRECHET, list(range(300, 300 + len(values))), values, None)
    picture._draw_curve(axes, picture.Page("", "", [], None, [], curve, None))
    low, high = axes.get_ylim()
    worded = axes.yaxis.get_major_formatter()
    shown = [worded(value) for value in axes.yaxis.get_majorticklocs() if low <= value <= high]
    assert 1 <= len(shown) <= 7
    assert all(re.fullmatch(r"[\d,.]+", text) for text in shown), shown
    assert all(step == int(step) for step in axes.get_xticks())
    assert axes.get_title().startswith("Fréchet distance (lower is better): 500 samples")


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_the_losses_of_a_short_run_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: drawn.append(figure))
    measured = {"d_loss": 1.0, "g_loss": 0.5, "real_score": 0.97, "fake_score": 0.9}
    pictures.plot_losses([{"step": i, **measured} for i in range(rows)], tmp_path / "a.png", "a")
    losses, judged = drawn[0].axes
    assert (losses.lines[0].get_marker() == ".") == (rows < 30)
    low, high = judged.get_ylim()
    assert low < 0.5 < high  # where the line is of a D that cannot tell
    assert all(step == int(step) for step in judged.get_xticks())


def test_a_curve_without_values_has_no_limits() -> None:
    assert picture.curve_limits(picture.Curve("x", [], [], 0.1)) is None


# What is refused


@pytest.fixture
def refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mnist: np.ndarray
) -> Refuse:
    """Runs the command in this process, in tmp_path, and checks that it is refused in one line."""
    monkeypatch.chdir(tmp_path)

    def run(args: list[str], *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["evaluate", *args])
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            cli.run(evaluate.main)
        _, err = capsys.readouterr()
        assert stop.value.code == 2
        assert len(err.strip().splitlines()) == 1, err
        for word in ("error: ", *words):
            assert word in err
        assert sorted(tmp_path.rglob("*")) == before  # nothing half-written

    return run


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((NUM, 28, 28, 1), np.float32), ["uint8 [N,28,28,1]", "float32"]),
        (np.zeros((NUM, 28, 27), np.uint8), ["uint8 [N,28,28,1]", "[500, 28, 27, 1]"]),
        (np.zeros((NUM, 28, 28, 3), np.uint8), ["uint8 [N,28,28,1]", "[500, 28, 28, 3]"]),
        (np.zeros((NUM, 32, 32, 1), np.uint8), ["uint8 [N,28,28,1]", "[500, 32, 32, 1]"]),
        (np.zeros((NUM - 1, 28, 28, 1), np.uint8), ["holds 499 images", "--num=500"]),
        (np.zeros((), np.uint8), ["uint8 [N,28,28,1]"]),
        (np.array([{"a": 1}]), ["no .npz file of plain arrays"]),
    ],
)
def test_arrays_of_another_kind(refuse: Refuse, tmp_path: Path, array: np.ndarray, words: list[str]) -> None:
    np.savez(tmp_path / "a.npz", images=array)
    refuse(["--npz=a.npz", f"--num={NUM}"], "a.npz", *words)


def test_files_of_another_kind(refuse: Refuse, tmp_path: Path, mnist: np.ndarray) -> None:
    np.savez(tmp_path / "good.npz", images=mnist[:NUM])
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(content[:-500])
    (tmp_path / "flipped.npz").write_bytes(content[:5000] + b"?" + content[5001:])
    (tmp_path / "text.npz").write_text("images")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "single.npy", mnist[:NUM])
    np.savez(tmp_path / "other.npz", samples=mnist[:NUM])
    (tmp_path / "folder.npz").mkdir()
    for name in ("short", "flipped", "text", "empty"):
        refuse([f"--npz={name}.npz", f"--num={NUM}"], f"{name}.npz is damaged or no .npz file")
    refuse(["--npz=single.npy"], "single array")
    refuse(["--npz=other.npz"], "no array 'images'", "samples")
    refuse(["--npz=folder.npz"], "cannot be read")
    refuse(["--npz=absent.npz"], "absent.npz cannot be read (No such file or directory)")
    # The good one is not judged either where another one beside it is bad.
    refuse(["--npz=good.npz", "--npz=text.npz", f"--num={NUM}"], "text.npz")


def test_other_bad_input(refuse: Refuse, tmp_path: Path, mnist: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", images=mnist[:NUM])
    refuse([], "--workdir=FOLDER", "--npz=FILE")
    refuse(["--npz=a.npz", "--num=0"], "--num=0")
    refuse(
        ["--npz=a.npz", "--num=3", "--features=random"], "3 images are too few for any metric", "at least 65"
    )
    refuse(["--npz=a.npz", "--features=inception"], "needs --inception_weights")
    refuse(["--npz=a.npz", "--features=clasifier"], "Did you mean 'classifier'?")
    refuse(["--npz=a.npz", "--seed=-1"], "--seed=-1")
    refuse(["--npz=a.npz", "--dataset=mnits"], "Did you mean 'mnist'?")
    refuse(["--npz=a.npz", f"--num={NUM}", "--data_dir=absent"], "data_dir 'absent' does not exist")
    refuse(["--npz=a.npz", f"--num={NUM}", "--out=absent"], "absent is no folder")
    refuse(["--npz=a.npz", "--npz=a.npz", f"--num={NUM}"], "would both be written to")
    np.savez(tmp_path / "b.npz", images=np.zeros((10_001, 28, 28, 1), np.uint8))
    refuse(["--npz=b.npz", "--num=10001"], "--num=10001", "10000 images")
    refuse(["--npz=b.npz", "--inception_weights=w.pth"], "w.pth does not exist")
    (tmp_path / "w.pth").write_text("weights")
    refuse(["--npz=b.npz", "--inception_weights=w.pth"], "w.pth is not", "SHA-256")


def test_workdirs_without_a_generator(refuse: Refuse, tmp_path: Path) -> None:
    refuse(["--workdir=absent"], "absent holds no run")
    (tmp_path / "fresh").mkdir()
    workdir.write_config(tmp_path / "fresh", Config(), facts_of(np.zeros((100, 28, 28, 1), np.uint8), None))
    refuse(["--workdir=fresh"], "holds no checkpoint yet")
    make_run(tmp_path / "run", (10, 20))
    refuse(["--workdir=run", "--checkpoint=15"], "no checkpoint of step 15", "10, 20")
    refuse(["--workdir=run", "--checkpoint=best"], "no evaluated checkpoint")
    refuse(["--workdir=run", "--num=20000"], "--num=20000", "10000 images")
    refuse(["--workdir", "run", "fresh"], "holds no checkpoint yet")


def test_too_few_images_for_the_evaluator(mnist: np.ndarray, evaluator: Evaluator) -> None:
    with pytest.raises(UserError, match="there are 499 images"):
        evaluator.scores(mnist[:499])
    with pytest.raises(UserError, match="uint8"):
        evaluator.frechet(mnist[:NUM].astype(np.float32))

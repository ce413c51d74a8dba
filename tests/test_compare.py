"""Comparisons: their statistics against simulation, and the command from end to end, interrupted and repeated."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import gan_jax
from gan_jax import Config, compare, workdir
from gan_jax.comparison import results
from gan_jax.comparison.scoring import Scored, scores_of
from gan_jax.comparison.systems import folder_name, values_of_file
from gan_jax.errors import UserError
from gan_jax.evaluation import FAMILIES, HIGHER, Evaluator, Family, Measured
from gan_jax.evaluation.named import evaluator_for
from gan_jax.loading import load_population
from gan_jax.metrics import manifold
from gan_jax.parts import facts_of
from gan_jax.state import to_arrays
from gan_jax.storage import sha256_of_arrays

Command = Callable[..., subprocess.CompletedProcess[str]]

NETS = ["--model=mlp", "--no_spectral_norm", "--penalty", "--ema=0", "--batch_size=16", "--z_dim=8"]
RUN = ["--dataset=own.npz", *NETS]
FLAGS = [*RUN, "--steps=12", "--log_every=4", "--checkpoint_every=4", "--seeds=3", "--num=80", "--workdir=c"]


@pytest.fixture
def own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (500, 8, 8, 1), np.uint8))


@pytest.mark.parametrize("rows", [1, 0])  # whose log is lost has no curves, and all else
def test_what_diverged_is_named_with_its_step(rows: int, tmp_path: Path) -> None:
    configs = [gan_jax.Config(seed=seed) for seed in (5, 6)]
    judge: Any = SimpleNamespace(name=lambda metric: metric, floors=dict)
    row = {"step": 1200, "d_loss": [1.0, None], "g_loss": [2.0, None]}
    entry = Scored(
        tuple(configs), 2000, [-1, 1200], [{"frechet_distance": 3.0}, {}], [row] * rows, np.zeros(0)
    )
    results.write(tmp_path, {"hinge": entry}, judge, dataset="mnist")
    assert "\nDiverged: hinge with seed 6 at step 1,200.\n" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "results.csv").read_text().endswith("hinge,5,,3.0\nhinge,6,1200,\n")


@pytest.mark.parametrize("others", [[2000.0, 0.5], [-1.0, 0.5]])
def test_systems_of_which_none_has_come_to_the_end_are_no_pair(others: list[float], tmp_path: Path) -> None:
    judge: Any = SimpleNamespace(name=lambda metric: metric, floors=dict)
    gone = Scored((gan_jax.Config(),), 2000, [7], [{}], [], np.zeros(0))
    other = dataclasses.replace(gone, diverged=[int(others[0])])
    if others[0] < 0:
        other = dataclasses.replace(other, scores=[{"frechet_distance": others[1]}])
    results.write(tmp_path, {"hinge": gone, "gan": other}, judge, dataset="mnist")
    report = (tmp_path / "report.md").read_text()
    assert "- hinge − gan: at no seed have both come to the end.\n" in report
    head, line, *_ = [row for row in report.splitlines() if row.startswith("|")]
    assert head.count("|") == line.count("|")
    refused = lambda name: pytest.fail(f"{name} is no JSON")
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=refused)
    assert found["differences"][0]["mean"] is None


def test_an_infinite_score_is_a_word_in_the_files_and_has_no_deviation(tmp_path: Path) -> None:
    judge: Any = SimpleNamespace(name=str, floors=dict)
    scores = [{"class_balance": float("inf"), "recall": 0.5 + i / 10} for i in range(3)]
    scores[0]["class_balance"] = 0.5
    configs = tuple(gan_jax.Config(seed=seed) for seed in range(3))
    entry = Scored(configs, 2000, [-1, -1, -1], scores, [], np.zeros(0))
    other = dataclasses.replace(entry, scores=[{**found, "recall": float("inf")} for found in scores])
    results.write(tmp_path, {"hinge": entry, "odd": other}, judge, dataset="own $x^{")
    refused = lambda name: pytest.fail(f"{name} is no JSON")
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=refused)["systems"]["hinge"]
    assert [member["scores"]["class_balance"] for member in found["members"]] == [0.5, "inf", "inf"]
    assert (found["spread"]["class_balance"]["mean"], found["spread"]["class_balance"]["sd"]) == ("inf", None)
    assert "| inf [0.5, inf] |" in (tmp_path / "report.md").read_text()


def test_scores_are_taken_of_the_same_judge_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train, test, others = rng.integers(0, 256, (3, 100, 8, 8, 1), np.uint8)
    config = Config(model="mlp", penalty=(), ema=0.0, batch_size=16, z_dim=4, steps=1)
    *_, population = gan_jax.fit_population([config], train)

    def scored(images: np.ndarray, *families: str) -> dict[str, float]:
        judge = Evaluator(images, train, num=80, families=families, progress=lambda x, title: x)
        return scores_of(population, judge, tmp_path).scores[0]

    balls = "density and coverage"
    first = scored(test, balls)
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "scores", lambda *_: pytest.fail("scored again"))
        assert scored(test, balls) == first
    assert scored(others, balls) != first
    for value in (1.0, 2.0):  # a metric that its author changes
        mine = Family(lambda real, fake, seed, value=value: {"mine": Measured(value, HIGHER)})
        monkeypatch.setitem(FAMILIES, "mine", mine)
        assert scored(test, balls, "mine") == {**first, "mine": value}
    assert scored(test, balls) == first


def test_the_folder_is_not_among_the_images(in_process: Command, tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(path)
    os.chdir(tmp_path / "photos")
    flags = (
        "--systems",
        "hinge",
        "--dataset=.",
        "--image_size=8",
        "--channels=1",
        *NETS,
        "--steps=1",
        "--seeds=1",
    )
    refused = in_process("compare", *flags)
    assert refused.returncode == 2
    assert re.search(
        r"--workdir=.*/photos/runs/\S+ lies among the images of --dataset=.*/photos: give", refused.stderr
    )
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["a", "b"]


def test_a_comparisons_folder_is_any_path_and_not_none(own: None, tmp_path: Path) -> None:
    flags: Any = {"dataset": "own.npz", "steps": 1, "systems": ("hinge",)}
    assert compare.Options(**flags, workdir=tmp_path / "c").workdir == str(tmp_path / "c")
    assert compare.Options(**flags).workdir is None
    with pytest.raises(UserError, match=r"--workdir= is not allowed"):
        compare.Options(**flags, workdir="")


def test_a_comparison_reports_every_member_and_goes_on_after_a_stop(
    in_process: Command, own: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("compare", "--systems", "cross_entropy", "hinge", *FLAGS)
    with monkeypatch.context() as patch:
        patch.setattr(compare, "scores_of", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            in_process(*command)
    assert (tmp_path / "c" / "cross_entropy" / "checkpoints" / "12").is_dir()
    radii: list[np.ndarray] = []  # whose points' were computed
    distances = manifold._distances
    with monkeypatch.context() as patch:
        spy = lambda a, b: (radii.append(a) if a is b else None) or distances(a, b)
        patch.setattr(manifold, "_distances", spy)
        done = in_process(*command)
    assert done.returncode == 0, done.stderr
    judge: Any = evaluator_for("own.npz", num=80, families=["precision and recall", "density and coverage"])
    of_real = sum(np.array_equal(points, judge.statistics.test.features) for points in radii)
    assert 1 <= of_real <= 2 < 6 <= len(radii)  # for k = 3 and k = 5, however many members
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert results["systems"].keys() == {"cross_entropy", "hinge"}
    for system, found in results["systems"].items():
        assert [member["config"]["seed"] for member in found["members"]] == [0, 1, 2]
        for i, member in enumerate(found["members"]):
            assert member["scores"]["frechet_distance"] > 0
            gan = gan_jax.load(tmp_path / "c" / system, member=i)
            assert gan.config.loss == member["config"]["loss"] == system
            assert gan.step == 12
        values = [member["scores"]["frechet_distance"] for member in found["members"]]
        assert found["spread"]["frechet_distance"]["mean"] == pytest.approx(np.mean(values))
    pairs = [(pair["a"], pair["b"], pair["metric"], pair["n"]) for pair in results["differences"]]
    assert pairs == [("cross_entropy", "hinge", metric, 3) for metric in ("frechet_distance", "recall")]
    rows = list(csv.DictReader((tmp_path / "c" / "results.csv").read_text().splitlines()))
    assert [(row["system"], row["seed"]) for row in rows] == [
        (system, str(seed)) for system in results["systems"] for seed in range(3)
    ]
    report = (tmp_path / "c" / "report.md").read_text()
    assert report in done.stdout
    assert "0 of 3" in report
    assert "cross_entropy − hinge: " in report
    for name in ("curves.png", "hinge/samples.png", "cross_entropy/samples.png"):
        assert (tmp_path / "c" / name).stat().st_size > 500

    every = jax.devices()
    with monkeypatch.context() as patch:
        patch.setattr(jax, "devices", lambda: every[:1])
        *_, single = gan_jax.fit(gan_jax.load(tmp_path / "c" / "hinge", member=1).config)
    scores = results["systems"]["hinge"]["members"][1]["scores"]
    for score in judge.scores(single.sample(80)):
        assert score.value == scores[score.metric]

    evaluated = []
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "scores", lambda *args: evaluated.append(args))
        assert in_process(*command).returncode == 0
    assert json.loads((tmp_path / "c" / "results.json").read_text()) == results
    assert not evaluated
    for harm, words in (
        (lose_what_came_last, ""),
        (lose_the_log_and_damage, "is damaged"),
        (change, "1 are put back"),
    ):
        before = contents(tmp_path / "c")
        harm(tmp_path / "c")
        done = in_process(*command)
        assert (done.returncode, words in done.stderr) == (0, True), done.stderr
        assert bool(done.stderr) == bool(words)
        after = contents(tmp_path / "c")
        assert {name for name in before if after[name] != before[name]} == set()


def contents(folder: Path) -> dict[str, object]:
    """The files of a comparison of cross_entropy and hinge, and the SHA-256 of its members' states."""
    names = ["report.md", "results.json", "results.csv", "curves.png"]
    found: dict[str, object] = {}
    for system in ("cross_entropy", "hinge"):
        names += [
            f"{system}/{name}" for name in ("config.json", "metrics.jsonl", "scores.json", "samples.png")
        ]
        found[system] = sha256_of_arrays(to_arrays(load_population(folder / system).real_members()))
    return found | {name: (folder / name).read_bytes() for name in names}


def lose_what_came_last(folder: Path) -> None:
    """As a kill before the second system's last checkpoint, and then somebody who tidies up."""
    shutil.rmtree(folder / "hinge" / "checkpoints" / "12")
    for name in ("report.md", "results.json", "hinge/scores.json", "cross_entropy/config.json"):
        (folder / name).unlink()


def lose_the_log_and_damage(folder: Path) -> None:
    (folder / "hinge" / "metrics.jsonl").unlink()
    (folder / "hinge" / "checkpoints" / "12" / "_CHECKPOINT_METADATA").write_text("[]")


def change(folder: Path) -> None:
    """A digit of a score and one of a row."""
    for name, number in (("scores.json", "frechet_distance"), ("metrics.jsonl", "d_loss")):
        path = folder / "hinge" / name
        path.write_text(re.sub(rf'("{number}": \[?)', r"\g<1>1", path.read_text(), count=1))


def test_options_are_varied_in_every_combination(in_process: Command, own: None, tmp_path: Path) -> None:
    settings = compare.Options(
        systems=("wgan_gp", "cross_entropy"),
        vary=("beta1=0,0.5", "penalty=r1,r1+r2"),
        seeds=2,
        seed=5,
        steps=3,
    )
    found = compare.systems_of(settings)
    assert list(found)[:2] == ["wgan_gp beta1=0.0 penalty=r1", "wgan_gp beta1=0.0 penalty=r1+r2"]
    assert len(found) == 8
    for configs in found.values():
        assert [config.seed for config in configs] == [5, 6]
        assert {config.steps for config in configs} == {3}
    assert found["wgan_gp beta1=0.5 penalty=r1"][0].d_steps == 5  # the preset's
    assert found["cross_entropy beta1=0.5 penalty=r1"][0].loss == "cross_entropy"


def test_the_default_system_has_a_name_too() -> None:
    found = compare.systems_of(compare.Options(systems=("default", "hinge", "minimax"), seeds=1))
    assert list(found) == ["default", "hinge", "minimax"]
    assert found["default"] == [Config()]
    assert found["hinge"] == [Config(preset="hinge")]
    assert found["minimax"] == [Config(loss="minimax")]


def test_an_empty_value_is_none_of_them() -> None:
    settings = compare.Options(systems=("r3gan", "hinge"), vary=("penalty=,r1+r2", "augment=cutout,"))
    found = compare.systems_of(settings)
    assert list(found)[:2] == ["r3gan no_penalty augment=cutout", "r3gan no_penalty no_augment"]
    assert folder_name("r3gan no_penalty no_augment") == "r3gan-no_penalty-no_augment"
    for label, configs in found.items():
        assert configs[0].penalty == (() if "no_penalty" in label else ("r1", "r2"))
        assert configs[0].augment == (() if "no_augment" in label else ("cutout",))


@pytest.mark.parametrize(
    ("flags", "warnings"),
    [
        (["--steps=12", "--epochs", "3"], ["--steps=12 and --epochs=3 were both given: the steps count."]),
        (["--steps=12"], []),
    ],
)
def test_two_lengths_are_warned_of(
    in_process: Command, monkeypatch: pytest.MonkeyPatch, flags: list[str], warnings: list[str]
) -> None:
    monkeypatch.setattr(compare, "compare", compare.systems_of)
    done = in_process("compare", "--systems", "hinge", *flags)
    assert (done.returncode, done.stderr.splitlines()) == (0, [f"warning: {words}" for words in warnings])


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        (["--vary", "batch_size=64,128", "epochs=1,2"], ("batch_size=64 epochs=1", 64, None, 1)),
        (["--vary=steps=5,6", "--batch-size", "8"], ("steps=5", 8, 5, 20)),  # wgan_gp's own epochs
    ],
)
def test_what_a_file_gives_may_be_varied(
    in_process: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vary: list[str],
    expected: tuple[str, int, int | None, int],
) -> None:
    run = gan_jax.Config(loss="hinge", batch_size=32, steps=50, epochs=7)
    workdir.write_config(tmp_path, run, facts_of(np.zeros((4, 8, 8, 1), np.uint8), None))
    found: dict[str, Any] = {}
    monkeypatch.setattr(compare, "compare", lambda settings: found.update(compare.systems_of(settings)))
    done = in_process("compare", "--systems", "wgan_gp", "--config=config.json", *vary)
    assert (done.returncode, done.stderr) == (0, "")
    label, batch_size, steps, epochs = expected
    config = found[f"wgan_gp {label}"][0]
    assert (config.batch_size, config.steps, config.epochs) == (batch_size, steps, epochs)


def test_a_runs_config_is_given_to_every_system_beside_its_own(own: None, tmp_path: Path) -> None:
    run = gan_jax.Config(
        preset="wgan",
        batch_size=32,
        g_learning_rate=5e-4,
        steps=50,
        seed=3,
        eval_every=1,
        workdir="elsewhere",
    )
    facts = facts_of(np.zeros((4, 8, 8, 1), np.uint8), None)
    workdir.write_config(tmp_path, run, facts)
    path = str(tmp_path / "config.json")
    given = values_of_file(path, set())
    assert given == {"batch_size": 32, "g_learning_rate": 5e-4, "steps": 50, "seed": 3}
    found = compare.systems_of(compare.Options(systems=("lsgan", "hinge"), seeds=2, **given))
    for preset, configs in found.items():
        expected = gan_jax.Config(preset=preset, batch_size=32, g_learning_rate=5e-4, steps=50)
        assert configs == [dataclasses.replace(expected, seed=seed) for seed in (3, 4)]
    assert "steps" not in values_of_file(path, {"epochs"})  # which would count in their place
    weighed = gan_jax.Config(preset="r3gan", penalty_weight=0.3)
    workdir.write_config(tmp_path, weighed, facts)
    assert values_of_file(path, set()) == {"penalty_weight": 0.3}
    assert values_of_file(path, {"penalty"}, ["gp"]) == values_of_file(path, {"penalty"}) == {}
    assert values_of_file(path, {"penalty"}, ["r2", "r1"]) == {"penalty_weight": 0.3}
    workdir.write_population_config(tmp_path, [run, run], facts)
    with pytest.raises(UserError, match="is of a population"):
        values_of_file(path, set())


def test_results_that_cannot_be_read_name_no_system_and_are_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for content in (b"[" * 100_000, b"\xff", b"5", b'{"systems": 5}'):
        path.write_bytes(content)
        assert compare._reported(tmp_path) == []
    path.unlink()
    os.mkfifo(path)
    assert compare._reported(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--systems", "hing"], "unknown system 'hing'. Did you mean 'hinge'?"),
        ([], "--systems is missing"),
        (["--systems"], "--systems names none"),
        (["--systems", "hinge", "hinge"], "names hinge twice"),
        (["--systems", "hinge", "--vary", "learning=1"], "write NAME=VALUE,VALUE"),
        (["--systems", "hinge", "--vary", "beta1=x"], "beta1 must be at least 0 and below 1"),
        (["--systems", "hinge", "--vary", "seed=1,2"], "seeds are --seeds"),
        (["--systems", "hinge", "--vary", "beta1=0", "beta1=0.5"], "--vary names beta1 twice"),
        (["--systems", "hinge", "hinge", "--vary", "beta1=0,0.5"], "--systems names hinge twice"),
        (
            ["--systems", "hinge", "--vary", "beta1=1e-4,0.0001"],
            "--vary=beta1=1e-4,0.0001 gives beta1=0.0001 twice",
        ),
        (["--systems", "hinge", "--vary", "penalty=,r1,"], "gives no_penalty twice: give each value once"),
        (["--systems", "hinge", "--vary", "loss=,minimax"], "unknown loss ''"),
        (["--systems", "hinge", "--steps=100", "--vary", "epochs=1,2"], "of which only the steps count"),
        (["--systems", "hinge", "--epochs=3", "--vary", "steps=1,2"], "of which only the steps count"),
        (["--systems", "hinge", "--vary", "steps=1,2", "epochs=1,2"], "of which only the steps count"),
        (
            ["--systems", "hinge", "--beta1=0.1", "--vary", "beta1=0,0.5"],
            "--vary and --beta1 both give beta1: leave it out of one of them",
        ),
        (
            ["--systems", "hinge", "--no_spectral_norm", "--vary", "spectral_norm=true,false"],
            "--vary and --spectral_norm both give spectral_norm",
        ),
        (["--systems", "minimax", "--vary", "loss=hinge"], "--vary and --systems both give loss"),
        (["--systems", "hinge", "--seeds=0"], "--seeds=0 is not allowed"),
        (["--systems", "hinge", "--batch_size=0"], "--batch_size=0 is not allowed"),
        (["--systems", "hinge", "--vary", "image_size=8,16"], "all systems see the same images"),
        (["--systems", "hinge", "--preset=lsgan"], "--preset=lsgan is not for a comparison: --systems names"),
        (["--systems", "minimax", "--preset=wgan"], "Leave it out."),
        (["--systems", "hinge", "--loss=minimax"], "--loss=minimax is not for a comparison"),
        (
            ["--systems", "hinge", "--time=5m"],
            "--time is not for a comparison: its systems train for so many steps",
        ),
        (["--systems", "hinge", "--num-processes=2"], "spread over machines by --ray"),
        (["--systems", "hinge", "--eval_every=1"], "all members are scored at their end"),
        (["--systems", "hinge", "--tensorboard"], "in a comparison the losses are in curves.png"),
        (["--systems", "hinge", "--config=others/results.json"], "others/results.json cannot be read"),
        (
            ["--systems", "hinge", "--dataset=gaps.npz", "--vary", "conditional=false,true", "--workdir=c"],
            "the labels go up to 5 and no image has 1, 3, 4",
        ),
        (
            ["--systems", "hinge", *FLAGS, "--workdir=taken"],
            "taken/report.md is not a file: give another --workdir",
        ),
        (
            ["--systems", "hinge", *FLAGS, "--workdir=others"],
            "others holds a comparison with lsgan, whose report would be lost: name all systems",
        ),
        (
            ["--systems", "hinge", *FLAGS, "--workdir=run"],
            "run holds a run or a population: give the comparison a --workdir of its own",
        ),
    ],
)
def test_bad_input_is_one_line(
    in_process: Command, own: None, tmp_path: Path, flags: list[str], words: str
) -> None:
    labels = np.repeat([0, 2, 5], 4)
    np.savez(
        tmp_path / "gaps.npz", images=np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8), labels=labels
    )
    (tmp_path / "taken" / "report.md").mkdir(parents=True)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "results.json").write_text('{"systems": {"hinge": {}, "lsgan": {}}}')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    done = in_process("compare", *flags)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "runs").exists()

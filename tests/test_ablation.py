"""The ablation: what its changes are, its verdicts, and the command from end to end on images that no GAN has seen."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import EXPERIMENTS, ROOT

from experiments.ablation import __main__ as ablation
from experiments.ablation import index, results
from experiments.ablation.changes import BASE, CHANGES, base_of, changed, changes_of, register
from experiments.ablation.results import METRIC, Change, Tried, table
from gan_jax import AUGMENTATIONS, MODELS, cli, population_run
from gan_jax.config import PRESETS, Config
from gan_jax.errors import UserError
from gan_jax.evaluation.reals import Reals, held_out, split_train


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The changes' own parts, for these tests alone."""
    before = dict(MODELS), dict(AUGMENTATIONS)
    register()
    yield
    for registry, entries in zip((MODELS, AUGMENTATIONS), before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("name", ["default", *PRESETS])
def test_a_change_is_one_and_takes_as_many_images(name: str) -> None:
    base = base_of(name)
    changes = changes_of(base)
    assert changes[0] == BASE
    assert len(changes) > 20
    for change in changes[1:]:
        config = changed(base, change, 1024)
        differing = {
            field
            for field, value in vars(config).items()
            if value != getattr(base, field) and field != "steps"
        }
        groups = (
            {"g_learning_rate", "d_learning_rate", "schedule"},  # rates that begin higher may have to fall
            {"spectral_norm", "penalty", "penalty_weight", "penalty_every"},
            {"schedule", "beta2"},  # R3GAN's schedule ends at the beta2 that is given
        )
        assert len(differing) == 1 or any(differing <= group for group in groups), change
        images = lambda config, steps: steps * config.d_steps * config.batch_size
        assert images(config, config.steps) == pytest.approx(images(base, 1024), abs=images(config, 1))
    assert dataclasses.replace(changed(base, BASE, 7), steps=None) == dataclasses.replace(base, steps=None)


def test_what_a_sixth_of_the_train_split_judges_no_gan_has_seen() -> None:
    images = np.arange(600 * 4, dtype=np.int64).astype(np.uint8).reshape(600, 2, 2, 1)
    labels = np.arange(600, dtype=np.int32)
    found = held_out(Reals("own", images, labels, images[:1], labels[:1]))
    assert found.train_labels is not None
    assert found.test_labels is not None
    assert (len(found.train_labels), len(found.test_labels)) == (500, 100)
    assert sorted([*found.train_labels, *found.test_labels]) == list(range(600))
    np.testing.assert_array_equal(found.train_images, images[found.train_labels])
    np.testing.assert_array_equal(found.test_images, images[found.test_labels])
    np.testing.assert_array_equal(found.test_labels, split_train(600)[1])
    assert found.test_labels.std() > 150  # not the first or last of a sorted split


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([8, 9, 8.5], [18, 19, 18], "better"),
        ([8, 9, 8.5], [21, 22, 21.5], "worse on one"),
        ([10, 12, 9], [18, 23, 20], "–"),
        ([12, 13, 12.5], [25, 24, 26], "worse"),
        ([8, None, 8.5], [18, 19, 18], "worse"),
    ],
)
def test_a_change_is_better_by_the_mean_ratio_and_worse_on_no_set(
    first: list[float | None], second: list[float | None], verdict: str
) -> None:
    def tried(values: list[float | None]) -> Tried:
        return Tried({}, 1, [0, 1, 2], [{} if x is None else {METRIC: x} for x in values], 1.0)

    results = {
        BASE: {"a": tried([10, 11, 10.5]), "b": tried([20, 21, 20.5])},
        "change": {"a": tried(first), "b": tried(second)},
    }
    floors = {"a": {METRIC: 0.5}, "b": {METRIC: 1.0}}
    found = Change.of("change", results, floors)
    assert found.verdict == verdict
    there = [i for i in range(3) if first[i] is not None]
    expected = np.mean([(first[i] / 0.5 + second[i] / 1.0) / 2 for i in there])  # type: ignore[operator]
    assert found.ratio == pytest.approx(expected)


FLAGS = (
    "--base=gan", "--datasets=own.npz", "--seeds=1", "--steps=3", "--num=80", "--workdir=w", "--changes", "beta1=0",
)  # fmt: skip


def test_the_command_tries_changes_and_takes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (800, 8, 8, 1), np.uint8)
    np.savez("own.npz", images=images, test_images=images[:300])
    assert ablation.main(FLAGS) == 0
    found = json.loads(Path("w/ablation.json").read_text())
    assert found["protocols"]["own.npz"].endswith("/80-val")
    assert list(found["changes"]) == [BASE, "beta1=0"]
    for name, beta1 in ((BASE, 0.9), ("beta1=0", 0.0)):
        one = found["changes"][name]["datasets"]["own.npz"]
        assert (one["config"]["beta1"], one["seeds"], one["steps"]) == (beta1, [0], 3)
        assert all({METRIC, "recall"} <= scores.keys() for scores in one["scores"])
    table = Path("w/ablation.md").read_text()
    assert table in capsys.readouterr().out
    assert "\n| `gan` | 3 |" in table
    assert "\n| `beta1=0` | 3 |" in table

    # Nothing is trained again, and a change is added.
    rates: list[float] = []  # of each chunk that is trained
    original = population_run.iterate

    def counted(configs: Any, *given: Any, **options: Any) -> Any:
        for population in original(configs, *given, **options):
            rates.append(configs[0].g_learning_rate)
            yield population

    monkeypatch.setattr(population_run, "iterate", counted)
    assert ablation.main([*FLAGS, "rates=half"]) == 0
    with pytest.raises(UserError, match="has rates=half, and --changes leaves that out"):
        ablation.main(FLAGS)
    with pytest.raises(UserError, match="is of another ablation: give another --out"):
        ablation.main([*FLAGS, "rates=half", "--seed=5"])
    assert rates == [1e-4]
    again = json.loads(Path("w/ablation.json").read_text())["changes"]
    assert list(again) == [BASE, "beta1=0", "rates=half"]
    for name in (BASE, "beta1=0"):
        scores = [x["changes"][name]["datasets"]["own.npz"]["scores"] for x in (found, {"changes": again})]
        assert scores[0] == scores[1]
    assert again[BASE]["datasets"]["own.npz"]["cpu_seconds"] > 0

    # What a killed process has cost is not known, and stays so: be it the first one or one that went on.
    for cost in (None, '{"cpu_seconds": null}', "{"):
        file = Path("w/own/beta1=0/seeds-0-0/cost.json")
        file.unlink() if cost is None else file.write_text(cost)
        assert ablation.main([*FLAGS, "rates=half"]) == 0
        found = json.loads(Path("w/ablation.json").read_text())["changes"]
        assert found["beta1=0"]["datasets"]["own.npz"]["cpu_seconds"] is None
        assert " | – | " in next(
            line
            for line in Path("w/ablation.md").read_text().splitlines()
            if line.startswith("| `beta1=0` |")
        )

    def killed(*_: Any, **__: Any) -> None:
        assert json.loads(Path("w/own/base/seeds-0-0/cost.json").read_text()) == {"cpu_seconds": None}
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "train_population", killed)
    with pytest.raises(KeyboardInterrupt):
        ablation.main([*FLAGS, "rates=half"])


def test_with_labels_the_table_has_the_share_of_the_class_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = (
        "--base=best_conditional",
        "--datasets=mnist",
        "--seeds=1",
        "--steps=3",
        "--num=300",
        "--out=out",
        "--changes",
    )
    assert ablation.main([*flags, "penalty_weight=0.2"]) == 0
    record = json.loads(Path("out/ablation.json").read_text())
    assert record["base"] == "best_conditional"
    for name, weight in ((BASE, 0.1), ("penalty_weight=0.2", 0.2)):
        one = record["changes"][name]["datasets"]["mnist"]
        assert (one["config"]["conditional"], one["config"]["penalty_weight"]) == (True, weight)
    assert Path("runs/ablation-best_conditional-3/mnist/base").is_dir()
    lines = Path("out/ablation.md").read_text().splitlines()
    heading, rule, base, change, real = lines[-5:]
    assert "| mnist: Fréchet | recall | class asked for, % | ratio |" in heading
    [scores] = record["changes"][BASE]["datasets"]["mnist"]["scores"]
    cells = [cell.strip() for cell in base.split("|")]
    assert cells[1:3] == ["`best_conditional`", "3"]
    assert cells[5] == results.number(100 * scores["label_accuracy"])
    assert change.startswith("| `penalty_weight=0.2` | 3 |")
    assert len({line.count("|") for line in (heading, rule, base, change, real)}) == 1

    np.savez("plain.npz", images=np.random.default_rng(0).integers(0, 256, (3000, 8, 8, 1), np.uint8))
    with pytest.raises(UserError, match=r"--base=best_conditional needs labels, and plain\.npz has none"):
        ablation.main(["--base=best_conditional", "--datasets=plain.npz", "--workdir=w"])
    assert not Path("w").exists()


def test_what_no_distance_can_be_computed_of_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 1), np.uint8)
    np.savez("own.npz", images=images)
    with pytest.raises(UserError, match=r"no Fréchet distance for own: with .* it takes at least"):
        ablation.main(["--base=gan", "--datasets=own.npz", "--steps=3", "--workdir=w"])
    assert not Path("w").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--base=mine"], "unknown base 'mine'"),
        (["--changes", "z_dim=3"], "unknown change 'z_dim=3'"),
        (["--changes", "z_dim=64", "z_dim=64"], "--changes names one twice"),
        (["--changes", "z_dim=64", "batch=16"], "--changes=batch=16 is no change of default, which has"),
        (["--base=gan", "--changes", "G=wide"], "--changes=G=wide is no change of gan, which has"),
        (
            ["--base=hinge", "--changes", "penalty_weight=0.2"],
            "--changes=penalty_weight=0.2 is no change of hinge",
        ),
        (["--datasets"], "--datasets must name one data set or more"),
        (["--datasets", "a/x.npz", "b/x.npz"], "--datasets has two of the name x"),
    ],
)
def test_bad_options_are_one_line(
    flags: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation", *flags])
    with pytest.raises(SystemExit) as stop:
        cli.run(ablation.main)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_every_change_is_of_some_base() -> None:
    tried = {name for base in (Config(), *PRESETS.values()) for name in changes_of(base)}
    assert tried == set(CHANGES)
    with pytest.raises(UserError, match="unknown base"):
        base_of("mine")


def test_a_set_whose_judge_knows_no_classes_and_a_seed_that_diverged_have_no_share() -> None:
    path = next(path for path in RECORDS if path.stem == "ablation_best_conditional")
    record = json.loads(path.read_text())
    first, second = record["changes"][BASE]["datasets"].values()
    first["scores"][0] = {}
    for scores in second["scores"]:
        del scores["label_accuracy"]
    row = next(line for line in table(record).splitlines() if line.startswith("| `best_conditional`"))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[5] == results.number(100 * first["scores"][1]["label_accuracy"])  # of the other seed
    assert cells[8] == "–"


def test_the_index_has_every_change_of_every_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = index.records()
    assert {"ablation_default", "ablation_hinge", "ablation_best_conditional"} <= found.keys()
    shown = index.PAGE.read_text()
    monkeypatch.setattr(index, "PAGE", tmp_path / "ablation.md")
    with pytest.raises(UserError, match="--seeds"):
        index.main(["--seeds=3"])
    assert not (tmp_path / "ablation.md").exists()
    index.main([])
    assert (tmp_path / "ablation.md").read_text() == shown, "run python -m experiments.ablation.index"
    lines = shown.splitlines()
    assert len([line for line in lines if line.startswith("| [`")]) == sum(
        len(record["changes"]) - 1 for record in found.values()
    )
    assert "(results/ablation.md)" in EXPERIMENTS.read_text()


RECORDS = sorted((ROOT / "experiments" / "results").glob("ablation_*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_holds_what_its_scores_say_and_its_page_and_the_readme_what_it_holds(path: Path) -> None:
    record = json.loads(path.read_text())
    tried = {
        name: {
            dataset: Tried(**{field: one[field] for field in Tried._fields})
            for dataset, one in change["datasets"].items()
        }
        for name, change in record["changes"].items()
    }
    for name, change in record["changes"].items():
        found = Change.of(name, tried, record["floors"])
        assert (found.ratio, found.verdict) == (pytest.approx(change["ratio"]), change["verdict"])
        for difference, held in (
            (found.all, change["ratio_minus_base"]),
            *((found.own[dataset], one["minus_base"]) for dataset, one in change["datasets"].items()),
        ):
            assert difference.mean == pytest.approx(held["mean"])
            assert difference.interval == pytest.approx(held["interval"])
    page = table(record)
    assert path.with_suffix(".md").read_text() == page
    shown = EXPERIMENTS.read_text()
    if path.stem != "ablation_cosine":  # of a default that is gone: in words
        assert f"(results/{path.stem}.md)" in shown
        [rows] = re.findall(r"(?:^\| `.*\n)+", page, re.M)
        assert rows in shown

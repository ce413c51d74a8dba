"""Members of a population's folder, by the commands: drawn from, judged, and taken out as runs of their own."""

import dataclasses
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import data, population_run
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.evaluation import curves
from gan_jax.state import to_arrays

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]

LOST = 3  # the member that diverges


@pytest.fixture
def folder(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A population of four in tmp_path/p, whose last member has diverged, and its images in tmp_path/own.npz."""
    every = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: every[:1])
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (500, 8, 8, 1), np.uint8))
    config = small(steps=10, log_every=5, ema=0.9, dataset="own.npz")
    configs = [dataclasses.replace(config, seed=i, g_learning_rate=1e-3 * (1 + i)) for i in range(LOST)]
    configs.append(dataclasses.replace(config, g_learning_rate=1e38, d_learning_rate=1e38))
    images, labels = data.load("own.npz", "train")
    found = population_run.train_population(tmp_path / "p", configs, images, labels, warn=pytest.fail)
    assert [step >= 0 for step in found.diverged] == [False, False, False, True]
    return tmp_path / "p"


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_member_is_drawn_from(folder: Path, in_process: Command, tmp_path: Path) -> None:
    done = in_process("sample", "--workdir=p", "--member=2", "--num=5", "--seed=1", "--out=a.npz")
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(
            file["images"], gan_jax.load_population(folder)[2].sample(5, 1), strict=True
        )
    for flags in ([], ["--member=4"]):
        line = only_line(in_process("sample", "--workdir=p", *flags, "--out=b.npz"))
        assert "p holds a population of 4: say which member, from 0 to 3, as in --member=0." in line
    assert "a whole number from 0" in only_line(
        in_process("sample", "--workdir=p", "--member=-1", "--out=b.npz")
    )
    best = in_process("sample", "--workdir=p", "--member=1", "--checkpoint=best", "--out=b.npz")
    assert "a population, which has no best checkpoint" in only_line(best)
    assert not (tmp_path / "b.npz").exists()


def test_one_that_diverged_is_drawn_from_as_it_was_and_said_to_have(
    folder: Path, in_process: Command
) -> None:
    done = in_process("sample", "--workdir=p", f"--member={LOST}", "--num=5", "--out=a.npz")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert re.fullmatch(r"warning: member 3 of p diverged at step \d+; this is it at step \d+", line)


def test_people_judge_a_member_in_a_file_of_its_own(folder: Path, in_process: Command) -> None:
    assert "a population of 4: say which" in only_line(in_process("human_eval.__main__", "--workdir=p"))
    line = only_line(in_process("human_eval.__main__", "--workdir=p", "--member=1", "--report"))
    assert "run python -m gan_jax.human_eval --workdir=p --member=1 and judge some" in line


def test_members_are_judged_each_or_those_named(
    folder: Path, in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []  # the checkpoints of the curves
    restored = curves.load_population
    with monkeypatch.context() as patch:
        patch.setattr(
            curves,
            "load_population",
            lambda path, step, **rest: read.append(step) or restored(path, step, **rest),
        )
        done = in_process("evaluate", "--workdir=p", "--num=80")
    assert sorted(read) == sorted(int(path.name) for path in (folder / "checkpoints").glob("[0-9]*"))
    assert done.returncode == 0, done.stderr
    assert "warning: p is judged without members 3, which diverged" in done.stderr
    assert [name for name in ("p [0]", "p [1]", "p [2]", "p [3]") if name in done.stdout] == [
        "p [0]",
        "p [1]",
        "p [2]",
    ]
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("evaluation*.json")}
    assert found.keys() == {"evaluation-0.json", "evaluation-1.json", "evaluation-2.json"}
    assert found["evaluation-1.json"]["source"]["member"] == 1
    (tmp_path / "out").mkdir()
    done = in_process("evaluate", "--workdir=p", "--member", "2", "--num=80", "--out=out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["p-2.evaluation.json"]
    again = json.loads((tmp_path / "out" / "p-2.evaluation.json").read_text())
    assert again["scores"] == found["evaluation-2.json"]["scores"]
    assert "say which member, from 0 to 3" in only_line(in_process("evaluate", "--workdir=p", "--member=9"))


def test_taken_out_it_trains_on_to_the_bits_of_a_single_run(
    folder: Path, in_process: Command, tmp_path: Path
) -> None:
    done = in_process("take_out", "--workdir=p", "--member=1", "--out=runs/one")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == "Member 1 of p, at step 10 of 10, in runs/one"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]
    taken = gan_jax.load("runs/one")
    whole = gan_jax.load_population(folder)[1]
    assert taken.config == dataclasses.replace(
        whole.config, workdir="runs/one", dataset=str(tmp_path / "own.npz")
    )
    python, _, module, *flags = shlex.split(second.split(": ", 1)[1])
    assert (python, module) == ("python", "gan_jax.train")
    done = in_process("train", *flags)
    assert done.returncode == 0, done.stderr
    assert "resuming at step 10 of 20 steps" in done.stdout
    rows = [
        json.loads(line) for line in (tmp_path / "runs" / "one" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [(row["step"], row["batch"]) for row in rows] == [
        (5, 5),
        (10, 10),
        (15, 15),
        (20, 2),
    ]  # 18 batches
    assert all(isinstance(row["d_loss"], float) for row in rows)
    images, _ = data.load("own.npz", "train")
    [*_, single] = gan_jax.fit(dataclasses.replace(whole.config, steps=20), images)
    ours, theirs = to_arrays(gan_jax.load("runs/one").state), to_arrays(single.state)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert "a single run and no population: leave --member out" in only_line(
        in_process("sample", "--workdir=runs/one", "--member=0", "--out=c.npz")
    )
    for flags, words in (
        (["--workdir=p", "--member=1", "--out=runs/one"], "--out=runs/one is there already"),
        (["--workdir=p", "--out=runs/two"], "say which member, from 0 to 3"),
        (["--workdir=runs/one", "--out=runs/two"], "holds a single run already"),
        (["--workdir=p", "--member=1", "--out=own.npz/two"], "--out=own.npz/two cannot be written"),
    ):
        assert words in only_line(in_process("take_out", *flags))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


def test_a_single_run_is_no_population(folder: Path) -> None:
    gan_jax.take_out.take_out(folder, 0, folder.parent / "one")
    with pytest.raises(UserError, match="holds a single run and no population: use `load`"):
        gan_jax.load_population(folder.parent / "one")


def test_a_population_whose_config_was_edited_is_refused_and_nothing_is_drawn(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    values["members"][1]["seed"] = 7
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="made with other values than those in"):
        gan_jax.load(folder, member=1)

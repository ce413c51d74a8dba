"""The commands from end to end: train, kill, resume to the bit, sample, and every kind of bad input."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax import config, data, plugins, report, storage, train, training
from gan_jax.checkpoint import Checkpoints
from gan_jax.errors import UserError
from gan_jax.evaluation import Evaluator
from gan_jax.loading import load
from gan_jax.objectives import OBJECTIVES
from tests.conftest import Start, alone, few_of_mnist

Command = Callable[..., subprocess.CompletedProcess[str]]
Refuse = Callable[..., None]

MLP = ("--model=mlp", "--penalty")
# One system for most tests: what one compiled the next has from the cache. All kinds of state but BatchNorm's.
SYSTEM = ("--model=mlp", "--loss=cross_entropy", "--spectral_norm", "--batch_size=16", "--ema=0.9")
QUICK = (*SYSTEM, "--log_every=10", "--checkpoint_every=20")
# With momentum a difference in rounding grows slower.
CALM = (*QUICK, "--beta1=0.5")
# Not on the fastest machine does it end before it is stopped: what it prints fills the pipe, and it waits.
ENDLESS = ("--epochs=60",)


def arrays(folder: Path, step: int) -> dict[str, np.ndarray]:
    """All that a checkpoint holds."""
    from orbax.checkpoint import v1 as ocp

    return {k: np.asarray(v) for k, v in ocp.load((folder / "checkpoints" / str(step)).absolute()).items()}


def rows(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "steps_per_s"} for row in found]


def assert_same_run(one: Path, other: Path, step: int) -> None:
    first, second = arrays(one, step), arrays(other, step)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
    assert rows(one) == rows(other)
    assert (one / "samples.png").read_bytes() == (other / "samples.png").read_bytes()


def assert_refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def refuse(in_process: Command) -> Refuse:
    """Runs a command in this process, in tmp_path, and checks that it is refused in one line."""
    return lambda name, args, *words: assert_refused(in_process(name, *args), *words)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mnist: np.ndarray) -> Path:
    """A folder in which a run of 60 steps lies as `run`, with EMA; never changed by a test."""
    folder = tmp_path_factory.mktemp("trained")
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "gan_jax.train",
            *QUICK,
            "--steps=60",
            "--workdir=run",
        ],
        cwd=folder,
        env=alone(),
        check=True,
        timeout=600,
    )
    return folder / "run"


def test_a_run_leaves_what_it_promises(trained: Path) -> None:
    settings = json.loads((trained / "config.json").read_text())
    assert (settings["loss"], settings["batch_size"], settings["ema"]) == ("cross_entropy", 16, 0.9)
    log = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [10, 20, 30, 40, 50, 60]
    for row in log:
        assert row.keys() >= {"epoch", "d_loss", "g_loss", "real_score", "fake_score", "steps_per_s"}
        assert all(np.isfinite(value) for value in row.values())
    assert sorted(p.name for p in (trained / "samples").iterdir()) == [
        f"sample_0001_0000{n}0.png" for n in range(1, 7)
    ]
    for name in ("real.png", "samples.png", "samples/sample_0001_000060.png"):
        assert picture(trained / name).shape == (242, 242)  # torchvision's make_grid: 8 × (28 + 2) + 2
    assert picture(trained / "losses.png").shape[1] > 600
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == ["20", "40", "60"]


def test_real_png_shows_the_first_64_images(trained: Path, mnist: np.ndarray) -> None:
    real = picture(trained / "real.png")
    np.testing.assert_array_equal(real[2:30, 2:30], mnist[0, :, :, 0])
    np.testing.assert_array_equal(real[32:60, 2:30], mnist[8, :, :, 0])
    np.testing.assert_array_equal(real[212:240, 212:240], mnist[63, :, :, 0])


def test_the_tutorials_line_and_where_everything_is(command: Command, tmp_path: Path) -> None:
    done = command("train", *QUICK, "--steps=15", "--workdir=w", "--tensorboard")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1].startswith("Epoch [1/1], Step [10/15], D Loss: 0.")
    assert ", G Loss: " in lines[1]
    assert lines[2].startswith("Epoch [1/1], Step [15/15], ")
    assert "w/samples.png" in lines[3]
    assert "python -m gan_jax.sample --workdir=w" in lines[3]
    assert list((tmp_path / "w" / "tensorboard").glob("events*"))


# The command, killed in the middle of writing step 40's checkpoint: its state is written, nothing is in its place.
KILLED = """
import os, signal
from gan_jax import cli, train

rename = os.rename

def kill(old, new, **options):
    if "40.orbax-checkpoint-tmp" in str(old):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new, **options)

os.rename = kill
cli.run(train.main)
"""


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    command: Command, tmp_path: Path, trained: Path
) -> None:
    flags = [*QUICK, "--steps=60", "--workdir=killed"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *flags],
        cwd=tmp_path,
        env=alone(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(os.listdir(tmp_path / "killed" / "checkpoints")) == ["20", "40.orbax-checkpoint-tmp"]
    assert not (tmp_path / "killed" / "samples.png").exists()
    done = command("train", *flags)
    assert done.returncode == 0, done.stderr
    assert "resuming at step 20 of 60" in done.stdout
    assert_same_run(trained, tmp_path / "killed", 60)


def test_more_steps_and_another_cadence_resume_to_the_same_bits(in_process: Command, tmp_path: Path) -> None:
    flags = (*QUICK, "--steps=60")
    assert in_process("train", *flags, "--workdir=whole").returncode == 0
    first = in_process("train", *SYSTEM, "--log_every=7", "--steps=25", "--workdir=grown")
    assert first.returncode == 0, first.stderr
    done = in_process("train", *flags, "--workdir=grown")
    assert "resuming at step 25 of 60" in done.stdout
    expected, found = arrays(tmp_path / "whole", 60), arrays(tmp_path / "grown", 60)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    again = in_process("train", *flags, "--workdir=grown")
    assert again.returncode == 0, again.stderr
    assert "resuming at step 60 of 60" in again.stdout
    assert rows(tmp_path / "grown")[-1]["step"] == 60


def test_a_target_that_is_already_past_is_refused(refuse: Refuse, tmp_path: Path, trained: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    before = contents(tmp_path / "run")
    flags = [*QUICK, "--steps=30", "--workdir=run"]
    refuse("train", flags, "at step 60, past the 30 asked for")
    assert contents(tmp_path / "run") == before


def test_a_folder_in_use_is_refused_and_can_be_sampled_from(
    refuse: Refuse, tmp_path: Path, mnist: np.ndarray, start: Start
) -> None:
    flags = (*QUICK, *ENDLESS, "--checkpoint_every=10", "--workdir=shared")
    process = start((sys.executable, "-m", "gan_jax.train", *flags), stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert any("Step [30/" in line for line in process.stdout)
    refuse("train", list(flags), "--workdir=shared is in use by another run")
    for _ in range(8):  # while checkpoints come and go
        load(tmp_path / "shared")
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=600)
    with Checkpoints(tmp_path / "shared" / "checkpoints") as checkpoints:
        assert len(checkpoints.steps) == 3
    for step in checkpoints.steps:
        load(tmp_path / "shared", step)  # all intact


def test_stopping_politely_saves_and_says_so(tmp_path: Path, mnist: np.ndarray, start: Start) -> None:
    process = start((sys.executable, "-m", "gan_jax.train", *QUICK, *ENDLESS, "--workdir=stopped"))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM, err
    last = rows(tmp_path / "stopped")[-1]["step"]
    assert f"Stopped at step {last} of 225000; rerun the same command to go on." in out
    assert str(last) in os.listdir(tmp_path / "stopped" / "checkpoints")


def test_the_device_count_is_not_in_the_checkpoint(
    command: Command, in_process: Command, tmp_path: Path
) -> None:
    whole = in_process("train", *CALM, "--steps=60", "--workdir=whole")
    assert whole.returncode == 0, whole.stderr
    first = in_process("train", *CALM, "--steps=20", "--workdir=moved", devices=8)
    assert first.returncode == 0, first.stderr
    done = command("train", *CALM, "--steps=40", "--workdir=moved", devices=1)
    assert "resuming at step 20" in done.stdout, done.stderr
    back = in_process("train", *CALM, "--steps=60", "--workdir=moved", devices=8)
    assert "resuming at step 40" in back.stdout, back.stderr
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "moved"), strict=True):
        assert one == pytest.approx(other, rel=2e-3)
    drawn = in_process("sample", "--workdir=moved", "--out=grid.png")
    assert drawn.returncode == 0, drawn.stderr


def test_keep_every_keeps_beside_the_newest_three(in_process: Command, tmp_path: Path) -> None:
    done = in_process("train", *QUICK, "--steps=140", "--keep_every=45", "--workdir=kept")
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, os.listdir(tmp_path / "kept" / "checkpoints"))) == [45, 90, 120, 135, 140]


def test_evaluation_keeps_the_best_and_changes_no_bit(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = data.load  # of whose images a few will do
    monkeypatch.setattr(data, "load", lambda *args, **own: tuple(x[:2_000] for x in load(*args, **own)))
    flags = (
        *MLP,
        "--loss=hinge",
        "--batch_size=200",
        "--log_every=5",
        "--epochs=5",
        "--checkpoint_every=15",  # of which the end is no multiple
    )
    plain = in_process("train", *flags, "--workdir=plain")
    assert plain.returncode == 0, plain.stderr
    better, frechet = iter([3.0, 2.0, 1.0]), Evaluator.frechet
    monkeypatch.setattr(Evaluator, "frechet", lambda *given: frechet(*given) and next(better))
    judged = in_process("train", *flags, "--workdir=judged", "--eval_every=2")
    assert judged.returncode == 0, judged.stderr
    expected, found = arrays(tmp_path / "plain", 50), arrays(tmp_path / "judged", 50)
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    scores = {
        row["step"]: value
        for row in rows(tmp_path / "judged")
        for name, value in row.items()
        if name == "frechet_distance/random-filters-0/2k-test"  # a part of MNIST has no classifier
    }
    assert scores == {20: 3.0, 40: 2.0, 50: 1.0}  # every second epoch, and the end
    best = 50
    drawn = in_process("sample", "--workdir=judged", "--checkpoint=best", "--out=best.png")
    assert drawn.stdout == f"64 samples of step {best} in best.png\n"
    assert str(best) in os.listdir(tmp_path / "judged" / "checkpoints")
    none = in_process("sample", "--workdir=plain", "--checkpoint=best", "--out=none.png")
    assert_refused(none, "plain holds no evaluated checkpoint", "--eval_every")


def test_the_images_are_hashed_and_the_nets_built_once(
    in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for module, name in (
        (train, "facts_of"), (training, "facts_of"), (train, "prepare"), (training, "prepare"),
    ):  # fmt: skip
        found = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, f=found, n=name, **kw: calls.append(n) or f(*args, **kw)
        )
    done = in_process("train", *MLP, "--loss=hinge", "--steps=1")
    assert done.returncode == 0, done.stderr
    assert sorted(calls) == ["facts_of", "prepare"]


def test_the_command_that_draws_more_works_as_it_is_printed(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.setitem(OBJECTIVES, "mine", OBJECTIVES["hinge"])  # undone afterwards
    text = "from gan_jax.objectives import OBJECTIVES\nOBJECTIVES['mine'] = OBJECTIVES['hinge']\n"
    (tmp_path / "my loss.py").write_text(text)
    done = in_process(
        "train", *MLP, "--plugin=my loss.py", "--loss=mine", "--steps=1", "--workdir=my runs/it's"
    )
    assert done.returncode == 0, done.stderr
    python, m, name, *args = shlex.split(done.stdout.splitlines()[-1].split("Draw more: ")[1])
    assert (python, m, name) == ("python", "-m", "gan_jax.sample")
    monkeypatch.setattr(plugins, "LOADED", {})  # as in another process
    done = in_process("sample", *args)
    assert (done.returncode, done.stdout) == (0, "64 samples of step 1 in more.png\n"), done.stderr


def test_too_few_images_for_the_frechet_distance_are_refused_before_training(
    in_process: Command, tmp_path: Path
) -> None:
    """They are not found out by the first evaluation, epochs later."""
    np.savez(tmp_path / "few.npz", images=np.random.default_rng(0).integers(0, 256, (120, 8, 8), np.uint8))
    done = in_process("train", *MLP, "--batch_size=16", "--dataset=few.npz", "--eval_every=1")
    assert_refused(done, "at least 65 images, and there are 60. Leave --eval_every out")
    assert not (tmp_path / "runs").exists()


def test_sample_repeats_the_runs_last_grid(command: Command, tmp_path: Path, trained: Path) -> None:
    done = command("sample", f"--workdir={trained}", "--num=64", "--out=grid.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "64 samples of step 60 in grid.png\n"
    for name in ("samples.png", "samples/sample_0001_000060.png"):
        np.testing.assert_array_equal(picture(tmp_path / "grid.png"), picture(trained / name))


def test_sample_writes_arrays_that_depend_on_the_seed_and_not_on_their_number(
    in_process: Command, tmp_path: Path, trained: Path
) -> None:
    drawn = {}
    for name, num, seed in (("a", 100, 1), ("b", 30, 1), ("c", 30, 2)):
        done = in_process(
            "sample", f"--workdir={trained}", f"--num={num}", f"--seed={seed}", f"--out={name}.npz"
        )
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / f"{name}.npz") as file:
            drawn[name] = file["images"]
    assert drawn["a"].shape == (100, 28, 28, 1)
    assert drawn["a"].dtype == np.uint8
    np.testing.assert_array_equal(drawn["a"][:30], drawn["b"])
    assert (drawn["b"] != drawn["c"]).any()
    early = in_process(
        "sample", f"--workdir={trained}", "--checkpoint=20", "--num=30", "--seed=1", "--out=d.npz"
    )
    assert early.returncode == 0, early.stderr
    assert (np.load(tmp_path / "d.npz")["images"] != drawn["b"]).any()


CONDITIONAL = (
    "--conditional",
    "--model=conv_small",
    "--spectral_norm",
    "--batch_size=16",
    "--log_every=4",
    "--checkpoint_every=4",
)


@pytest.mark.long
def test_a_conditional_convolutional_run_resumes_to_the_bit_and_draws_classes_on_demand(
    in_process: Command, refuse: Refuse, tmp_path: Path
) -> None:
    # BatchNorm's averages, spectral norm's vectors and the labels all take part.
    for name, lengths in (("whole", (12,)), ("halves", (4, 12))):
        for steps in lengths:
            done = in_process("train", *CONDITIONAL, f"--steps={steps}", f"--workdir={name}")
            assert done.returncode == 0, done.stderr
    expected, found = arrays(tmp_path / "whole", 12), arrays(tmp_path / "halves", 12)
    assert any("batch_stats" in name for name in expected)
    assert any("spectral" in name for name in expected)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    assert picture(tmp_path / "whole" / "samples.png").shape == (302, 242)  # ten rows of eight
    drawn = in_process("sample", "--workdir=whole", "--out=grid.png")
    assert drawn.stdout == "80 samples of step 12 in grid.png\n"
    np.testing.assert_array_equal(picture(tmp_path / "grid.png"), picture(tmp_path / "whole" / "samples.png"))
    for label, counts in ((None, [3] * 10), (7, [0] * 7 + [30, 0, 0])):
        flags = () if label is None else (f"--label={label}",)
        done = in_process("sample", "--workdir=whole", "--num=30", *flags, "--out=some.npz")
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / "some.npz") as file:
            assert file["images"].shape == (30, 28, 28, 1)
            np.testing.assert_array_equal(np.bincount(file["labels"], minlength=10), counts)
    with few_of_mnist():
        judged = in_process("evaluate", "--workdir=whole", "--num=100")
    assert judged.returncode == 0, judged.stderr
    assert re.search(
        r"^whole: \d+\.00% of the samples are of the class asked for", judged.stdout, re.MULTILINE
    )
    refuse("sample", ["--workdir=whole", "--label=10", "--out=a.png"], "--label=10 is not allowed", "0 to 9")
    other = [*CONDITIONAL, "--no_conditional", "--model=mlp", "--workdir=whole"]
    refuse("train", other, "model (conv_small there, mlp here)", "conditional (True there, False here)")


def test_a_label_of_an_unconditional_run_is_refused(refuse: Refuse, trained: Path) -> None:
    refuse("sample", [f"--workdir={trained}", "--label=7", "--out=a.png"], "--label needs a conditional run")


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    command: Command, in_process: Command, tmp_path: Path, trained: Path
) -> None:
    shutil.copytree(trained, tmp_path / "damaged")
    largest = max(
        (tmp_path / "damaged/checkpoints/60").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    drawn = in_process("sample", "--workdir=damaged", "--out=grid.png")
    assert drawn.returncode == 0
    assert "samples of step 40" in drawn.stdout
    assert "checkpoints/60 is damaged" in drawn.stderr
    done = command("train", *QUICK, "--steps=60", "--workdir=damaged")
    assert done.returncode == 0, done.stderr
    assert "checkpoints/60 is damaged" in done.stderr
    assert "resuming at step 40" in done.stdout
    assert_same_run(trained, tmp_path / "damaged", 60)


@pytest.mark.parametrize(
    "damage", ["empty", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("newline", "missing"))]
)
def test_all_checkpoints_damaged_is_refused_and_nothing_is_lost(
    refuse: Refuse, tmp_path: Path, trained: Path, damage: str
) -> None:
    shutil.copytree(trained, tmp_path / "gone")
    for manifest in (tmp_path / "gone" / "checkpoints").glob("*/state/manifest.ocdbt"):
        manifest.unlink() if damage == "missing" else manifest.write_text("\n" if damage == "newline" else "")
    before = contents(tmp_path / "gone")
    flags = [*SYSTEM, "--log_every=5", "--steps=90", "--workdir=gone"]
    with pytest.raises(UserError, match=r"checkpoints/20 is damaged .* no other can be used"):
        train.train(config.from_args(flags))
    assert contents(tmp_path / "gone") == before


def test_a_diverging_run_stops_and_names_step_loss_and_checkpoint(
    in_process: Command, tmp_path: Path
) -> None:
    flags = (*MLP, "--loss=least_squares", "--batch_size=64")
    slow = in_process(
        "train", *flags, "--log_every=1", "--checkpoint_every=1", "--d_learning_rate=5e3", "--workdir=wild"
    )
    fast = in_process("train", *flags, "--log_every=10", "--d_learning_rate=1e20", "--workdir=worse")
    assert_refused(fast, "error: step 1: g_loss is ", "there is no checkpoint yet", code=1)
    assert not list((tmp_path / "worse" / "checkpoints").iterdir())
    assert_refused(slow, "error: step ", "the last good checkpoint is wild/checkpoints/", code=1)
    [step] = re.findall(r"step (\d+)", slow.stderr)[:1]
    kept = sorted(map(int, os.listdir(tmp_path / "wild" / "checkpoints")))
    assert f"wild/checkpoints/{kept[-1]}." in slow.stderr
    assert kept[-1] < int(step)
    assert rows(tmp_path / "wild")[-1]["step"] <= int(step)  # the losses can still be finite


def test_another_config_is_refused_with_the_differing_fields(in_process: Command, tmp_path: Path) -> None:
    assert in_process("train", *QUICK, "--steps=10", "--workdir=w").returncode == 0
    before = contents(tmp_path / "w")
    done = in_process("train", *QUICK, "--steps=10", "--workdir=w", "--seed=1", "--loss=hinge")
    assert_refused(
        done, "loss (cross_entropy there, hinge here)", "seed (0 there, 1 here)", "another --workdir"
    )
    assert contents(tmp_path / "w") == before


def test_bad_folders_are_refused(refuse: Refuse, tmp_path: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refuse("train", [*QUICK, "--workdir=file"], "--workdir=file cannot be used")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.jsonl").write_text("mine")
    refuse("train", [*QUICK, "--workdir=other"], "other holds metrics.jsonl but no config.json")
    assert os.listdir(tmp_path / "other") == ["metrics.jsonl"]
    for name in ("checkpoints", "metrics.jsonl"):
        shutil.copytree(trained, tmp_path / f"odd-{name}", ignore=shutil.ignore_patterns(name))
    (tmp_path / "odd-checkpoints" / "checkpoints").write_text("mine")
    (tmp_path / "odd-metrics.jsonl" / "metrics.jsonl").mkdir()
    same = [*QUICK, "--steps=60"]
    refuse("train", [*same, "--workdir=odd-checkpoints"], "odd-checkpoints/checkpoints is not a folder")
    refuse("train", [*same, "--workdir=odd-metrics.jsonl"], "metrics.jsonl is not a file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    refuse("train", [*QUICK, "--workdir=broken"], "config.json cannot be read")
    refuse("train", [*QUICK, "--workdir=/proc/x"], "--workdir=/proc/x cannot be used")
    (tmp_path / "several" / "hinge").mkdir(parents=True)
    (tmp_path / "several" / "hinge" / "config.json").write_text("{}")  # a comparison's, or a run's
    refuse(
        "train",
        [*QUICK, "--workdir=several"],
        "several holds other runs, such as several/hinge, or a comparison",
    )
    assert os.listdir(tmp_path / "several") == ["hinge"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    refuse("train", [*QUICK, "--workdir=locked/run"], "--workdir=locked/run cannot be used")


def test_sampling_refuses_what_is_not_there(refuse: Refuse, tmp_path: Path, trained: Path) -> None:
    refuse("sample", ["--workdir=nowhere", "--out=a.png"], "--workdir=nowhere holds no run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((trained / "config.json").read_text())
    refuse("sample", ["--workdir=empty", "--out=a.png"], "empty holds no checkpoint yet")
    run = f"--workdir={trained}"
    refuse("sample", [run, "--out=a.jpg"], "--out=a.jpg is not allowed", ".png", ".npz")
    refuse("sample", [run, "--out=no/a.png"], "there is no folder")
    refuse("sample", [run, "--out=a.png", "--num=0"], "--num=0 is not allowed")
    refuse("sample", [run, "--out=a.png", "--num=1000000000"], "--num=1000000000 is not allowed")
    refuse("sample", [run, "--out=a.png", "--seed=-1"], "--seed=-1 is not allowed")
    refuse("sample", [run, "--out=a.png", "--checkpoint=7"], "no checkpoint of step 7", "20, 40, 60")
    refuse("sample", [run], "--out")
    assert not list(tmp_path.glob("a.*"))


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    in_process: Command, refuse: Refuse, tmp_path: Path
) -> None:
    assert_refused(in_process("train", "--batch_size=30", devices=8), "--batch_size=30", "8 devices")
    refuse("train", ["--batch_size=60008"], "--batch_size=60008", "60000 images")
    refuse("train", ["--dataset=kmnist"], "kmnist", "--data_dir")
    assert os.listdir(tmp_path) == []


def test_a_bad_command_line_is_one_line_with_exit_code_2(command: Command, tmp_path: Path) -> None:
    assert_refused(command("train", "--loss=hnge"), "Did you mean 'hinge'?")
    assert os.listdir(tmp_path) == []


def test_rows_that_a_killed_run_wrote_half_of_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [{"step": step, "epoch": 1, "d_loss": 0.5, "g_loss": 1.5} for step in (10, 20, 30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in whole) + '{"st')
    assert report.read_rows(path, 20) == whole[:2]


def test_writing_atomically_replaces(tmp_path: Path) -> None:
    path = tmp_path / "f"
    storage.write_atomically(path, "a")
    storage.write_atomically(path, "b")
    assert path.read_text() == "b"
    assert os.listdir(tmp_path) == ["f"]


def test_a_run_is_judged_from_any_folder_and_does_not_write_among_its_images(
    in_process: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--model=mlp", "--steps=2", "--batch_size=4", "--penalty"]
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (450, 8, 8, 1), np.uint8))
    assert in_process("train", "--dataset=own.npz", "--workdir=w", *flags).returncode == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    done = in_process("evaluate", "--workdir=../w", "--num=80")
    assert done.returncode == 0, done.stderr

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i}.png")
    for workdir in (folder, folder / "below", "../pictures"):
        done = in_process("train", f"--dataset={folder}", f"--workdir={workdir}", *flags)
        assert done.returncode == 2
        assert "lies among the images" in done.stderr
        assert len(list(folder.iterdir())) == 20

"""The campaign of faults in short: kills at the operations of a run, and harm to its files, each resumed and judged."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.fault_campaign import cases, damage, shim
from experiments.fault_campaign.campaign import save_window, state_of
from experiments.fault_campaign.cases import Ended, contents, fresh, run
from experiments.fault_campaign.judging import Verdict, failed, judge

CASE = "mlp hinge"
SAFE = ("same bits", "repaired", "refused")
ONE_DEVICE = "import sys, jax; every = jax.devices(); jax.devices = lambda *_: every[:1]; "
RECORD = (
    f"{ONE_DEVICE}from experiments.fault_campaign import shim; shim.arm(sys.argv[1], 'record', to=sys.argv[2]); "
    "from gan_jax import cli, train; sys.argv[:3] = ['train']; cli.run(train.main)"
)
# The command, in which something happens before a checkpoint is read, or saved.
BEFORE = f"""{ONE_DEVICE}
import os, resource
from experiments.fault_campaign import shim
from gan_jax import cli, train
from gan_jax.checkpoint import Checkpoints

def leave_two_descriptors():
    in_use = len(os.listdir("/proc/self/fd")) - 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def fill_disk():
    shim.arm(folder, "full")

happen, name, folder = globals()[sys.argv.pop(1)], sys.argv.pop(1), sys.argv.pop(1)
act = getattr(Checkpoints, name)

def late(*args, **options):
    happen()
    return act(*args, **options)

setattr(Checkpoints, name, late)
cli.run(train.main)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("campaign")


@pytest.fixture(scope="module")
def whole(folder: Path) -> cases.Result:
    """An undisturbed run, beside one at half its steps."""
    every = jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: every[:1])
        for name, steps in (("half", cases.HALF), ("whole", cases.STEPS)):
            assert run(arguments(folder, fresh(None, folder / "work" / "run"), steps)).rc == 0
            fresh(folder / "work" / "run", folder / name / "run")
    found = cases.result(folder / "whole" / "run")
    assert found is not None
    return found


def arguments(folder: Path, target: Path, steps: int = cases.STEPS) -> list[str]:
    return cases.arguments(CASE, cases.images(folder), target, steps)


def resumed(folder: Path, whole: cases.Result, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    work = folder / "work" / "run"
    every = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: every[:1])
    before, there = state_of(work), contents(work)
    ended = run(arguments(folder, work))
    return judge([ended], work, contents(work) == there, whole, before)


# Two kinds; the others in CI.
@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("flipped bit", "truncated") else pytest.param(kind, marks=pytest.mark.long)
        for kind in damage.KINDS
    ],
)
def test_harm_to_a_file_is_mended_or_said(
    kind: str, folder: Path, whole: cases.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        fresh(folder / "half" / "run", folder / "work" / "run")
        name = damage.harm(folder / "work" / "run", kind, random.Random(f"{kind} {seed}"))
        verdict = resumed(folder, whole, monkeypatch)
        assert verdict.outcome in SAFE, (name, verdict)


def test_a_kill_at_any_operation_costs_the_steps_since_the_last_checkpoint(
    folder: Path, whole: cases.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's operations on files are recorded: any first part of them is what a SIGKILL leaves."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    work, record = fresh(None, folder / "work" / "run"), folder / "record"
    subprocess.run(
        [sys.executable, "-c", RECORD, str(work), str(record), *arguments(folder, work)],
        env={**os.environ, "LD_PRELOAD": str(shim.build(folder)), "OPENBLAS_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        timeout=300,
    )
    done = shim.operations(record)
    shim.replay(done, str(work), str(fresh(None, folder / "again")))
    assert contents(folder / "again") == contents(work)
    rng, window = random.Random(0), save_window(done)
    at_first, later = range(12), range(window.stop, len(done))
    places = [rng.choice(some) for some in (at_first, window, window, window, window, later, later)]
    for at in places:
        shim.replay(done[:at], str(work), str(fresh(None, folder / "killed" / "run")))
        fresh(folder / "killed" / "run", work)
        verdict = resumed(folder, whole, monkeypatch)
        assert verdict.outcome == "same bits", (at, verdict)
        assert verdict.steps <= 2 * cases.CHECKPOINT_EVERY


@pytest.mark.long
@pytest.mark.parametrize(
    ("happens", "act", "words"),
    [
        ("leave_two_descriptors", "restore", "Too many open files"),
        ("leave_two_descriptors", "save", "Too many open files"),
        ("fill_disk", "save", "No space left on device"),
    ],
)
def test_what_the_system_has_no_more_of_is_one_line_and_it_goes_on_to_the_same_bits(
    happens: str, act: str, words: str, folder: Path, whole: cases.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    if happens == "fill_disk" and shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    preloaded = {"LD_PRELOAD": str(shim.build(folder))} if happens == "fill_disk" else {}
    work = fresh(folder / "half" / "run", folder / "work" / "run")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEFORE, happens, act, str(work), *arguments(folder, work)],
        env={**os.environ, **preloaded},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
    assert resumed(folder, whole, monkeypatch).outcome == "same bits"


def test_what_is_lost_is_told_from_what_is_safe(folder: Path, whole: cases.Result) -> None:
    """The judge is not blind: another state, silence about a damaged file, or a traceback are losses."""
    done = folder / "whole" / "run"
    fine = Ended(0, "resuming at step 20 of", "")
    assert judge([fine], done, False, whole, (20, 20)).outcome == "same bits"
    assert judge([fine], done, False, whole._replace(state="other"), (20, 20)).outcome == "lost"
    assert judge([fine], done, False, whole._replace(pictures={}), (20, 20)).outcome == "lost"
    assert judge([fine], done, False, whole._replace(rows=[]), (20, 20)).outcome == "lost"
    for rc, outcome in ((0, "lost"), (3, "repaired")):
        warned = fine._replace(rc=rc, err="warning: a\n")
        assert judge([warned], done, False, whole._replace(rows=[]), (20, 20)).outcome == outcome
        assert judge([warned], done, False, whole, (20, 20)).outcome == "repaired"
    assert judge([Ended(2, "", "error: a\n")], done, False, whole, (0, 0)).outcome == "lost"
    assert judge([Ended(2, "", "error: a\n")], done, True, whole, (0, 0)).outcome == "refused"
    assert judge([Ended(2, "", "warning: a\nerror: b\n")], done, True, whole, (0, 0)).outcome == "refused"
    assert judge([Ended(2, "", "error: a\nb\n")], done, True, whole, (0, 0)).outcome == "lost"
    assert judge([Ended(0, "training for", "")], done, False, whole, (20, 20)).outcome == "lost"
    assert failed(Ended(1, "", "Traceback (most recent call last):")) == "traceback"
    assert failed(Ended("hang", "", "")) == "hang"
    assert os.listdir(done)

"""Which checkpoints are kept, that what is restored is what was saved, damage, and readers beside a running trainer."""

import asyncio
import gc
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gan_jax import checkpoint
from gan_jax.checkpoint import Arrays, Checkpoints, NonFiniteState
from gan_jax.errors import UserError
from gan_jax.quiet import quiet

Restored = tuple[int, Arrays] | None

RNG = np.random.default_rng(0)
ARRAYS: Arrays = {
    ".step": np.array(3, np.int32),
    ".g['kernel']": RNG.normal(size=(30, 40)).astype(np.float32),
    ".key": np.array([1, 2], np.uint32),
    ".flag": np.array([True]),
}


def at(step: int) -> Arrays:
    return {**ARRAYS, ".step": np.array(step, np.int32)}


def silent(message: str) -> None:
    raise AssertionError(message)


def save(writer: Checkpoints, *steps: int, score: float | None = None) -> None:
    for step in steps:
        writer.save(at(step), step, score)
    writer.wait()


def step_of(restored: Restored) -> int:
    assert restored is not None
    step, arrays = restored
    assert arrays[".step"] == step
    return step


def assert_saved(arrays: Arrays, step: int) -> None:
    assert arrays.keys() == ARRAYS.keys()
    for name, array in at(step).items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """What other files' tests have left is no part of the garbage that is collected here, which takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints 1, 2 and 3, of which 2 is the best."""
    folder = tmp_path_factory.mktemp("three") / "c"
    with Checkpoints(folder, write=True) as writer:
        for step, score in {1: 3.0, 2: 1.0, 3: 2.0}.items():
            writer.save(at(step), step, score)
    return folder


@pytest.fixture
def copy(three: Path, tmp_path: Path) -> Path:
    return shutil.copytree(three, tmp_path / "c")


def test_what_is_restored_is_what_was_saved(three: Path) -> None:
    with Checkpoints(three) as checkpoints:
        restored = checkpoints.restore(silent)
        first = checkpoints.restore(silent, step=1)
    assert restored is not None
    assert restored[0] == 3
    assert_saved(restored[1], 3)
    assert step_of(first) == 1


def test_orbax_alone_reads_a_checkpoint_as_a_flat_dict(three: Path) -> None:
    assert_saved(checkpoint.ocp.load(three / "2"), 2)


def test_what_is_saved_may_change_while_it_is_written(tmp_path: Path) -> None:
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        checkpoints.save(arrays, 3)
        for array in arrays.values():
            array.fill(0)
        checkpoints.wait()
        restored = checkpoints.restore(silent)
    assert restored is not None
    assert_saved(restored[1], 3)


def test_the_best_is_kept_beside_the_newest_three_also_after_reopening(tmp_path: Path) -> None:
    scores = {1: 5.0, 2: 3.0, 3: None, 4: 4.0}
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(at(step), step, score)
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        assert checkpoints.best == 2
        save(checkpoints, 5, 6, 7, 8)
        assert checkpoints.steps == [2, 6, 7, 8]
        save(checkpoints, 9, score=1.0)
        assert checkpoints.best == 9
        assert checkpoints.steps == [7, 8, 9]


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_the_best_is_so_by_the_newest_judge(tmp_path: Path, factor: float) -> None:
    """As where a run is resumed once a classifier of its images was trained: its numbers are of another size."""
    with Checkpoints(tmp_path / "c", write=True, judge="a random net") as checkpoints:
        checkpoints.save(at(1), 1, 2.0)
        checkpoints.save(at(2), 2, 1.0)
    with Checkpoints(tmp_path / "c", write=True, judge="a classifier") as checkpoints:
        assert checkpoints.best == 2
        for step, score in {3: 3.0, 4: 2.0, 5: 4.0}.items():
            checkpoints.save(at(step), step, factor * score)
        save(checkpoints, 6, 7, 8)
    with Checkpoints(tmp_path / "c") as reader:
        assert (reader.best, reader.steps) == (4, [4, 6, 7, 8])


def test_without_scores_there_is_no_best_and_nothing_else_is_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        assert checkpoints.restore(silent) is None
        save(checkpoints, *range(1, 6))
        assert checkpoints.best is None
        assert checkpoints.restore(silent, step="best") is None
        assert checkpoints.steps == [3, 4, 5]


@pytest.mark.parametrize("kind", [int, np.float32])
def test_a_score_may_be_any_number_and_the_best_is_none_that_is_not_finite(
    tmp_path: Path, kind: Callable[[float], float]
) -> None:
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        save(checkpoints, 1, score=float("nan"))
        for step in range(2, 7):
            save(checkpoints, step, score=kind(step))
        assert checkpoints.best == 2
        assert checkpoints.steps == [2, 4, 5, 6]


def test_multiples_are_kept_and_a_step_may_be_saved_again(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", write=True, keep_every=4) as checkpoints:
        save(checkpoints, *range(1, 10))
        assert checkpoints.steps == [4, 7, 8, 9]
        checkpoints.save({"other": np.ones(2, np.float32)}, 9)
        checkpoints.wait()
        restored = checkpoints.restore(silent)
        assert restored is not None
        assert list(restored[1]) == ["other"]


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        with pytest.raises(NonFiniteState, match=r"\.d"):
            checkpoints.save({**ARRAYS, ".d": np.array([1, np.nan], np.float32)}, 1)
        assert checkpoints.steps == []


def test_a_half_written_checkpoint_is_none_and_is_removed_by_the_next_writer(copy: Path) -> None:
    (copy / "3").rename(copy / "3.orbax-checkpoint-tmp")
    with Checkpoints(copy) as reader:
        assert step_of(reader.restore(silent)) == 2
    assert (copy / "3.orbax-checkpoint-tmp").exists()
    with Checkpoints(copy, write=True) as writer:
        save(writer, 4)
    assert sorted(os.listdir(copy)) == ["1", "2", "4"]


def test_other_files_in_the_folder_are_no_checkpoints(copy: Path) -> None:
    for name in ("007", "²", "٣"):
        (copy / name).mkdir()
    (copy / "notes").mkdir()
    (copy / "9").write_text("mine")
    with Checkpoints(copy) as reader:
        assert reader.steps == [1, 2, 3]


def test_what_cannot_be_written_is_an_error_of_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Checkpoints(tmp_path / "c", write=True) as writer:
        shutil.rmtree(tmp_path / "c")
        (tmp_path / "c").write_text("")
        with pytest.raises(UserError, match=r"cannot be written \(NotADirectoryError: ") as raised:
            save(writer, 1)
    assert "\n" not in str(raised.value)
    assert "Traceback" not in capfd.readouterr().err


def test_a_process_that_could_not_write_ends_at_once(tmp_path: Path) -> None:
    """Orbax's thread waited for the folder that was never made, five minutes long, and the exit for the thread."""
    program = (
        "import pathlib, shutil, sys, numpy as np\n"
        "from gan_jax.checkpoint import Checkpoints\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with Checkpoints(folder, write=True) as writer:\n"
        "    shutil.rmtree(folder)\n    folder.write_text('')\n"
        "    writer.save({'a': np.ones(3)}, 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "c")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "UserError" in done.stderr


# Damage


def damage(folder: Path, rng: random.Random) -> str:
    """Does a random harm to a random file of the checkpoint; returns what, to which."""
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    content = bytearray(path.read_bytes() or b"\0")  # one of Orbax's files is empty
    kind = rng.choice(["flip", "flip", "flip", "cut", "empty", "delete", "zeros", "folder", "json"])
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        content[:] = bytes(len(content))
    elif kind == "json":
        content[:] = rng.choice([b"[]", b"{}", b"null", b"3", b'{"a": 1}', b'"x"', b"[" * 100_000])
    path.write_bytes(content[: rng.randrange(len(content))] if kind == "cut" else content)
    if kind in ("delete", "folder"):
        path.unlink()
    if kind == "folder":
        path.mkdir()
    return f"{kind} {path.relative_to(folder)}"


@pytest.mark.parametrize("seed", range(24))
def test_any_damage_falls_back_to_the_one_before_or_does_no_harm(
    copy: Path, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reader and a writer, which goes on; neither prints a thing. None is told damaged that is whole."""
    harm = damage(copy / "3", random.Random(seed))
    told: list[str] = []
    hook, filters = sys.unraisablehook, list(logging.getLogger().filters)
    with Checkpoints(copy) as reader:
        restored = reader.restore(told.append)
        assert reader.best == 2, harm
    assert restored is not None
    assert_saved(restored[1], restored[0])
    assert restored[0] == (2 if told else 3), harm
    with Checkpoints(copy, write=True) as writer:
        assert step_of(writer.restore(told.append)) == restored[0]
        writer.set_aside_after(restored[0])
        save(writer, 4, 5, 6)
        assert writer.steps == [2, 4, 5, 6], harm  # 2 is the best
    assert os.path.exists(copy.parent / "damaged" / "3") == bool(told)
    gc.collect()
    assert capfd.readouterr().err == "", harm
    assert sys.unraisablehook is hook
    assert logging.getLogger().filters == filters


def test_a_file_in_place_of_the_folder_for_damaged_ones_is_said(copy: Path) -> None:
    (copy.parent / "damaged").write_text("a user's own")
    with Checkpoints(copy, write=True) as writer:
        with pytest.raises(UserError, match=r"damaged is a file, .* move it"):
            writer.set_aside_after(2)
        assert writer.steps == [1, 2, 3]


def test_a_flipped_bit_in_an_older_ones_metadata_is_that_ones_alone(copy: Path) -> None:
    metadata = copy / "1" / "_CHECKPOINT_METADATA"
    metadata.write_text(
        metadata.read_text().replace('"init_timestamp_nsecs": 1', '"init_timestamp_nsecs": q')
    )
    with pytest.raises(json.JSONDecodeError):
        json.loads(metadata.read_text())
    with Checkpoints(copy) as reader:
        assert (reader.steps, reader.best) == ([1, 2, 3], 2)
        assert step_of(reader.restore(silent)) == 3
        with pytest.raises(UserError, match=r"c/1 is damaged .* no other can be used"):
            reader.restore(silent, step=1)
    with Checkpoints(copy, write=True) as writer:
        save(writer, 4, 5)
        assert writer.steps == [2, 3, 4, 5]


def test_our_own_bugs_are_no_damage(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arrays: Arrays) -> str:
        raise TypeError("a bug")

    monkeypatch.setattr(checkpoint, "sha256_of_arrays", broken)
    with Checkpoints(three) as reader, pytest.raises(TypeError, match="a bug"):
        reader.restore(silent)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(24, "Too many open files"),
        ValueError("PERMISSION_DENIED: Error opening"),
    ],
)
def test_what_may_not_be_read_is_not_damaged(
    three: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(path: Path) -> Arrays:
        raise error

    monkeypatch.setattr(checkpoint.ocp, "load", refused)
    expected = re.escape(f"c/3 cannot be read ({type(error).__name__}: {error})")
    with Checkpoints(three) as reader, pytest.raises(UserError, match=expected):
        reader.restore(silent)


def test_importing_it_silences_nobody() -> None:
    program = (
        "import logging, sys; names = [None, 'absl', 'asyncio', 'jax']; hook = sys.unraisablehook\n"
        "import absl.logging, jax, orbax.checkpoint\n"
        "states = lambda: [(x.level, x.filters, x.disabled) for x in map(logging.getLogger, names)]\n"
        "before = repr(states()); import gan_jax.checkpoint; assert repr(states()) == before\n"
        "assert sys.unraisablehook is hook"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_others_are_heard_meanwhile(
    three: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def load(path: Path) -> Arrays:
        logging.getLogger("asyncio").error("a notebook's")
        logging.getLogger().warning("anyone's")
        Loud(ZeroDivisionError("of another's"))
        raise ValueError("damaged")

    async def notebooks() -> None:  # a loop runs in a notebook's thread
        with Checkpoints(three) as reader, pytest.raises(UserError, match="is damaged"):
            reader.restore(silent, step=1)

    level = logging.getLogger("asyncio").level
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_value))
    hook = sys.unraisablehook
    monkeypatch.setattr(checkpoint.ocp, "load", load)
    asyncio.run(notebooks())
    assert [record.getMessage() for record in caplog.records] == ["a notebook's", "anyone's"]
    assert [str(error) for error in heard] == ["of another's"]
    assert sys.unraisablehook is hook
    assert logging.getLogger("asyncio").level == level


class Loud:
    """What raises where nobody can catch it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


def test_others_are_heard_while_a_run_writes_and_all_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole training long: another library's records, its unraisable errors, even of a closed event loop."""
    heard: list[object] = []
    names = (None, "absl", "asyncio", "another")
    states = lambda: [(x.level, list(x.filters), x.disabled) for x in map(logging.getLogger, names)]
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_value))
    hook, before = sys.unraisablehook, states()
    with Checkpoints(tmp_path / "c", write=True) as writer:
        save(writer, 1)
        for name in names:
            logging.getLogger(name).warning("of %s", name)
        try:
            raise ValueError("tensorstore is another's word too")
        except ValueError:
            logging.getLogger("another").exception("failed")
        Loud(ZeroDivisionError("a"))
        Loud(RuntimeError("Event loop is closed"))
    assert [r.getMessage() for r in caplog.records] == [*(f"of {name}" for name in names), "failed"]
    assert [str(error) for error in heard] == ["a", "Event loop is closed"]
    assert (sys.unraisablehook, states()) == (hook, before)


def test_errors_of_the_arrays_beside_the_one_that_failed_are_dropped_only_while_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As asyncio logs them, when it collects tasks; of an emptied file's TensorStore does not say its own name."""
    log = lambda text: logging.getLogger("asyncio").error("never retrieved", exc_info=ValueError(text))
    with quiet():
        log("DATA_LOSS: Error reading shard entry {0}: Existing shard has size of 0 bytes")
        log("NOT_FOUND: [tensorstore_spec='{}']")
        log("another's")
    log("DATA_LOSS: Error reading shard entry")
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == [
        "another's",
        "DATA_LOSS: Error reading shard entry",
    ]


@pytest.mark.parametrize("failing", ["save", "read"])
def test_what_fails_puts_the_hook_and_the_filters_back(
    copy: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space")

    hook, filters = (
        sys.unraisablehook,
        [list(logging.getLogger(n).filters) for n in (None, "absl", "asyncio")],
    )
    if failing != "save":
        monkeypatch.setattr(checkpoint.ocp, "load", fail)

    def go_on() -> None:
        with Checkpoints(copy, write=True) as writer:
            if failing != "read":
                monkeypatch.setattr(checkpoint.ocp, "save_async", fail)
                save(writer, 4)
            writer.restore(silent)

    with pytest.raises(UserError, match=r"cannot be (written|read)"):
        go_on()
    assert sys.unraisablehook is hook
    assert filters == [list(logging.getLogger(n).filters) for n in (None, "absl", "asyncio")]


def test_two_that_overlap_put_back_what_was_there(copy: Path, tmp_path: Path) -> None:
    """As a thread that trains and one that trains or reads: the first to begin is the first to end."""
    hook, filters = sys.unraisablehook, list(logging.getLogger().filters)
    one, other = Checkpoints(copy, write=True), Checkpoints(tmp_path / "other", write=True)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert sys.unraisablehook is not hook
    other.__exit__(None, None, None)
    assert sys.unraisablehook is hook
    assert logging.getLogger().filters == filters


def test_a_hook_that_was_set_meanwhile_stays(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    with Checkpoints(copy, write=True):
        ours = sys.unraisablehook
        theirs = lambda unraisable: ours(unraisable)
        sys.unraisablehook = theirs
    assert sys.unraisablehook is theirs
    Loud(RuntimeError("Event loop is closed"))  # through ours, which now lets all pass
    assert len(heard) == 1


# A reader beside a running trainer


def after_listing(monkeypatch: pytest.MonkeyPatch, folder: Path, happen: Callable[[], object]) -> list[str]:
    """Has something happen once, right after `folder` was listed; what was listed is put into the result."""
    listdir, listed = os.listdir, []

    def stale(path: str | Path = ".") -> list[str]:
        found = listdir(path)
        if Path(path) == folder and not listed:
            listed.extend(found)
            happen()
        return found

    monkeypatch.setattr(os, "listdir", stale)
    return listed


def before_loading(monkeypatch: pytest.MonkeyPatch, happen: Callable[[int], object]) -> list[int]:
    """Has something happen each time that a checkpoint is about to be read; the result lists their steps."""
    load, tried = Checkpoints._load, []

    def late(self: Checkpoints, step: int) -> Arrays:
        tried.append(step)
        happen(step)
        return load(self, step)

    monkeypatch.setattr(Checkpoints, "_load", late)
    return tried


@pytest.mark.parametrize(("step", "found"), [(None, 7), ("best", 4), (2, None)])
def test_what_is_deleted_after_it_was_listed_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: checkpoint.Step, found: int | None
) -> None:
    def go_on(_: int) -> None:
        if writer.steps == [1, 2, 3]:
            save(writer, 4, score=1.0)
            save(writer, 5, 6, 7)

    with Checkpoints(tmp_path / "c", write=True) as writer, Checkpoints(tmp_path / "c") as reader:
        save(writer, 1, score=5.0)
        save(writer, 2, 3)
        tried = before_loading(monkeypatch, go_on)
        if found is None:
            with pytest.raises(UserError, match=r"no checkpoint of step 2 in .*; there are: 4, 5, 6, 7\.$"):
                reader.restore(silent, step=step)
        else:
            assert step_of(reader.restore(silent, step=step)) == found
            assert tried == [{7: 3, 4: 1}[found], found]


def test_the_best_is_not_missed_while_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced() -> None:
        """The new best is finished, and of the old one, which is being deleted, the score is gone."""
        save(writer, 3, score=1.0)
        (tmp_path / "c" / "1" / "_CHECKPOINT_METADATA").unlink()

    with Checkpoints(tmp_path / "c", write=True, keep_every=1) as writer:
        save(writer, 1, score=2.0)
        save(writer, 2, score=3.0)
        listed = after_listing(monkeypatch, tmp_path / "c", replaced)
        with Checkpoints(tmp_path / "c") as reader:
            assert step_of(reader.restore(silent, step="best")) == 3
        assert sorted(listed) == ["1", "2"]


@pytest.mark.parametrize("deleted", [True, False])
def test_half_a_checkpoint_is_being_deleted_or_damaged(
    copy: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    def rest(*_: object) -> None:
        if deleted:
            shutil.rmtree(copy / "1", ignore_errors=True)

    (copy / "1" / "state" / "manifest.ocdbt").unlink()
    monkeypatch.setattr("gan_jax.quiet.gc.collect", rest)
    with Checkpoints(copy) as reader:
        expected = r"no checkpoint of step 1 in .*: 2, 3" if deleted else r"c/1 is damaged \(ValueError"
        with pytest.raises(UserError, match=expected):
            reader.restore(silent, step=1)
        assert step_of(reader.restore(silent)) == 3


def test_a_trainer_that_is_faster_than_the_reader_is_not_raced_for_ever(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that the reader has found the newest checkpoint, that one is deleted for another."""
    monkeypatch.setattr(checkpoint, "TRIES", 4)
    tried = before_loading(monkeypatch, lambda step: (copy / str(step)).rename(copy / str(step + 1)) and None)
    with Checkpoints(copy) as reader, pytest.raises(UserError, match="deleted faster than they can be read"):
        reader.restore(silent)
    assert tried == [3, 4, 5, 6]


def test_damage_is_told_once_though_a_trainer_goes_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def go_on(_: int) -> None:
        if tried == [2, 1]:  # the trainer starts anew, and finishes one that is as damaged
            shutil.copytree(copy / "2", copy / "3")

    shutil.rmtree(copy / "3")
    for step in (1, 2):
        (copy / str(step) / "state" / "manifest.ocdbt").write_bytes(b"")
    tried = before_loading(monkeypatch, go_on)
    with Checkpoints(copy) as reader, pytest.raises(UserError, match=r"c/1 is damaged .* no other"):
        reader.restore(told.append)
    assert tried == [2, 1, 3, 2, 1]
    assert [message.split("checkpoint ")[1].split(" is damaged")[0][-3:] for message in told] == [
        "c/2",
        "c/3",
    ]

"""Which checkpoints are kept, that what is restored is what was saved, and readers beside a running trainer."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import checkpoint, devices, state
from gan_jax.checkpoint import Checkpoints, NonFiniteState
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.state import GanState

Small = Callable[..., Config]


@pytest.fixture
def gan(small: Small) -> GanState:
    return state.init(small(ema=0.5), (28, 28, 1), 100)


def at(gan: GanState, step: int) -> GanState:
    return gan.replace(step=jnp.int32(step))


def silent(message: str) -> None:
    raise AssertionError(message)


def test_what_is_restored_is_what_was_saved(gan: GanState, tmp_path: Path) -> None:
    everywhere = devices.replicate(gan, jax.devices())
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        checkpoints.save(everywhere)
    like = jax.eval_shape(lambda: gan)
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(like, warn=silent)
    assert restored is not None
    assert jax.tree.structure(restored) == jax.tree.structure(gan)
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(gan.key))
    for a, b in zip(
        jax.tree.leaves(restored.replace(key=0)), jax.tree.leaves(gan.replace(key=0)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def test_the_best_is_kept_beside_the_newest_three_also_after_reopening(gan: GanState, tmp_path: Path) -> None:
    scores = {1: 5.0, 2: 3.0, 3: None, 4: 4.0}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step, score in scores.items():
            checkpoints.save(at(gan, step), score)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.best == 2
        for step in range(5, 9):
            checkpoints.save(at(gan, step))
        checkpoints.wait()
        assert checkpoints.steps == [2, 6, 7, 8]
        checkpoints.save(at(gan, 9), 1.0)
        checkpoints.wait()
        assert checkpoints.best == 9


def test_without_scores_there_is_no_best_and_nothing_else_is_kept(gan: GanState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(gan, warn=silent) is None
        for step in range(1, 6):
            checkpoints.save(at(gan, step))
        checkpoints.wait()
        assert checkpoints.best is None
        assert checkpoints.steps == [3, 4, 5]


def test_what_is_not_finite_is_not_kept(gan: GanState, tmp_path: Path) -> None:
    broken = gan.replace(d_params=jax.tree.map(lambda p: p.at[0].set(jnp.nan), gan.d_params))
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(NonFiniteState, match="d_params"):
            checkpoints.save(broken)
        assert checkpoints.steps == []


# A reader beside a running trainer


def save(writer: Checkpoints, gan: GanState, *steps: int, score: float | None = None) -> None:
    for step in steps:
        writer.save(at(gan, step), score)
    writer.wait()


def step_of(restored: GanState | None) -> int:
    assert restored is not None
    return int(restored.step)


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


def test_what_is_deleted_after_it_was_listed_was_not_there(gan: GanState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", write=True) as writer:
        save(writer, gan, 1, score=5.0)
        save(writer, gan, 2, 3)
        readers = [Checkpoints(tmp_path / "c") for _ in range(3)]
        save(writer, gan, 4, score=1.0)
        save(writer, gan, 5, 6, 7)
        newest, best, asked = readers
        for reader in readers:
            assert (reader.steps, reader.best) == ([1, 2, 3], 1)
        assert sorted(os.listdir(tmp_path / "c")) == ["4", "5", "6", "7"]
        with newest, best, asked:
            assert step_of(newest.restore(gan, silent)) == 7
            assert step_of(best.restore(gan, silent, step="best")) == 4
            with pytest.raises(UserError, match=r"no checkpoint of step 2 in .*; there are: 4, 5, 6, 7\.$"):
                asked.restore(gan, silent, step=2)


@pytest.mark.parametrize("failures", [2, 99])
def test_a_list_that_cannot_be_read_is_read_again_and_not_for_ever(
    gan: GanState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """What Orbax raises if a checkpoint goes between its listing of the folder and its look at each."""
    with Checkpoints(tmp_path / "c", write=True) as writer:
        save(writer, gan, 1)
    kinds = (FileNotFoundError, NotADirectoryError) * failures
    stale = iter([kind(2, "gone", str(tmp_path / "c" / "0")) for kind in kinds[:failures]])
    open_folder = checkpoint.ocp.training.Checkpointer

    def open_late(*args: object, **options: object) -> object:
        for error in stale:
            raise error
        return open_folder(*args, **options)

    monkeypatch.setattr(checkpoint.ocp.training, "Checkpointer", open_late)
    if failures > checkpoint.TRIES:
        with pytest.raises(OSError, match="gone"):
            Checkpoints(tmp_path / "c")
    else:
        with Checkpoints(tmp_path / "c") as reader:
            assert step_of(reader.restore(gan, silent)) == 1


def test_the_best_is_not_missed_while_another_takes_its_place(
    gan: GanState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced() -> None:
        """The new best is finished, and of the old one, which is being deleted, the score is gone."""
        save(writer, gan, 3, score=1.0)
        shutil.rmtree(tmp_path / "c" / "1" / "metrics")

    with Checkpoints(tmp_path / "c", write=True, keep_every=1) as writer:
        save(writer, gan, 1, score=2.0)
        save(writer, gan, 2, score=3.0)
        listed = after_listing(monkeypatch, tmp_path / "c", replaced)
        with Checkpoints(tmp_path / "c") as reader:
            assert sorted(listed) == ["1", "2"]
            assert (reader.steps, reader.best) == ([1, 2], 2)
            assert step_of(reader.restore(gan, silent, step="best")) == 3


@pytest.mark.parametrize("deleted", [True, False])
def test_half_a_checkpoint_is_being_deleted_or_damaged(
    gan: GanState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if deleted and now[0] > 1:
            shutil.rmtree(tmp_path / "c" / "1", ignore_errors=True)

    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    with Checkpoints(tmp_path / "c", write=True, keep_every=1) as writer:
        save(writer, gan, 1, 2, 3, 4)
        (tmp_path / "c" / "1" / "_CHECKPOINT_METADATA").unlink()
        with Checkpoints(tmp_path / "c") as reader:
            expected = r"no checkpoint of step 1 in .*: 2, 3, 4" if deleted else r"c/1 is damaged \(KeyError"
            with pytest.raises(UserError, match=expected):
                reader.restore(gan, silent, step=1)
            assert step_of(reader.restore(gan, silent)) == 4


def test_a_trainer_that_is_faster_than_the_reader_is_not_raced_for_ever(
    gan: GanState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that the reader has found the newest checkpoint, that one is deleted for another."""
    monkeypatch.setattr(checkpoint, "TRIES", 4)
    load, tried = Checkpoints._load, []

    def late(self: Checkpoints, step: int, like: GanState) -> GanState:
        tried.append(step)
        (tmp_path / "c" / str(step)).rename(tmp_path / "c" / str(step + 1))
        return load(self, step, like)

    with Checkpoints(tmp_path / "c", write=True) as writer:
        save(writer, gan, 1)
    with Checkpoints(tmp_path / "c") as reader:
        monkeypatch.setattr(Checkpoints, "_load", late)
        with pytest.raises(UserError, match="deleted faster than they can be read"):
            reader.restore(gan, silent)
    assert tried == [1, 2, 3, 4]


def test_damage_is_told_once_though_a_trainer_goes_on(
    gan: GanState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    load, tried = Checkpoints._load, []

    def read(self: Checkpoints, step: int, like: GanState) -> GanState:
        tried.append(step)
        if tried == [2, 1]:  # the trainer starts anew, and finishes one that is as damaged
            shutil.copytree(tmp_path / "c" / "2", tmp_path / "c" / "3")
        return load(self, step, like)

    with Checkpoints(tmp_path / "c", write=True) as writer:
        save(writer, gan, 1, 2)
    for step in (1, 2):
        (tmp_path / "c" / str(step) / "state" / "manifest.ocdbt").write_bytes(b"")
    monkeypatch.setattr(Checkpoints, "_load", read)
    with Checkpoints(tmp_path / "c") as reader, pytest.raises(UserError, match=r"c/1 is damaged .* no other"):
        reader.restore(gan, told.append)
    assert tried == [2, 1, 3, 2, 1]
    assert [message.split("checkpoint ")[1].split(" is damaged")[0][-3:] for message in told] == [
        "c/2",
        "c/3",
    ]

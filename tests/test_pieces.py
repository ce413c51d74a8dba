"""Chunks of slow steps run in pieces, and a run that is asked to stop ends after one."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import devices, loop, pieces, population_run, train
from gan_jax.config import Config
from gan_jax.pieces import Pieces
from gan_jax.population import Population
from gan_jax.population_run import train_population
from gan_jax.state import to_arrays
from gan_jax.stopping import Stopped

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), np.uint8)
Small = Callable[..., Config]
Bits = dict[str, np.ndarray]


def trained(config: Config) -> tuple[list[dict[str, float]], Bits]:
    chunks = list(gan_jax.fit(config, IMAGES))
    return [gan.metrics for gan in chunks], to_arrays(chunks[-1].state)


def assert_same(one: Bits, other: Bits) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_the_pieces_of_a_chunk_give_the_bits_of_the_whole(
    small: Small, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(steps=15, log_every=5, ema=0.9)
    with monkeypatch.context() as patch:
        patch.setattr(devices, "needs_known_length", lambda device: True)  # an accelerator's chunks are whole
        metrics, state = trained(config)
    monkeypatch.setattr(pieces, "SECONDS", seconds)
    cut_metrics, cut_state = trained(config)
    assert cut_metrics == metrics
    assert_same(cut_state, state)


def test_a_piece_is_as_long_as_its_steps_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lengths = [0.0], []

    def chunk(state: int, data: None, begin: int, stop: int) -> tuple[int, dict[str, np.ndarray]]:
        lengths.append(stop - begin)
        clock[0] += 30.0 * (begin == 0) + 0.5 * (stop - begin)  # compiling takes 30 s
        return state, {"d_loss": np.arange(begin, begin + 40)}

    monkeypatch.setattr(pieces.time, "perf_counter", lambda: clock[0])
    run = Pieces(chunk, jax.devices(), lambda: False).run
    _, columns, stop = run(0, None, 0, 25)
    assert lengths == [1, 1, 10, 10, 3]
    assert (stop, list(columns["d_loss"])) == (25, list(range(25)))
    lengths.clear()
    run(0, None, 25, 32)
    assert lengths == [7]


def test_a_run_that_is_stopped_within_a_chunk_goes_on_to_the_same_bits(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES)
    monkeypatch.setattr(pieces, "SECONDS", 1e-9)  # a step a piece
    settings = {"steps": 12, "log_every": 12, "dataset": str(tmp_path / "own.npz")}
    whole, cut = (small(**settings, workdir=str(tmp_path / name)) for name in ("whole", "cut"))
    train.train(whole)

    class Received(list[int]):
        """Signal 15 arrives when a piece's end is looked at for the second time."""

        def __bool__(self) -> bool:
            self.append(15)
            return len(self) > 1

    with monkeypatch.context() as patch:
        patch.setattr(train, "signals", lambda tell: contextlib.nullcontext(Received()))
        with pytest.raises(Stopped, match=r"Stopped at step 2 of 12"):
            train.train(cut)
    train.train(cut)
    states = [to_arrays(gan_jax.load(path).state) for path in (whole.workdir, cut.workdir)]
    assert_same(*states)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [2, 12]


def test_a_slow_chunks_speed_is_its_own(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES)
    monkeypatch.setattr(pieces, "SECONDS", 1e-9)
    clock, seconds_a_step = [0.0], {0: 1.0, 4: 2.0, 8: 8.0}  # from these steps on
    original = devices.chunk

    def chunk(*given: Any) -> Any:
        run = original(*given)

        def slowly(state: Any, images: Any, begin: int, stop: int) -> Any:
            clock[0] += (stop - begin) * seconds_a_step[begin // 4 * 4]
            return run(state, images, begin, stop)

        return slowly

    monkeypatch.setattr(devices, "chunk", chunk)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    train.train(
        small(steps=12, log_every=4, dataset=str(tmp_path / "own.npz"), workdir=str(tmp_path / "run"))
    )
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [row["steps_per_s"] for row in rows] == [1.0, 0.5, 0.12]

    # A chunk that is cut after one that is not: the first is read when both are done.
    clock[0], seconds_a_step = 0.0, dict.fromkeys(range(0, 12, 4), 1.0)
    monkeypatch.setattr(pieces, "SECONDS", 2.0)
    monkeypatch.setattr(pieces, "time", loop.time)
    settings = {"steps": 12, "log_every": 4, "checkpoint_every": 6, "dataset": str(tmp_path / "own.npz")}
    train.train(small(**settings, workdir=str(tmp_path / "other")))
    rows = map(json.loads, (tmp_path / "other" / "metrics.jsonl").read_text().splitlines())
    assert [(row["step"], row["steps_per_s"]) for row in rows] == [(4, 1.0), (6, 1.0), (8, 1.0), (12, 1.0)]


def members(small: Small, **fields: Any) -> list[Config]:
    """Three; the second diverges in its first steps."""
    config = small(steps=20, log_every=10, optimizer="rmsprop", d_learning_rate=1e-3, **fields)
    return [config, dataclasses.replace(config, g_learning_rate=1e30), dataclasses.replace(config, seed=1)]


@pytest.mark.parametrize("start_late", [False, True])
def test_the_pieces_of_a_populations_chunk_give_the_bits_of_the_whole(
    small: Small, start_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = members(small)
    if start_late:  # the one that diverges does so in the second chunk, and goes back to its begin
        calm = [dataclasses.replace(c, g_learning_rate=1e-3, steps=10) for c in configs]
        *_, start = gan_jax.fit_population(calm, IMAGES)
    else:
        start = None
    found: list[Population] = []
    for seconds in (1e9, 1e-9):
        monkeypatch.setattr(pieces, "SECONDS", seconds)
        *_, last = gan_jax.fit_population(configs, IMAGES, start=start)
        found.append(last)
    whole, cut = found
    assert whole.diverged.tolist() == cut.diverged.tolist()
    assert whole.members.stands.tolist()[:3] == [20, 10 * start_late, 20]
    assert (whole.diverged >= 0).tolist() == [False, True, False]
    assert_same(to_arrays(whole.real_members()), to_arrays(cut.real_members()))
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(values, cut.metrics[name])


def test_a_population_that_is_stopped_within_a_chunk_drops_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = members(small, checkpoint_every=100)
    monkeypatch.setattr(pieces, "SECONDS", 1e-9)

    class Received(list[int]):
        """Signal 15 arrives when it is looked at for so many times."""

        def __init__(self, times: int) -> None:
            super().__init__()
            self.times = times

        def __bool__(self) -> bool:
            self.append(15)
            return len(self) > self.times

    # Each of the ten pieces of a chunk but the last is followed by a look, and each chunk by another.
    for times, step in ((3, 0), (14, 10)):
        with monkeypatch.context() as patch:
            patch.setattr(
                population_run, "signals", lambda words, n=times: contextlib.nullcontext(Received(n))
            )
            with pytest.raises(Stopped, match=rf"Stopped at step {step} of 20"):
                train_population(tmp_path / "cut", configs, IMAGES, warn=pytest.fail)
    steps = [json.loads(x)["step"] for x in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [10]
    # At the end as well: what follows may be another system's turn, hours of it.
    received: list[int] = []
    arrives = lambda population: received.append(15) if population.step == 20 else None
    with monkeypatch.context() as patch:
        patch.setattr(population_run, "signals", lambda words: contextlib.nullcontext(received))
        with pytest.raises(Stopped, match="Stopped at step 20 of 20"):
            train_population(tmp_path / "cut", configs, IMAGES, warn=pytest.fail, show=arrives)
    cut = train_population(tmp_path / "cut", configs, IMAGES, warn=pytest.fail)
    whole = train_population(tmp_path / "whole", configs, IMAGES, warn=pytest.fail)
    assert_same(to_arrays(cut.real_members()), to_arrays(whole.real_members()))
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("cut", "whole")]
    assert logs[0] == logs[1]

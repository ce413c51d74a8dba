"""The experiment that times the compared systems: its arithmetic, and every one of them really trains in each round."""

from collections.abc import Iterator

import numpy as np
import pytest
from kept import registries_kept
from pages import CHINESE, EXPERIMENTS, README, ROOT

import gan_jax
from experiments import minutes, population_cost
from experiments.minutes import COMPARED, Options, Timed, measure, table
from gan_jax.config import Config
from gan_jax.errors import UserError


def test_minutes_are_those_of_the_median_step_at_the_full_length() -> None:
    timed = Timed(30_000, [0.012, 0.008, 0.009])
    assert timed.minutes == pytest.approx(4.5)
    assert table({"default": timed}).splitlines()[-1] == "| default | 30,000 | 9 [8, 12] | 4.5 |"


def test_all_train_in_every_round_on_as_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(population_cost, "now", lambda: float(next(clock)))
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    labels = np.arange(64, dtype=np.int32) % 10
    systems = {
        "one": Config(preset="gan", batch_size=16, epochs=3, conditional=True),
        "two": Config(preset="gan", batch_size=8, d_steps=2, steps=7),
    }
    reached: list[int] = []
    original = minutes.fit

    def counted(config: Config, images: np.ndarray, known: np.ndarray | None) -> Iterator[gan_jax.Gan]:
        assert (known is labels) == config.conditional
        for gan in original(config, images, known):
            reached.append(gan.step)
            yield gan

    monkeypatch.setattr(minutes, "fit", counted)
    turns: list[int] = []
    found = measure(systems, 2, images, labels, lambda: turns.append(1), chunk_images=32)
    assert [timed.steps for timed in found.values()] == [12, 7]
    # By this clock a chunk takes a second: of 32 images it has two steps, each of 16 images in all.
    assert [timed.seconds for timed in found.values()] == [[0.5, 0.5], [0.5, 0.5]]
    assert len(turns) == 2
    assert reached == [2, 2, 4, 4, 6, 6]


def test_the_readmes_have_the_minutes_of_the_record() -> None:
    rows = {
        cells[0]: cells[-1]
        for line in (ROOT / "experiments" / "results" / "minutes.md").read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4 and cells[1][:1].isdigit()
    }
    assert tuple(rows) == COMPARED
    for page in (README, CHINESE):
        lines = [line.strip("|").split("|") for line in page.read_text().splitlines() if "±" in line]
        shown = {cells[0].strip(): cells[-1].strip() for cells in lines if cells[0].strip() in rows}
        assert shown == rows
    record = (ROOT / "experiments" / "results" / "minutes.md").read_text()
    assert record[record.index("| system") :] in EXPERIMENTS.read_text()


def test_the_compared_systems_are_those_that_there_are() -> None:
    with registries_kept():
        assert Options().systems == COMPARED  # each of them checked
        for systems in ((), ("default", "default")):
            with pytest.raises(UserError, match="each once"):
                Options(systems=systems)
        with pytest.raises(UserError, match="mine"):
            Options(systems=("mine",))

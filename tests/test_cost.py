"""What GANs in a folder have cost, over the processes that trained them."""

import json
from pathlib import Path

import pytest

from experiments.cost import NAME, counted, cpu_seconds


def work() -> None:
    sum(i * i for i in range(100_000))


def fail() -> None:
    work()
    raise KeyboardInterrupt


def test_it_adds_up_over_processes_that_end_or_fail(tmp_path: Path) -> None:
    folder = tmp_path / "gans"
    assert cpu_seconds(folder) == 0
    with counted(folder):
        folder.mkdir()
        work()
    first = cpu_seconds(folder)
    assert first
    with pytest.raises(KeyboardInterrupt), counted(folder):
        fail()
    both = cpu_seconds(folder)
    assert both
    assert both > first


def test_gans_that_are_at_their_end_cost_no_more(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / NAME).write_text('{"cpu_seconds": 2.5}')
    with counted(tmp_path):
        work()
    assert cpu_seconds(tmp_path) == 2.5
    with counted(tmp_path):
        work()
        (tmp_path / "checkpoints" / "6").mkdir()
    more = cpu_seconds(tmp_path)
    assert more
    assert more > 2.5
    with pytest.raises(KeyboardInterrupt), counted(tmp_path):
        fail()
    assert cpu_seconds(tmp_path) > more  # type: ignore[operator]


def test_it_is_unknown_once_a_process_was_killed(tmp_path: Path) -> None:
    with counted(tmp_path / "refused"):
        pass
    assert not (tmp_path / "refused").exists()

    assert cpu_seconds(tmp_path) is None  # a folder, and no cost: its process was killed
    (tmp_path / NAME).write_text('{"cpu_seconds": 2.5}')
    with counted(tmp_path):
        assert json.loads((tmp_path / NAME).read_text()) == {"cpu_seconds": None}  # what a kill would leave
        (tmp_path / NAME).write_text('{"cpu_seconds": null}')
    assert cpu_seconds(tmp_path) == pytest.approx(2.5, abs=1)

    (tmp_path / NAME).write_text('{"cpu_seconds": null}')
    with counted(tmp_path):
        work()
    assert cpu_seconds(tmp_path) is None

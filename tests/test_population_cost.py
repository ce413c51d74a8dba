"""The experiment that compares a member's cost with a single run's: its arithmetic, its clock, and all really train."""

import time
from pathlib import Path

import numpy as np
import pytest

from experiments import population_cost
from experiments.population_cost import Cost, Options, measure, now, table
from gan_jax.errors import UserError


def test_a_ratio_is_of_the_turns_of_one_round_and_the_table_has_the_median() -> None:
    cost = Cost(8, [0.010, 0.020, 0.010], [0.011, 0.020, 0.009], single_start=3.0, start=4.0)
    np.testing.assert_allclose(cost.ratios, [1.1, 1.0, 0.9])
    last = table([("nets", cost)]).splitlines()[-1]
    assert last == "| nets | 8 | 10 | 11 | 1.00 [0.90, 1.10] | 90.9 | 3.0 | 4.0 |"


def test_a_table_of_an_accelerator_has_microseconds_and_names_its_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cost = Cost(256, [0.000304], [0.0000123], single_start=3.0, start=4.0)
    assert "CPU milliseconds of a step" in table([("nets", cost)])
    monkeypatch.setattr(population_cost, "on_cpu", lambda: False)
    text = table([("nets", cost)])
    assert "Milliseconds of a step by the clock" in text
    assert "CPU" not in text.upper().split("ON ")[0]
    assert text.splitlines()[-1] == "| nets | 256 | 0.304 | 0.0123 | 0.04 [0.04, 0.04] | 81,300 | 3.0 | 4.0 |"


def test_waiting_costs_time_on_an_accelerator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = now()
    time.sleep(0.2)
    assert now() - begin < 0.2  # the process did next to nothing
    monkeypatch.setattr(population_cost, "on_cpu", lambda: False)
    begin = now()
    time.sleep(0.2)
    assert now() - begin >= 0.2


@pytest.mark.long
def test_every_member_and_the_single_run_train_in_every_round() -> None:
    turns: list[int] = []
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    own = {"preset": "gan", "batch_size": 16}
    options = Options(members=(1, 3), rounds=2)
    costs = list(measure(own, 2, options, images, lambda: turns.append(1)))
    assert [cost.members for cost in costs] == [1, 3]
    assert len(turns) == 4
    for cost in costs:
        assert len(cost.single) == len(cost.member) == 2
        assert min([*cost.single, *cost.member]) > 0


def test_no_population_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="one number or more"):
        Options(members=())


@pytest.mark.long
def test_the_command_has_a_line_for_each_number_of_members_and_the_committed_table_its_columns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    monkeypatch.setattr(population_cost.data, "load", lambda *_: (images, None))
    monkeypatch.setattr(
        population_cost, "SYSTEMS", {"nets": ({"preset": "gan", "batch_size": 16, "model": "mlp"}, 2)}
    )
    population_cost.main(["--members", "1", "2", "--rounds=1", f"--out={tmp_path}"])
    lines = (tmp_path / "population_cost.md").read_text().splitlines()
    assert [line.split("|")[2].strip() for line in lines[-2:]] == ["1", "2"]
    committed = Path(__file__).parent.parent / "experiments/results/population_cost.md"
    assert committed.read_text().splitlines()[:6] == lines[:6]

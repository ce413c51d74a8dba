"""The experiment that compares a member's cost with a single run's: its arithmetic, and both really train."""

import numpy as np

from experiments.population_cost import Cost, Options, measure, table


def test_a_ratio_is_of_the_turns_of_one_round_and_the_table_has_the_median() -> None:
    cost = Cost([0.010, 0.020, 0.010], [0.011, 0.020, 0.009], single_start=3.0, start=4.0)
    np.testing.assert_allclose(cost.ratios, [1.1, 1.0, 0.9])
    last = table({"nets": cost}, 8).splitlines()[-1]
    assert last == "| nets | 10.0 | 11.0 | 1.00 [0.90, 1.10] | 3.0 | 4.0 |"


def test_every_member_and_the_single_run_train_in_every_round() -> None:
    turns: list[int] = []
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    own = {"preset": "gan", "batch_size": 16}
    cost = measure(own, 2, Options(members=2, rounds=2), images, lambda: turns.append(1))
    assert len(turns) == len(cost.single) == len(cost.member) == 2
    assert min([*cost.single, *cost.member]) > 0

"""What seeds say of a number, of a difference, and of many differences at once."""

import itertools

import numpy as np
import pytest

from gan_jax.comparison.results import _verdict
from gan_jax.comparison.spread import difference, spread, told_apart


def test_spread_is_numpys() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found == (3, 3.0, pytest.approx(np.std([1, 2, 6], ddof=1)), 1.0, 6.0)
    assert spread([4.0]) == (1, 4.0, None, 4.0, 4.0)
    assert spread([]) is None


@pytest.mark.parametrize("n", [4, 10])
def test_an_interval_covers_the_true_difference_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        shared = 10 * rng.standard_normal(n)  # what both see, which pairing takes out
        a, b = shared + rng.standard_normal(n) + 2, shared + rng.standard_normal(n)
        low, high = difference(a, b).interval or (0, 0)
        covered += low <= 2 <= high
    assert 0.9 <= covered / 300 <= 0.99


def test_few_seeds_have_no_interval_and_no_winner() -> None:
    found = difference([1.0, 2.0], [3.0, 5.0])
    assert (found.n, found.mean, found.interval, found.sign) == (2, -2.5, None, 0)
    assert difference([1, 2, 3], [11, 12, 14]).sign == -1
    assert difference([1, 2, 30], [11, 12, 3]).sign == 0


def test_a_p_value_is_scipys() -> None:
    from scipy.stats import ttest_rel

    a, b = [1.0, 2.5, 3.0, 4.0], [1.5, 2.0, 5.0, 7.0]
    assert difference(a, b).p == pytest.approx(ttest_rel(a, b).pvalue)
    assert difference([1, 2, 3], [0, 1, 2]).p == 0  # the same difference at every seed
    assert difference([1, 2, 3], [1, 2, 3]).p == 1


def test_of_many_pairs_those_stay_that_holm_keeps() -> None:
    clear = difference([1, 2, 3, 4], [11.1, 12, 13.1, 14])
    fair = difference([1, 2, 3, 4], [1.3, 2.9, 3.4, 4.5])
    none = difference([1, 2, 3, 4], [2, 1, 4, 3])
    assert fair.sign == -1
    assert 0.025 < fair.p < 0.05
    assert told_apart([fair]) == [True]
    assert told_apart([none, fair, clear]) == [False, False, True]
    assert told_apart([fair, clear]) == [True, True]  # the second has all of the 5%
    assert _verdict("a", "b", fair, less=True, sure=False).endswith("a is better, taken alone")
    assert _verdict("a", "b", none, less=True, sure=False).endswith("do not tell them apart")


def test_few_families_of_equal_systems_hold_a_better_one() -> None:
    rng = np.random.default_rng(0)
    families = alone = 0
    for _ in range(40):
        systems = rng.standard_normal((6, 5))
        found = [difference(a, b) for a, b in itertools.combinations(systems, 2)]
        families += any(told_apart(found))
        alone += any(pair.sign for pair in found)
    assert families / 40 <= 0.1 < 0.3 <= alone / 40

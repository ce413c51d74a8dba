"""When chunks end, and what is due then: arithmetic, against what a loop over single steps would do."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.plan import Plan, plan

EVERY = st.integers(1, 40)
PLANS = st.builds(
    Plan,
    total=st.integers(1, 200),
    batches=st.integers(1, 30),
    d_steps=st.integers(1, 6),
    log_every=EVERY,
    checkpoint_every=EVERY,
    keep_every=st.none() | EVERY,
    eval_every=st.none() | st.integers(1, 4),
)


def stops(course: Plan) -> list[int]:
    found = [0]
    while found[-1] < course.total:
        found.append(course.stop(found[-1]))
    return found[1:]


@given(PLANS)
def test_chunks_end_at_every_multiple_of_a_cadence_and_nowhere_else(course: Plan) -> None:
    cadences = [n for n in (course.log_every, course.checkpoint_every, course.keep_every) if n]
    expected = [s for s in range(1, course.total) if any(s % n == 0 for n in cadences)] + [course.total]
    assert stops(course) == expected
    assert max(b - a for a, b in zip([0, *expected], expected, strict=False)) <= course.length


@given(PLANS)
def test_every_checkpoint_is_due_at_a_stop(course: Plan) -> None:
    saved = [s for s in stops(course) if course.saves(s)]
    cadences = [n for n in (course.checkpoint_every, course.keep_every) if n]
    assert saved == [s for s in range(1, course.total + 1) if any(s % n == 0 for n in cadences)]


@given(PLANS)
def test_epochs_and_batches_are_those_of_a_loop(course: Plan) -> None:
    updates = 0
    assert (course.epoch(0), course.batch(0)) == (0, 0)
    for step in range(1, course.total + 1):
        updates += course.d_steps  # the last of them is number `updates`, counted from 1
        assert course.epoch(step) == (updates - 1) // course.batches + 1
        assert course.batch(step) == (updates - 1) % course.batches + 1
    assert course.epochs == course.epoch(course.total)


@given(PLANS)
def test_an_evaluation_follows_every_nth_epoch_and_the_end(course: Plan) -> None:
    ends, begin = [], 0
    for stop in stops(course):
        if course.evaluates(begin, stop):
            ends.append((begin, stop))
        begin = stop
    if course.eval_every is None:
        assert ends == []
        return
    assert ends[-1][1] == course.total
    per_evaluation = course.eval_every * course.batches
    for n in range(1, course.total * course.d_steps // per_evaluation + 1):
        step = n * per_evaluation / course.d_steps  # in which the n-th of these epochs ends
        assert any(begin < step <= stop for begin, stop in ends)


def test_epochs_with_several_d_steps_end_within_their_last_epoch() -> None:
    # 468 batches: 93 steps of 5, with 3 batches left over.
    total = lambda **fields: plan(Config(**fields), 60_000).total
    assert total(batch_size=128, d_steps=5, epochs=1) == 93
    assert total(batch_size=128, d_steps=5, epochs=20) == 1872
    assert total(batch_size=128, epochs=200) == 93_600
    assert total(batch_size=60_000, d_steps=5, epochs=1) == 1
    assert total(batch_size=64, epochs=200, steps=7) == 7


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(UserError, match="--batch_size=65 is more than the 64 images"):
        plan(Config(batch_size=65), 64)
    with pytest.raises(UserError, match="are more than 2147483647 updates"):
        plan(Config(steps=2**31 - 1, d_steps=2), 64)
    assert dataclasses.replace(plan(Config(steps=2**31 - 1), 64), total=3).stop(0) == 3

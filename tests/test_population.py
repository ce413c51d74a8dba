"""Populations: each member is the GAN of its single run, whatever the others do and however many devices there are."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import devices, population, population_run, workdir
from gan_jax import members as members_
from gan_jax.config import Config
from gan_jax.errors import Diverged, UserError
from gan_jax.gan import Gan
from gan_jax.parts import facts_of
from gan_jax.population import Population, prepare_population
from gan_jax.state import to_arrays

Small = Callable[..., Config]

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), np.uint8)
LABELS = np.arange(70) % 3


@pytest.fixture
def use_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    every = jax.devices()
    assert len(every) >= 4
    return lambda count: monkeypatch.setattr(jax, "devices", lambda: every[:count])


@pytest.fixture(autouse=True)
def one_device(use_devices: Callable[[int], None]) -> None:
    use_devices(1)


@pytest.fixture
def small(small: Small) -> Small:
    return lambda **fields: small(**{"log_every": 5, **fields})


def members(config: Config, count: int = 3) -> list[Config]:
    """Configs that differ in all that they may."""
    return [
        dataclasses.replace(
            config,
            seed=7 * i,
            g_learning_rate=1e-3 * (1 + i),
            d_learning_rate=2e-3 / (1 + i),
            beta1=0.1 * i,
            penalty_weight=1.0 + i if config.penalty else None,
            ema=config.ema * (1 - i / 10),
        )
        for i in range(count)
    ]


def last(configs: list[Config], **options: Any) -> Population:
    [*_, found] = gan_jax.fit_population(configs, **{"images": IMAGES, **options})
    return found


def single(config: Config, **options: Any) -> Gan:
    [*_, gan] = gan_jax.fit(config, **{"images": IMAGES, **options})
    return gan


def assert_same_bits(one: Gan, other: Gan) -> None:
    first, second = to_arrays(one.state), to_arrays(other.state)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


SYSTEMS: dict[str, dict[str, Any]] = {
    "hinge": {"ema": 0.9, "spectral_norm": True},
    "wgan_gp": {
        "loss": "wasserstein",
        "penalty": ("gp",),
        "penalty_every": 2,
        "d_steps": 3,
        "schedule": "cosine",
    },
    "conditional": {"model": "conv_small", "conditional": True, "loss": "cross_entropy"},
}


@pytest.mark.parametrize(
    ("system", "count"),
    [("hinge", 1), ("conditional", 1), pytest.param("wgan_gp", 2, marks=pytest.mark.long)],
)
def test_a_member_has_the_bits_of_its_single_run(
    small: Small, system: str, count: int, use_devices: Callable[[int], None]
) -> None:
    config = small(steps=8, **SYSTEMS[system])
    labels = LABELS if config.conditional else None
    use_devices(count)  # three members then fill two devices unevenly
    found = last(members(config), labels=labels)
    use_devices(1)
    assert len(found) == 3
    for i, own in enumerate(members(config)):
        alone = single(own, labels=labels)
        assert found[i].config == own
        assert_same_bits(found[i], alone)
        assert found[i].metrics == pytest.approx(alone.metrics, rel=1e-6)
        assert {name: values[i] for name, values in found.metrics.items()} == found[i].metrics
    np.testing.assert_array_equal(found[-1].sample(4), found[2].sample(4))
    assert (found[0].sample(4) != found[1].sample(4)).any()


def test_members_that_share_operations_have_its_values(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(steps=7, loss="wasserstein", penalty=("r1",), penalty_every=2, d_steps=2, ema=0.9)
    taken_in_turn = last(members(config))
    monkeypatch.setattr(devices, "needs_known_length", lambda device: True)
    monkeypatch.setattr(members_, "_group_size", lambda *args: 2)  # of three
    together = last(members(config))
    for i in range(3):
        first, second = to_arrays(taken_in_turn[i].state), to_arrays(together[i].state)
        for name, array in first.items():
            np.testing.assert_allclose(array, second[name], rtol=2e-3, atol=2e-5, err_msg=name)
    for name, values in taken_in_turn.metrics.items():
        np.testing.assert_allclose(values, together.metrics[name], rtol=1e-4)


def test_members_that_share_operations_do_not_sort_the_data_at_every_step(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The epoch's order is drawn in a branch of a `cond`. Batched, both branches would run at every step.
    config = small(steps=5)
    parts, _ = population.prepare_population([config], gan_jax.parts.facts_of(IMAGES, None))
    numbers = [gan_jax.state.hyperparams(config, 5)] * 4
    begun = [gan_jax.state.init(parts, n, i, len(IMAGES)) for i, n in enumerate(numbers)]
    stacked = jax.tree.map(lambda *x: jax.numpy.stack(x), *begun).replace(step=None)
    zeros = jax.numpy.zeros(4, jax.numpy.int32)
    program = members_.members_program(parts, 5, 4, tuple(jax.devices()), True)
    text = str(jax.make_jaxpr(program)(members_.Members(stacked, zeros, zeros - 1), (IMAGES, None), 0, 5))
    assert "sort[" in text
    assert text.index("cond[") < text.index("sort[")


def test_one_that_diverges_stands_still_and_the_others_go_on(small: Small) -> None:
    config = small(steps=20, optimizer="rmsprop", d_learning_rate=1e-3)
    configs = [config, dataclasses.replace(config, g_learning_rate=1e30), dataclasses.replace(config, seed=1)]
    steps = []
    for found in gan_jax.fit_population(configs, IMAGES):
        steps.append(found.step)
        assert np.isnan(found.metrics["d_loss"]).tolist() == [False, bool(found.diverged[1] >= 0), False]
    assert steps == [5, 10, 15, 20]
    with pytest.raises(Diverged) as error:
        single(configs[1])
    at = found.diverged.tolist()
    assert (at[0], at[2]) == (-1, -1)
    assert str(error.value).startswith(f"step {at[1]}: ")
    assert found[1].step == (at[1] - 1) // 5 * 5
    assert all(np.isfinite(x).all() for x in to_arrays(found[1].state).values() if x.dtype == np.float32)
    for i in (0, 2):
        assert_same_bits(found[i], single(configs[i]))


def test_continued_it_ends_with_the_bits_of_one_that_was_not(small: Small) -> None:
    config = small(steps=14, ema=0.9)
    short = [dataclasses.replace(c, steps=7) for c in members(config)]
    begun = last(short)
    ended = last(members(config), start=begun)
    whole = last(members(config))
    for i in range(3):
        assert_same_bits(ended[i], whole[i])
    assert_same_bits(single(members(config)[2], start=begun[2]), whole[2])


def test_in_a_folder_it_is_gone_on_with_to_the_bit_and_members_are_taken_out(
    small: Small, tmp_path: Path
) -> None:
    config = small(steps=14, ema=0.9, checkpoint_every=5)
    configs = [*members(config), dataclasses.replace(config, g_learning_rate=1e30)]

    class Killed(Exception):
        pass

    def kill(population: Population) -> None:
        if population.step == 10:
            raise Killed

    train = functools.partial(
        population_run.train_population, configs=configs, images=IMAGES, warn=pytest.fail
    )
    with pytest.raises(Killed):
        train(tmp_path / "killed", show=kill)
    ended, whole = train(tmp_path / "killed"), train(tmp_path / "whole")
    assert ended.diverged.tolist() == whole.diverged.tolist()
    assert ended.diverged[3] > 0
    warnings: list[str] = []
    for i in range(4):
        assert_same_bits(ended[i], whole[i])
        assert_same_bits(gan_jax.load(tmp_path / "killed", member=i, warn=warnings.append), whole[i])
    assert len(warnings) == 1
    assert "member 3 of" in warnings[0]
    assert_same_bits(whole[1], single(configs[1]))
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 14]
    assert rows[-1]["d_loss"][3] is None
    assert rows == [
        json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    with pytest.raises(UserError, match="a population of 4: say which member, from 0 to 3"):
        gan_jax.load(tmp_path / "whole")
    with pytest.raises(UserError, match="a population of 4: say which member, from 0 to 3"):
        gan_jax.load(tmp_path / "whole", member=4)
    with pytest.raises(UserError, match="holds a population of 4, not 2: give another --workdir, or as many"):
        train(tmp_path / "whole", configs=configs[:2])


def test_the_folder_of_another_population_is_refused_with_what_differs(small: Small, tmp_path: Path) -> None:
    configs = [small(steps=5, seed=seed) for seed in (0, 1)]
    facts = facts_of(IMAGES, None)

    def refusal(configs: list[Config], images: np.ndarray = IMAGES) -> str:
        with pytest.raises(UserError) as error:
            population_run.check_same(tmp_path, configs, facts_of(images, None))
        return str(error.value)

    workdir.write_population_config(tmp_path, configs, facts)
    population_run.check_same(tmp_path, configs, facts)
    faster = [configs[0], dataclasses.replace(configs[1], g_learning_rate=0.5, steps=7)]
    assert "differing in g_learning_rate (0.001 there, 0.5 here): give another --workdir" in refusal(faster)
    longer = [dataclasses.replace(config, steps=7) for config in configs]
    assert "differing in steps (5 there, 7 here)" in refusal(longer)
    assert "differing in seed (1 there, 0 here)" in refusal([configs[0], configs[0]])
    assert "a population of 2, not 3" in refusal([*configs, configs[0]])
    words = refusal(configs, IMAGES[:69])
    assert "of other images (70 of (16, 16, 3), SHA-256 " in words
    assert " there, 69 of (16, 16, 3), SHA-256 " in words
    workdir.write_config(tmp_path, configs[0], facts)
    assert "holds a single run" in refusal(configs)


def test_a_second_population_of_the_same_shapes_compiles_nothing(small: Small, compiled: list[str]) -> None:
    config = small(steps=10, z_dim=11)  # of no other test

    def run(config: Config) -> None:
        compiled.clear()
        for found in gan_jax.fit_population(members(config), IMAGES):
            _ = found.metrics

    run(config)
    assert compiled  # else the event has another name, and what follows could not fail
    run(dataclasses.replace(config, seed=7, g_learning_rate=1e-4, steps=12))
    assert not compiled


def test_the_groups_fit_in_memory(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(steps=5)
    monkeypatch.setattr(devices, "needs_known_length", lambda device: True)
    sizes = []
    program = members_.members_program

    def spy(parts: Any, length: int, group: int, *rest: Any) -> Any:
        sizes.append(group)
        return program(parts, length, group, *rest)

    monkeypatch.setattr(members_, "members_program", spy)
    found = []
    for free in (1e12, 8e7, 6.5e7, 1e6):
        monkeypatch.setattr(devices, "free_memory", lambda some, free=free: free)
        sizes.clear()
        next(iter(gan_jax.fit_population(members(config, 6), IMAGES)))
        assert sizes[0] == 1  # one member is compiled to measure it
        found.append(sizes[1])
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (6, 1)
    assert any(1 < size < 6 for size in found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss": "cross_entropy"}, r"members differ in loss \(hinge, cross_entropy\)"),
        ({"batch_size": 8}, r"members differ in batch_size \(16, 8\)"),
        ({"ema": 0.5}, r"members differ in ema \(0\.0, 0\.5\)"),
        ({"steps": 6}, r"members differ in steps \(5, 6\)"),
    ],
)
def test_what_cannot_be_side_by_side_is_refused(small: Small, fields: dict[str, Any], words: str) -> None:
    config = small(steps=5)
    with pytest.raises(UserError, match=words):
        gan_jax.fit_population([config, dataclasses.replace(config, **fields)], IMAGES)


def test_a_step_that_does_not_fit_is_refused(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_jax.step_memory.free_memory", lambda some: 1e3)
    config = small(steps=5)
    with pytest.raises(UserError, match=r"--batch_size=16 .* take about .* are free: give smaller ones"):
        gan_jax.fit_population([config], IMAGES)
    facts = facts_of(IMAGES, None)
    assert prepare_population([config], facts, here=False)[1].total == 5


def test_bad_input_is_refused(small: Small) -> None:
    config = small(steps=5)
    with pytest.raises(UserError, match="one config at least"):
        gan_jax.fit_population([], IMAGES)
    others = [config, dataclasses.replace(config, dataset="fashion_mnist")]
    with pytest.raises(UserError, match=r"members differ in dataset \(mnist, fashion_mnist\)"):
        gan_jax.fit_population(others)
    found = last([config])
    with pytest.raises(UserError, match="start has 1 members, and there are 2 configs"):
        gan_jax.fit_population([config, config], IMAGES, start=found)
    for fields, words in (
        ({"seed": 5}, r"differing in seed \(0 there, 5 here\)"),
        ({"ema": 0.5}, "other parts: ema cannot be turned on or off"),
    ):
        with pytest.raises(UserError, match=words):
            gan_jax.fit_population([dataclasses.replace(config, **fields)], IMAGES, start=found)
    with pytest.raises(UserError, match="at step 5, past the 3"):
        gan_jax.fit_population([dataclasses.replace(config, steps=3)], IMAGES, start=found)
    with pytest.raises(IndexError, match="there is no member 1"):
        found[1]
    assert repr(found) == "<Population: 1 of hinge, 16×16×3, step 5 of 5>"

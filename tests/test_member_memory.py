"""Populations that do not fit the memory, and groups of members that go on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import population, step_memory
from gan_jax.comparison.groups import groups_of, join
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.loading import load_population
from gan_jax.parts import facts_of
from gan_jax.population import prepare_population
from gan_jax.population_run import train_population
from gan_jax.state import to_arrays
from gan_jax.step_memory import COPIES, HEADROOM, member_bytes

Small = Callable[..., Config]
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)


def _members(config: Config, count: int) -> list[Config]:
    return [dataclasses.replace(config, seed=seed) for seed in range(count)]


def _room_for(monkeypatch: pytest.MonkeyPatch, copies: float, config: Config) -> None:
    """One device, with memory for so many copies of a member's state."""
    some = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *backend: some)
    facts = facts_of(IMAGES, None)
    each = member_bytes(config, *prepare_population([config], facts), facts.num_images)
    monkeypatch.setattr(
        step_memory, "free_memory", lambda devices: (copies * each + facts.num_bytes) / HEADROOM
    )


def test_a_members_bytes_are_those_of_its_state(small: Small) -> None:
    config = small(steps=2)
    gan = next(iter(gan_jax.fit(config, IMAGES)))
    facts = facts_of(IMAGES, None)
    found = member_bytes(config, *prepare_population([config], facts), facts.num_images)
    assert found == sum(array.nbytes for array in to_arrays(gan.state).values())


def test_more_members_than_fit_are_refused(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(steps=2)
    _room_for(monkeypatch, 2 * COPIES + 0.5, config)
    *_, found = gan_jax.fit_population(_members(config, 2), IMAGES)
    words = r"^3 GANs side by side take 0\.0 GB on each device, and 0\.0 GB are free: train fewer\.$"
    with pytest.raises(UserError, match=words):
        gan_jax.fit_population(_members(config, 3), IMAGES)
    monkeypatch.setattr(population, "check_members_fit", pytest.fail)
    longer = [dataclasses.replace(each, steps=4) for each in found.configs]
    assert gan_jax.fit_population(longer, IMAGES, start=found)  # they are there already


def test_a_comparison_that_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: Any
) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step_memory, "free_memory", lambda devices: 5e7)
    flags = ["--dataset=own.npz", "--model=mlp", "--batch_size=16", "--steps=2", "--num=32", "--workdir=c"]
    done = in_process("compare", "--systems", "hinge", "--seeds=500", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "500 GANs side by side take" in done.stderr
    assert not Path("c").exists()


def test_groups_of_more_members_are_not_left_behind(tmp_path: Path, small: Small) -> None:
    config = small(steps=2)
    groups = groups_of(tmp_path, _members(config, 4), 1)
    for group in groups:
        train_population(group.folder, group.configs, IMAGES, warn=pytest.fail)
    with pytest.raises(UserError, match="holds groups of more members, one of them from member 3 on"):
        groups_of(tmp_path, _members(config, 2), 1)
    more = groups_of(tmp_path, _members(config, 5), 1)  # one is added
    assert more[:4] == groups
    join(tmp_path, _members(config, 4), groups, pytest.fail)
    assert not (tmp_path / "groups_of_1").exists()
    assert len(load_population(tmp_path)) == 4


def test_one_begun_group_that_holds_all_is_joined(tmp_path: Path, small: Small) -> None:
    configs = _members(small(steps=2), 2)
    [group, _] = groups_of(tmp_path, _members(configs[0], 3), 2)
    train_population(group.folder, group.configs, IMAGES, warn=pytest.fail)
    assert groups_of(tmp_path, configs, 2) == [group]
    assert join(tmp_path, configs, [group], pytest.fail).step == 2

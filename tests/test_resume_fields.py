"""Which options may change when a run goes on: all of them, one by one; and a run with several D steps, to the bit."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import workdir
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.options import options_of
from gan_jax.parts import Facts, facts_of
from gan_jax.state import to_arrays

Command = Callable[..., subprocess.CompletedProcess[str]]

BASE = Config(model="mlp", penalty="gp", batch_size=8, z_dim=4, steps=2)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
LABELS = np.arange(40) % 2

# Another value of each option.
OTHER: dict[str, Any] = {
    "preset": "gan",
    "loss": "least_squares",
    "penalty": ("r1",),
    "penalty_weight": 3.0,
    "penalty_every": 4,
    "spectral_norm": True,
    "clip": 0.1,
    "d_steps": 2,
    "augment": ("cutout",),
    "pack": 2,
    "model": "conv_small",
    "conditional": True,
    "dtype": "bfloat16",
    "z_dim": 5,
    "z_distribution": "uniform",
    "ema": 0.5,
    "optimizer": "rmsprop",
    "g_learning_rate": 1e-4,
    "d_learning_rate": 1e-4,
    "schedule": "linear",
    "beta1": 0.1,
    "beta2": 0.9,
    "grad_clip": 1.0,
    "batch_size": 16,
    "epochs": 7,
    "steps": 3,
    "seed": 1,
    "dataset": "elsewhere.npz",
    "data_dir": "elsewhere",
    "image_size": 8,
    "channels": 1,
    "workdir": "moved",
    "log_every": 1,
    "checkpoint_every": 1,
    "keep_every": 1,
    "eval_every": 1,
    "log_gradients": True,
    "tensorboard": True,
}
# What a run that goes on may change: its length, and what no number depends on. (Of a data set by another name the
# images are compared.) All else changes the run, as a new option does unless it is entered here.
MAY_CHANGE = {
    "preset", "epochs", "steps", "dataset", "data_dir", "workdir", "log_every", "checkpoint_every", "keep_every",
    "eval_every", "log_gradients", "tensorboard",
}  # fmt: skip
# What `fit` may change on the way besides.
RATES = {
    "penalty_weight", "clip", "ema", "g_learning_rate", "d_learning_rate", "beta1", "beta2", "grad_clip",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that has just been claimed."""
    monkeypatch.chdir(tmp_path)
    with workdir.claim(dataclasses.replace(BASE, workdir="w"), facts_of(IMAGES, LABELS)) as folder:
        return folder


def claim(folder: Path, facts: Facts | None = None, **fields: Any) -> None:
    """What a rerun of the command does first."""
    before = (folder / "config.json").read_bytes()
    config = dataclasses.replace(BASE, **{"workdir": str(folder), **fields})
    try:
        with workdir.claim(config, facts or facts_of(IMAGES, LABELS)):
            pass
    finally:
        assert (folder / "config.json").read_bytes() == before


def test_another_value_of_every_option_is_known_here() -> None:
    assert OTHER.keys() == options_of(Config).keys()
    for name, value in OTHER.items():
        assert getattr(dataclasses.replace(BASE, **{name: value}), name) == value != getattr(BASE, name)


@pytest.mark.parametrize("name", sorted(OTHER.keys() - MAY_CHANGE))
def test_what_changes_a_number_is_refused_by_name(name: str, run: Path) -> None:
    with pytest.raises(UserError, match=rf"^w holds a run of another config, differing in {name} \("):
        claim(run, **{name: OTHER[name]})


@pytest.mark.parametrize("name", sorted(MAY_CHANGE))
def test_length_and_what_changes_no_number_may_change(name: str, run: Path) -> None:
    if name == "workdir":
        run = run.rename("moved")
    claim(run, **{name: OTHER[name]})


def test_all_that_differs_is_named_at_once(run: Path) -> None:
    with pytest.raises(UserError, match=r"loss .*hinge there, .*, seed \(0 there, 1 here\): give another"):
        claim(run, loss="least_squares", seed=1, steps=5)


@pytest.mark.parametrize(
    "other",
    [
        facts_of(255 - IMAGES, LABELS),
        facts_of(IMAGES, 1 - LABELS),
        facts_of(IMAGES, None),
        facts_of(IMAGES[:39], LABELS[:39]),
        facts_of(IMAGES.reshape(40, 4, 16, 1), LABELS),
    ],
    ids=["pixels", "labels", "no labels", "fewer", "shape"],
)
def test_other_images_under_the_same_name_are_refused(other: Facts, run: Path) -> None:
    with pytest.raises(UserError, match=r"differing in the images \(mnist, 40 of \(8, 8, 1\), SHA-256 "):
        claim(run, other)


@pytest.fixture(scope="module")
def gan() -> Gan:
    """At the end of BASE."""
    [first, *_] = jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: [first])
        [found] = gan_jax.fit(BASE, IMAGES, LABELS)
    return found


@pytest.mark.parametrize("name", OTHER)
def test_fit_goes_on_with_other_rates_and_with_no_other_system(
    name: str, gan: Gan, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])  # over more the batch has no packs
    config = dataclasses.replace(BASE, **{name: OTHER[name]})
    if name in MAY_CHANGE | RATES:
        gan_jax.fit(config, IMAGES, LABELS, start=gan)
        return
    with pytest.raises(UserError, match=f"^start is of another config, differing in {name} "):
        gan_jax.fit(config, IMAGES, LABELS, start=gan)


@pytest.mark.long
def test_a_run_of_several_d_steps_resumes_to_the_bit(in_process: Command, tmp_path: Path) -> None:
    np.savez("own.npz", images=IMAGES, test_images=IMAGES, labels=LABELS, test_labels=LABELS)
    flags = (
        "--dataset=own.npz", "--model=mlp", "--loss=wasserstein", "--penalty", "gp", "r1", "--d_steps=3",
        "--batch_size=8", "--z_dim=4", "--conditional", "--log_every=2", "--optimizer=adamw", "--grad_clip=1",
    )  # fmt: skip
    # An epoch is 5 batches: steps 3 and 7 end within one, whose order the checkpoint has.
    for folder, stops in (("whole", [9]), ("parts", [3, 7, 9])):
        for steps in stops:
            done = in_process("train", *flags, f"--steps={steps}", f"--workdir={folder}")
            assert done.returncode == 0, done.stderr
    whole, parts = (to_arrays(gan_jax.load(folder).state) for folder in ("whole", "parts"))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], err_msg=name)
    last = [json.loads(Path(f, "metrics.jsonl").read_text().splitlines()[-1]) for f in ("whole", "parts")]
    assert last[0]["step"] == last[1]["step"] == 9
    assert last[0]["d_loss"] == last[1]["d_loss"]
    assert Path("whole/samples.png").read_bytes() == Path("parts/samples.png").read_bytes()

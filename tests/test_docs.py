"""What README.md says, against what the package does."""

import re
import shlex
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import config, train
from gan_jax.config import PRESETS, Config
from gan_jax.objectives import OBJECTIVES

README = (Path(__file__).parent.parent / "README.md").read_text()


def short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-").replace("0.0001", "1e-4").replace("0.0002", "2e-4")


def updates(preset: Config) -> str:
    assert preset.g_learning_rate == preset.d_learning_rate
    rate = short(preset.g_learning_rate)
    decays = f"β {preset.beta1:g} {preset.beta2:g}"
    words = {"adam": f"Adam {rate}, {decays}", "rmsprop": f"RMSProp {rate}, decay {preset.beta2:g}"}
    each = "" if preset.d_steps == 1 else f", {preset.d_steps} of D for 1 of G"
    return words[preset.optimizer] + each


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_presets_says_their_values(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*\d+, \d+ \|$", README, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    preset = PRESETS[name]
    assert cells[-2:] == [updates(preset), f"{preset.batch_size}, {preset.epochs}"]
    assert ("spectral norm" in cells[-3]) == preset.spectral_norm
    assert (f"[−{preset.clip:g}, {preset.clip:g}]" in cells[-3]) == bool(preset.clip)
    assert ("∇D" in cells[-3]) == bool(preset.penalty)


def train_lines() -> list[str]:
    return re.findall(r"python -m gan_jax\.train (--[^`'#&\n]+)", README)


def test_readme_has_lines_that_train() -> None:
    assert len(train_lines()) > 5


@pytest.mark.parametrize(
    "line", [line for line in train_lines() if "--help" not in line and "--plugin" not in line]
)
def test_its_lines_that_train_are_allowed(line: str) -> None:
    config.command_from_args(train.Command, shlex.split(line))


def test_its_own_loss_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(# mine\.py.*?)```", README, re.DOTALL)
    monkeypatch.setitem(OBJECTIVES, "soft_hinge", OBJECTIVES["hinge"])  # so that it is gone again at the end
    exec(compile(source, "mine.py", "exec"), {})
    assert Config(loss="soft_hinge").loss == "soft_hinge"
    real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])
    expected = np.log1p(np.exp([-1.0, 1.0])).mean() + np.log1p(np.exp([0.0, 2.0])).mean()
    np.testing.assert_allclose(OBJECTIVES["soft_hinge"].d_loss(real, fake), expected, rtol=1e-6)

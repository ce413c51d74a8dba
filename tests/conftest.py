"""Eight virtual CPU devices, and JAX as strict as it gets: set before any test imports it."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from gan_jax import data
from gan_jax.config import Config

jax.config.update("jax_numpy_rank_promotion", "raise")  # (B, 1) against (B,) is an error, not (B, B)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the test session's own: MNIST is prepared, and programs are compiled, once."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def mnist(cache_home: Path) -> np.ndarray:
    """MNIST's train images, uint8 [60000, 28, 28, 1]."""
    return data.load("mnist", "train")[0]


@pytest.fixture
def small() -> Callable[..., Config]:
    """A config for quick runs, with the given fields changed."""
    plain = Config(model="mlp", spectral_norm=False, batch_size=16, z_dim=8, ema=0.0)
    return lambda **fields: dataclasses.replace(plain, **fields)


@pytest.fixture
def command(tmp_path: Path, mnist: np.ndarray) -> Command:
    """Runs `python -m gan_jax.NAME args…` in tmp_path with warnings as errors; returns what it did."""

    def run(name: str, *args: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", f"gan_jax.{name}", *args],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run

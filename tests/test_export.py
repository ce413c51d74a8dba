"""A generator as an ONNX file: what other runtimes draw with it is what JAX draws."""

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from lively import NETS, make_gan

from gan_jax import export
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.parts import Facts
from gan_jax.workdir import write_config

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]


@pytest.mark.parametrize("name", NETS)
def test_another_runtime_draws_the_same(name: str) -> None:
    gan = make_gan(name)
    session = onnxruntime.InferenceSession(export.onnx_bytes(gan), providers=["CPUExecutionProvider"])
    inputs = {"z": np.asarray(gan.latents(7, seed=2))}
    labels = gan.classes(7)
    if labels is not None:
        inputs["labels"] = np.asarray(labels, np.int64)
    [images] = session.run(["images"], inputs)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, gan.generate(inputs["z"], labels), atol=1e-5)


def test_what_cannot_be_exported_is_one_line(
    small: Small, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("t").mkdir()
    write_config(Path("t"), small(model="toy", dataset="ring8"), Facts((2,), 64, None, "0"))
    for flags, words in (
        (["--workdir=t", "--out=a.onnx"], "t makes points, and gan_jax.export is for images"),
        (["--workdir=t", "--out=a.pt"], "--out=a.pt is not allowed: it must end in .onnx (a generator)"),
        (["--workdir=t"], "--out is missing"),
    ):
        done = in_process("export", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert words in line
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gan_jax\[onnx\]'"):
        export.onnx_bytes(make_gan("mlp"))

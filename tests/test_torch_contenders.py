"""The benchmark's PyTorch programs do the work that gan_jax does: the same losses from the same weights and noise."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin

from gan_jax import data
from gan_jax.config import PRESETS
from gan_jax.state import Params
from gan_jax.step import make_update

torch = pytest.importorskip("torch", reason="PyTorch is missing: pip install 'gan_jax[bench]'")
contenders = importlib.import_module("experiments.benchmark.torch_contenders")
script = importlib.import_module("experiments.benchmark.__main__")

GOLDEN = Path(os.environ.get("GAN_JAX_GOLDEN") or Path(__file__).parent / "golden")
STEPS = 4


def noise(zs: np.ndarray) -> Callable[..., object]:
    """What stands for `torch.randn`: the given noise, in turn."""
    turn: Iterator[np.ndarray] = iter(zs)
    return lambda shape, device: torch.tensor(next(turn), device=device)


def losses(step: Callable, batches: np.ndarray) -> np.ndarray:
    return np.array([[float(loss) for loss in step(torch.from_numpy(real))] for real in batches])


@torch.no_grad()
def fill(net: object, arrays: list[np.ndarray]) -> None:
    parameters = list(net.parameters())
    for parameter, array in zip(parameters, arrays, strict=True):
        assert parameter.shape == array.shape
        parameter.copy_(torch.from_numpy(np.array(array)))


def test_eager_is_the_tutorials_program(mnist: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(GOLDEN / "seed_program.npz") as file:
        values = dict(file)
    made = contenders.program(dataclasses.asdict(PRESETS["gan"]), mnist[:128], "cpu")
    for net, name in ((made.g, "g"), (made.d, "d")):
        parts = ("kernel", "bias")
        init = [values[f"{name}.{i}.{part}.init"] for i in range(2) for part in parts]
        fill(net, [array.T if array.ndim == 2 else array for array in init])
    monkeypatch.setattr(torch, "randn", noise(values["z"]))
    reals = np.stack([mnist[index] for index in values["real_index"]]).reshape(20, -1, 784)
    found = losses(contenders.eager_step(made), reals.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(found[:, 0], values["d_loss"], rtol=1e-4)
    np.testing.assert_allclose(found[:, 1], values["g_loss"], rtol=1e-4)


def flattened(kernel: np.ndarray) -> np.ndarray:
    """A kernel [·, 7·7·C] whose columns PyTorch has as C·7·7, as PyTorch's weight."""
    return kernel.reshape(-1, 7, 7, kernel.shape[-1] // 49).transpose(3, 1, 2, 0).reshape(-1, kernel.shape[0])


def torch_arrays(g: Params, d: Params) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The convolutional nets' parameters before the first step, in PyTorch's order, shapes and directions."""
    of = lambda net, name, part="kernel": np.asarray(net[name][part])
    norm = lambda i: [of(g, f"BatchNorm_{i}", "scale"), of(g, f"BatchNorm_{i}", "bias")]  # ones and zeros
    up = lambda i: of(g, f"StridedConvTranspose_{i}")[::-1, ::-1].transpose(2, 3, 0, 1)
    down = lambda i: [of(d, f"StridedConv_{i}").transpose(3, 2, 0, 1), of(d, f"StridedConv_{i}", "bias")]
    first, last = (of(d, f"Dense_{i}").T for i in range(2))
    first = flattened(of(d, "Dense_0").T).T
    dense = [of(g, "Dense_0").T, *norm(0), flattened(of(g, "Dense_1")), *norm(1)]
    return (
        [*dense, up(0), *norm(2), up(1), of(g, "StridedConvTranspose_1", "bias")],
        [*down(0), *down(1), first, of(d, "Dense_0", "bias"), last, of(d, "Dense_1", "bias")],
    )


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_its_convolutional_step_has_our_losses(
    mnist: np.ndarray, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    config = script.system("conv_small", 16)
    parts, gan = begin(config, num_images=len(mnist))
    random = np.random.default_rng(0)
    zs = random.standard_normal((STEPS, 16, config.z_dim)).astype(np.float32)
    reals = mnist[: STEPS * 16].reshape(STEPS, 16, 28, 28, 1)

    made = contenders.program(dataclasses.asdict(config), mnist[:16], "cpu")
    for net, arrays in zip((made.g, made.d), torch_arrays(gan.g_params, gan.d_params), strict=True):
        fill(net, arrays)
    monkeypatch.setattr(torch, "randn", noise(zs))
    if compiled:  # the step itself: what a compiler makes of it is PyTorch's affair
        monkeypatch.setattr(torch, "compile", lambda step, **options: step)
    step = (contenders.compiled_step if compiled else contenders.eager_step)(made)
    found = losses(step, (reals.astype(np.float32) / 127.5 - 1).transpose(0, 1, 4, 2, 3))

    update, expected = jax.jit(make_update(parts)), []
    for real, z in zip(reals, zs, strict=True):
        gan, metrics = update(gan, data.to_float(jnp.asarray(real))[None], z[None], jax.random.key(0))
        expected.append([float(metrics["d_loss"]), float(metrics["g_loss"])])
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    assert np.ptp(found[:, 0]) > 0.01  # they have learned something

"""PacGAN: D judges several images together."""

import dataclasses
import subprocess
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from begin import begin, by_the_gradient

import gan_jax
from gan_jax import devices, step
from gan_jax.config import Config
from gan_jax.devices import AXIS
from gan_jax.errors import UserError
from gan_jax.models import MODELS
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.penalties import PENALTIES
from gan_jax.state import to_arrays

Command = Callable[..., subprocess.CompletedProcess[str]]
Small = Callable[..., Config]

IMAGES = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("pack", [2, 4])
def test_a_pack_holds_images_that_follow_one_another_as_channels(small: Small, pack: int) -> None:
    parts, _ = begin(small(pack=pack, model="mlp"), (8, 8, 3))
    images = jnp.asarray(IMAGES[:8], jnp.float32)
    packs = np.asarray(parts.packed(images))
    assert packs.shape == (8 // pack, 8, 8, 3 * pack) == (8 // pack, *parts.d_inputs(1)[0].shape[1:])
    for i, image in enumerate(IMAGES[:8]):
        place, channel = divmod(i, pack)
        np.testing.assert_array_equal(packs[place, ..., 3 * channel : 3 * channel + 3], image)


@pytest.mark.parametrize("model", [model for model in MODELS if model != "toy"])  # whose examples are points
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_d_alone_is_built_for_packs(small: Small, model: str, spectral_norm: bool) -> None:
    of = lambda **fields: jax.eval_shape(
        lambda: begin(small(model=model, spectral_norm=spectral_norm, **fields), (8, 8, 3))[1]
    )
    state, packed = of(), of(pack=2)
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(packed.g_params) == shapes(state.g_params)
    first = lambda params: jax.tree.leaves(
        jax.tree.map(jnp.shape, params), is_leaf=lambda x: isinstance(x, tuple)
    )
    inputs = {"mlp": 8 * 8 * 3}.get(model, 3)
    assert any(shape[-2:-1] == (inputs,) for shape in first(state.d_params))
    assert any(shape[-2:-1] == (2 * inputs,) for shape in first(packed.d_params))


# Relativistic and with penalties: the gradients of a step by hand, on packs made by NumPy.
@pytest.mark.parametrize("loss", ["relativistic", "wasserstein"])
def test_a_step_is_that_of_a_gan_whose_images_are_packs(small: Small, loss: str) -> None:
    config = small(loss=loss, pack=2, penalty=("r1", "r2"), penalty_weight=0.3, beta1=0.5)
    parts, gan = begin(config, (8, 8, 3))
    real = jax.random.uniform(jax.random.key(5), (16, 8, 8, 3), minval=-1)
    z = jax.random.normal(jax.random.key(6), (16, 8))
    new, metrics = jax.jit(step.make_update(parts))(gan, real[None], z[None], jax.random.key(0))

    pairs = lambda images: jnp.concatenate([images[0::2], images[1::2]], -1)
    fakes = lambda params: pairs(parts.generator.apply({"params": params}, z))
    judge = lambda params, packs: parts.discriminator.apply({"params": params}, packs)

    def squared_norm(params, packs):
        alone = jax.vmap(jax.grad(lambda pack: judge(params, pack[None])[0]))(packs)
        return (alone**2).sum((1, 2, 3)).mean()

    def d_loss(params):
        fake = fakes(gan.g_params)
        penalty = 0.5 * (squared_norm(params, pairs(real)) + squared_norm(params, fake))
        return OBJECTIVES[loss].d_loss(judge(params, pairs(real)), judge(params, fake)) + 0.3 * penalty

    def g_loss(params):
        return OBJECTIVES[loss].g_loss(judge(new.d_params, pairs(real)), judge(new.d_params, fakes(params)))

    assert judge(gan.d_params, pairs(real)).shape == (8,)
    for opt, gradients in (
        (new.d_opt, jax.grad(d_loss)(gan.d_params)),
        (new.g_opt, jax.grad(g_loss)(gan.g_params)),
    ):
        jax.tree.map(
            lambda m, g: np.testing.assert_allclose(m, 0.5 * g, rtol=1e-3, atol=1e-6), opt[0].mu, gradients
        )
    np.testing.assert_allclose(metrics["g_loss"], g_loss(gan.g_params), rtol=1e-5)


def test_one_and_four_devices_agree(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    # With SGD: Adam divides by the gradient's size and would hide a wrong average.
    monkeypatch.setitem(OPTIMIZERS, "sgd", by_the_gradient)
    config = small(
        loss="relativistic",
        optimizer="sgd",
        pack=2,
        penalty=tuple(PENALTIES),
        penalty_weight=0.1,
        g_learning_rate=0.05,
        d_learning_rate=0.05,
    )
    ends, logs = [], []
    for count in (1, 4):
        parts, gan = begin(config, (8, 8, 3), len(IMAGES), AXIS)
        some = jax.devices()[:count]
        devices.check_divides(parts, some)
        chunk = devices.chunk(parts, 10, some)
        gan, metrics = chunk(*devices.replicate((gan, (jnp.asarray(IMAGES), None)), some), 0, 10)
        ends.append(to_arrays(gan))
        logs.append(metrics)
    for name, array in ends[0].items():
        np.testing.assert_allclose(array, ends[1][name], rtol=1e-4, atol=2e-5, err_msg=name)
    for name, values in logs[0].items():
        np.testing.assert_allclose(values, logs[1][name], rtol=1e-4, atol=2e-5, err_msg=name)


def test_a_packed_d_judges_by_packs_and_refuses_what_makes_none(small: Small) -> None:
    [first, *_] = jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: [first])
        [gan] = gan_jax.fit(small(pack=2, steps=2), IMAGES)
    logits = gan.discriminate(IMAGES[:6])
    assert logits.shape == (3,)
    assert gan.sample(5).shape == (5, 8, 8, 3)
    # Another partner, another judgement.
    swapped = gan.discriminate(IMAGES[[0, 3, 2, 1, 4, 5]])
    assert logits[2] == swapped[2]
    assert (logits[:2] != swapped[:2]).all()
    with pytest.raises(UserError, match="a multiple of --pack=2, not 5"):
        gan.discriminate(IMAGES[:5])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pack": 3}, r"--batch_size=16 does not divide by --pack=3: give a multiple of 3\.$"),
        (
            {"pack": 2, "conditional": True},
            "--pack=2 with --conditional is not allowed.* Leave one of them out",
        ),
        ({"pack": 0}, "pack=0.*from 1 to 64"),
    ],
)
def test_packs_that_there_cannot_be_are_refused(small: Small, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        dataclasses.replace(small(), **fields)


def test_packs_are_not_split_between_devices(small: Small) -> None:
    parts, _ = begin(small(pack=4))
    with pytest.raises(
        UserError, match="does not divide over 8 devices in packs of 4: give a multiple of 32"
    ):
        devices.check_divides(parts, jax.devices())


@pytest.mark.parametrize("model", ["mlp", pytest.param("conv_small", marks=pytest.mark.long)])
def test_the_command_trains_a_packed_gan_and_goes_on_with_it(in_process: Command, model: str) -> None:
    np.savez("own.npz", images=IMAGES, test_images=IMAGES)
    flags = ("--dataset=own.npz", "--pack=2", "--batch_size=16", "--z_dim=4", "--log_every=2")
    flags += ("--preset=r3gan", f"--model={model}", "--workdir=w")
    for steps in (3, 5):
        done = in_process("train", *flags, f"--steps={steps}")
        assert done.returncode == 0, done.stderr
    assert gan_jax.load("w").discriminate(IMAGES[:4]).shape == (2,)
    refused = in_process("train", *flags, "--steps=5", "--pack=1")
    assert refused.returncode == 2
    assert "differing in pack (2 there, 1 here)" in refused.stderr

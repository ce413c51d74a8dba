"""The command line: presets, overrides, help, and one clear line for every bad value."""

import dataclasses
import json

import pytest

from gan_jax import config
from gan_jax.config import PRESETS, Config
from gan_jax.errors import UserError

# REFERENCE: the papers' and the tutorial's settings.
EXPECTED = {
    "gan": {"loss": "cross_entropy", "d_steps": 1, "g_learning_rate": 2e-4, "beta1": 0.9, "epochs": 200},
    "lsgan": {"loss": "least_squares", "d_steps": 1, "beta1": 0.5},
    "wgan": {
        "loss": "wasserstein",
        "clip": 0.01,
        "d_steps": 5,
        "optimizer": "rmsprop",
        "g_learning_rate": 5e-5,
        "d_learning_rate": 5e-5,
        "beta2": 0.99,
    },
    "wgan_gp": {
        "loss": "wasserstein",
        "penalty": ("gp",),
        "d_steps": 5,
        "g_learning_rate": 1e-4,
        "d_learning_rate": 1e-4,
        "beta1": 0.0,
        "beta2": 0.9,
    },
    "dragan": {"loss": "cross_entropy", "penalty": ("dragan",), "d_steps": 1, "beta1": 0.5},
    "hinge": {"loss": "hinge", "d_learning_rate": 2e-4, "beta1": 0.0, "beta2": 0.9},
    "r3gan": {"loss": "relativistic", "penalty": ("r1", "r2"), "beta1": 0.0},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_presets(name: str) -> None:
    found = config.parse([f"--preset={name}"])
    assert found == PRESETS[name]
    assert {k: getattr(found, k) for k in EXPECTED[name]} == EXPECTED[name]
    tutorial = name == "gan"  # the others are the literature's, at a quarter of its nets' width
    assert found.model == ("mlp" if tutorial or name == "wgan" else "conv_small")
    epochs = {"gan": 200, "wgan": 60, "wgan_gp": 40}
    assert (found.batch_size, found.epochs) == (128 if tutorial else 64, epochs.get(name, 20))
    assert found.ema == (0.0 if tutorial else 0.999)
    assert found.spectral_norm == (name == "hinge")
    assert found.optimizer == EXPECTED[name].get("optimizer", "adam")
    assert (found.z_dim, found.z_distribution) == (100, "normal")
    if "g_learning_rate" not in EXPECTED[name]:
        assert (found.g_learning_rate, found.d_learning_rate) == (2e-4, 2e-4)


def test_the_contracts_flags_on_their_own_and_over_a_preset() -> None:
    flags = (
        "--workdir=w --epochs=3 --steps=7 --seed=5 --batch_size=32 --model=mlp --dataset=kmnist --data_dir=d"
    )
    found = config.parse(["--preset=wgan_gp", *flags.split(), "--loss=hinge"])
    expected = dataclasses.replace(
        PRESETS["wgan_gp"],
        workdir="w",
        epochs=3,
        steps=7,
        seed=5,
        batch_size=32,
        model="mlp",
        dataset="kmnist",
        data_dir="d",
        loss="hinge",
    )
    assert found == expected
    assert config.parse(["--loss=hinge"]) == Config()
    assert config.parse(["--preset", "r3gan", "--penalty"]).penalty == ()
    assert config.parse(["--penalty", "r1", "r2"]).penalty == ("r1", "r2")
    assert config.parse(["--penalty=gp", "--tensorboard"]).tensorboard
    assert config.parse(["--preset=wgan", "--spectral_norm"]).spectral_norm  # whatever the default is
    assert not config.parse(["--preset=hinge", "--no_spectral_norm"]).spectral_norm
    assert config.parse(["--conditional", "--dtype=bfloat16"]) == Config(conditional=True, dtype="bfloat16")


def test_help_is_complete_grouped_and_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        config.parse(["--preset=wgan", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name}" in text
    for group in ("system", "nets", "optimization", "run"):
        assert f"{group} options" in text
    assert "(default: wasserstein)" in text  # the preset's
    assert "(default: 64)" in text
    for choice in ("relativistic", "dragan", "kmnist", "rmsprop", "uniform"):
        assert choice in text


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--loss=hnge", "unknown loss 'hnge'. Did you mean 'hinge'? Allowed: cross_entropy, minimax, "),
        ("--model=mpl", "unknown model 'mpl'. Did you mean 'mlp'?"),
        ("--dataset=fashion-mnist", "unknown dataset 'fashion-mnist'. Did you mean 'fashion_mnist'?"),
        ("--preset=wgangp", "unknown preset 'wgangp'. Did you mean 'wgan_gp'?"),
        ("--penalty=r3", "unknown penalty 'r3'. Did you mean 'r"),
        ("--optimizer=sgd", "unknown optimizer 'sgd'. Allowed: adam, rmsprop."),
        ("--dtype=float16", "unknown dtype 'float16'. Did you mean 'bfloat16'? Allowed: float32, bfloat16."),
        ("--model=conv_smal", "unknown model 'conv_smal'. Did you mean 'conv_small'? Allowed: mlp, conv, "),
        ("--z_distribution=x", "unknown z_distribution 'x'. Allowed: normal, uniform."),
        ("--penalty r1 r1", "--penalty names one twice"),
        ("--batch_size=0", "--batch_size=0 is not allowed: it must be a whole number from 1 to 2147483647."),
        ("--steps=-1", "--steps=-1 is not allowed: it must be a whole"),
        ("--epochs=0", "--epochs=0 is not allowed"),
        ("--z_dim=0", "--z_dim=0 is not allowed"),
        ("--d_steps=0", "--d_steps=0 is not allowed"),
        ("--log_every=0", "--log_every=0 is not allowed"),
        ("--checkpoint_every=-5", "--checkpoint_every=-5 is not allowed"),
        ("--keep_every=0", "--keep_every=0 is not allowed"),
        ("--g_learning_rate=0", "--g_learning_rate=0.0 is not allowed: it must be greater than 0."),
        ("--d_learning_rate=-1", "--d_learning_rate=-1.0 is not allowed"),
        ("--d_learning_rate=nan", "--d_learning_rate=nan is not allowed"),
        ("--g_learning_rate=inf", "--g_learning_rate=inf is not allowed"),
        ("--beta1=0.99999999999", "--beta1=0.99999999999 is not allowed"),  # 1 in float32
        ("--g_learning_rate=1e-300", "--g_learning_rate=1e-300 is not allowed"),  # 0 in float32
        ("--g_learning_rate=1e300", "--g_learning_rate=1e+300 is not allowed"),
        ("--steps=99999999999", "--steps=99999999999 is not allowed"),
        (
            "--d_steps=1000000000",
            "--d_steps=1000000000 is not allowed: it must be a whole number from 1 to 10000.",
        ),
        ("--penalty_weight=3", "--penalty_weight has nothing to weigh"),
        ("--penalty_weight=0", "--penalty_weight=0.0 is not allowed"),
        ("--clip=-1", "--clip=-1.0 is not allowed: it must be 0 (off) or greater."),
        ("--beta1=1", "--beta1=1.0 is not allowed: it must be at least 0 and below 1."),
        ("--beta2=-0.1", "--beta2=-0.1 is not allowed"),
        ("--ema=1.5", "--ema=1.5 is not allowed"),
        ("--seed=-1", "--seed=-1 is not allowed: it must be a whole number from 0 to 4294967295."),
        ("--batch_size=ten", "--batch_size: invalid literal for int"),
        ("--batch_sizes=3", "Unrecognized options: --batch_sizes=3. Did you mean --batch_size?"),
        ("--batch_size", "Missing value for argument '--batch_size'"),
        ("--preset", "Missing value for argument '--preset'"),
        ("hinge", "Unrecognized options: hinge."),
    ],
)
def test_bad_input_is_one_line_that_says_what_is_allowed(flag: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        config.parse(flag.split(" "))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_losses_that_need_a_constraint_say_so_and_no_preset_does() -> None:
    free = Config(loss="wasserstein", spectral_norm=False)
    assert "--penalty gp, or take --preset=wgan_gp" in (config.advice(free) or "")
    assert "--penalty r1 r2" in (config.advice(dataclasses.replace(free, loss="relativistic")) or "")
    assert config.advice(dataclasses.replace(free, clip=0.03)) is None
    assert config.advice(dataclasses.replace(free, clip=0.01, model="mlp")) is None
    assert config.advice(dataclasses.replace(free, clip=0.01, penalty=("gp",))) is None
    assert config.advice(Config(clip=0.01)) is None  # spectral norm sets the scale
    paper = config.parse(["--preset=wgan", "--model=conv_small"])
    advice = config.advice(paper) or ""
    assert "give --clip=0.03 --g_learning_rate=5e-4 --d_learning_rate=5e-4." in advice
    mended = config.parse(
        ["--preset=wgan", "--model=conv_small", *advice.split("give ")[1].strip(".").split()]
    )
    assert config.advice(mended) is None
    assert config.advice(dataclasses.replace(free, spectral_norm=True)) is None
    assert "slower than float32" in (config.advice(Config(dtype="bfloat16")) or "")  # on a CPU, as here
    both = config.advice(dataclasses.replace(free, dtype="bfloat16")) or ""
    assert "slower than float32" in both
    assert "--penalty gp" in both
    assert all(config.advice(preset) is None for preset in PRESETS.values())


def test_json_round_trip_and_damage() -> None:
    for preset in PRESETS.values():
        assert config.from_json(config.to_json(preset)) == preset
    whole = json.loads(config.to_json(Config()))
    changes = (
        {"nonsense": 1},
        {"loss": "x"},
        {"z_dim": 100.0},
        {"batch_size": True},
        {"penalty": 3},
        {"conditional": "no"},
    )
    damaged = [json.dumps(whole | change) for change in changes]
    without = json.dumps({k: v for k, v in whole.items() if k != "ema"})
    for text in ("", "[]", "{}", b"\xff\xfe", without, *damaged):
        with pytest.raises(UserError, match="not a valid config"):
            config.from_json(text)

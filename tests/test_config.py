"""The command line: presets, overrides, help, and one clear line for every bad value."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_jax import config, evaluate, sample, workdir
from gan_jax.advice import advice, advice_on_length
from gan_jax.config import PRESETS, Config
from gan_jax.errors import UserError
from gan_jax.human_eval import __main__ as human_eval
from gan_jax.options import options_of
from gan_jax.parts import Facts
from gan_jax.plan import plan
from gan_jax.workdir import path_of

# What each system says beside the default. Losses, penalties and D's updates are the papers' (REFERENCE).
EXPECTED = {
    "gan": {
        "loss": "cross_entropy",
        "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4,
        "beta1": 0.9,
        "batch_size": 128,
        "epochs": 200,
        "model": "mlp",
        "ema": 0.0,
        "penalty": (),
    },
    "lsgan": {"loss": "least_squares", "penalty": (), "epochs": 12},
    "wgan": {
        "loss": "wasserstein",
        "clip": 0.01,
        "d_steps": 5,
        "optimizer": "rmsprop",
        "g_learning_rate": 5e-5,
        "d_learning_rate": 5e-5,
        "beta2": 0.99,
        "batch_size": 64,
        "epochs": 60,
        "model": "mlp",
        "penalty": (),
    },
    "wgan_gp": {"loss": "wasserstein", "penalty": ("gp",), "d_steps": 5, "beta2": 0.9, "epochs": 20},
    "dragan": {"loss": "cross_entropy", "penalty": ("dragan",), "epochs": 12},
    "hinge": {"loss": "hinge", "penalty": (), "epochs": 12},
    "r3gan": {
        "loss": "relativistic",
        "penalty": ("r1", "r2"),
        "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4,
        "batch_size": 64,
        "epochs": 20,
    },
    "best": {
        "loss": "relativistic",
        "penalty": ("r1", "r2"),
        "penalty_weight": 0.5,
        "penalty_every": 4,
        "z_dim": 256,
        "schedule": "cooldown",
        "epochs": 20,
    },
    "best_conditional": {
        "conditional": True,
        "penalty": ("r1", "r2"),
        "penalty_weight": 0.1,
        "penalty_every": 4,
        "z_dim": 256,
        "schedule": "cooldown",
        "epochs": 20,
    },
}
CHUNKS = {"log_every", "checkpoint_every"}  # of those whose batches are larger


@pytest.mark.parametrize("name", EXPECTED)
def test_presets_are_the_default_but_for_what_makes_them(name: str) -> None:
    found = config.from_args([f"--preset={name}"])
    assert found == PRESETS[name]
    normed = name in ("lsgan", "hinge")
    # Light penalties in some steps alone are the default's, and the best systems'.
    light = {"penalty_weight": None, "penalty_every": 1}
    own = {"preset": name, "spectral_norm": normed, **light, **EXPECTED[name]}
    differing = {key for key, value in vars(found).items() if value != getattr(Config(), key)}
    assert {key: getattr(found, key) for key in own} == own
    assert differing <= own.keys() | CHUNKS
    chunk = (100, 1000) if name in ("gan", "wgan", "r3gan") else (400, 4000)
    assert (found.log_every, found.checkpoint_every) == chunk


def test_a_presets_weight_is_of_its_own_penalties() -> None:
    def of(*flags: str) -> tuple[tuple[str, ...], float | None, int]:
        found = config.from_args(["--preset=best", *flags])
        return found.penalty, found.penalty_weight, found.penalty_every

    assert of("--penalty") == ((), None, 1)
    assert of("--penalty=gp") == (("gp",), None, 1)
    assert of("--penalty=gp", "--penalty_weight=3", "--penalty_every=2") == (("gp",), 3, 2)
    assert of("--penalty", "r1", "r2") == of("--penalty=r1,r2") == of() == (("r1", "r2"), 0.5, 4)
    other = config.from_args(["--preset=best", "--penalty=gp"])
    assert path_of(other).name == "mnist-preset-best-penalty=gp"


def test_the_defaults_interval_is_of_its_own_penalties() -> None:
    def of(*flags: str) -> tuple[tuple[str, ...], float | None, int]:
        found = config.from_args(flags)
        return found.penalty, found.penalty_weight, found.penalty_every

    assert of() == of("--penalty=r1,r2") == (("r1", "r2"), 0.3, 4)
    assert of("--penalty") == of("--penalty=") == of("--penalty=,") == ((), None, 1)
    assert of("--penalty", "r2", "r1") == (("r2", "r1"), 0.3, 4)
    assert of("--penalty=r1") == (("r1",), None, 1)
    assert of("--preset=hinge", "--penalty=r1,r2") == (("r1", "r2"), None, 1)
    assert of("--penalty=gp") == (("gp",), None, 1)
    assert of("--penalty_weight=3") == (("r1", "r2"), 3, 4)
    assert path_of(config.from_args(["--penalty"])).name == "mnist-hinge-no_penalty"
    assert path_of(config.from_args(["--penalty=gp"])).name == "mnist-hinge-penalty=gp"


def test_the_defaults_nets() -> None:
    plain = Config()
    nets = (plain.model, plain.optimizer, plain.ema, plain.z_dim, plain.z_distribution)
    assert nets == ("conv_small", "adam", 0.999, 100, "normal")


def test_the_contracts_flags_on_their_own_and_over_a_preset() -> None:
    flags = (
        "--workdir=w --epochs=3 --steps=7 --seed=5 --batch_size=32 --model=mlp --dataset=kmnist --data_dir=d"
    )
    found = config.from_args(["--preset=wgan_gp", *flags.split(), "--loss=hinge"])
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
    assert config.from_args(["--loss=hinge"]) == Config()
    assert config.from_args(["--preset", "r3gan", "--penalty"]).penalty == ()
    assert config.from_args(["--penalty", "gp", "r1"]).penalty == ("gp", "r1")
    assert config.from_args(["--penalty=gp,r1"]).penalty == Config(penalty="gp,r1").penalty == ("gp", "r1")
    with_log = config.from_args(["--penalty=gp", "--tensorboard"])
    assert (with_log.penalty, with_log.tensorboard) == (("gp",), True)
    assert config.from_args(["--preset=wgan", "--spectral_norm"]).spectral_norm  # whatever the default is
    assert not config.from_args(["--preset=hinge", "--no_spectral_norm"]).spectral_norm
    assert config.from_args(["--conditional", "--dtype=bfloat16"]) == Config(
        conditional=True, dtype="bfloat16"
    )


def test_help_is_complete_grouped_and_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        config.from_args(["--preset=wgan", "--help"])
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


@pytest.mark.parametrize("columns", ["1", "5"])
def test_a_narrow_terminal_is_told_the_same(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(UserError, match=r"^unknown flag --los\. Did you mean --loss\? See .* --help\.$"):
        config.from_args(["--los=hinge"])
    with pytest.raises(UserError, match="expected one argument"):
        config.from_args(["--seed"])
    with pytest.raises(SystemExit):
        config.from_args(["--help"])
    assert "--d_learning_rate" in capsys.readouterr().out


def test_the_commands_that_draw_say_the_same_of_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for command in (sample, evaluate, human_eval):
        with pytest.raises(SystemExit) as stop:
            command.main(["--help"])
        assert stop.value.code == 0
        words = " ".join(capsys.readouterr().out.split())
        told.append(words.split("--checkpoint STEP ")[1].split("newest.")[0])
        assert "--workdir " in words
        assert "--seed INT" in words
    assert len(set(told)) == 1
    assert told[0].startswith("Step of the checkpoint, or best")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--loss=hnge", "unknown loss 'hnge'. Did you mean 'hinge'? Allowed: cross_entropy, minimax, "),
        ("--model=mpl", "unknown model 'mpl'. Did you mean 'mlp'?"),
        ("--preset=wgangp", "unknown preset 'wgangp'. Did you mean 'wgan_gp'?"),
        ("--penalty=r3", "unknown penalty 'r3'. Allowed: gp, dragan, r1, r2."),
        ("--optimizer=sgd", "unknown optimizer 'sgd'. Allowed: adam, adamw, rmsprop."),
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
        ("--penalty=none", "unknown penalty 'none'. For none write --penalty without a value."),
        ("--penalty --penalty_weight=3", "--penalty_weight has nothing to weigh"),
        (
            "--penalty --penalty_every=4",
            "--penalty_every=4 needs a penalty: name a --penalty as well, or give 1.",
        ),
        ("--penalty_weight=0", "--penalty_weight=0.0 is not allowed"),
        ("--clip=-1", "--clip=-1.0 is not allowed: it must be 0 (off) or greater."),
        ("--beta1=1", "--beta1=1.0 is not allowed: it must be at least 0 and below 1."),
        ("--beta2=-0.1", "--beta2=-0.1 is not allowed"),
        ("--ema=1.5", "--ema=1.5 is not allowed"),
        ("--seed=-1", "--seed=-1 is not allowed: it must be a whole number from 0 to 4294967295."),
        ("--batch_size=ten", "--batch_size=ten is not allowed: it must be a whole number"),
        ("--batch_sizes=3", "unknown flag --batch_sizes. Did you mean --batch_size?"),
        ("--batch_size", "--batch_size: expected one argument"),
        ("--preset", "--preset: expected one argument"),
        ("hinge", "'hinge' follows no flag: write --FLAG=hinge."),
        ("--lr=3", "unknown flag --lr. Did you mean --g_learning_rate or --d_learning_rate?"),
        ("--clip_grad=3", "unknown flag --clip_grad. Did you mean --grad_clip?"),
        ("--latent_dim=3", "unknown flag --latent_dim. Did you mean --z_dim?"),
        ("--loss=wgan", "unknown loss 'wgan'. A whole system of that name is --preset=wgan."),
        ("--preset=minimax", "unknown preset 'minimax'. A loss of that name is --loss=minimax."),
        (
            "--schedule=cos",
            "unknown schedule 'cos'. Did you mean 'cosine'? Allowed: constant, cosine, linear, cooldown, r3gan.",
        ),
        ("--channels=2", "--channels=2 is not allowed: it must be 1 or 3."),
        (
            "--plugin=a.py b.py",
            "'b.py' follows no flag: for several leave '=' out, as in --plugin a.py b.py.",
        ),
        ("--config=\ud800", "--config=\\ud800 is not allowed: it must be a path."),
        ("--config=\0", "--config=\\x00 is not allowed: it must be a path."),
        ("--penalty=gp r1", "'r1' follows no flag: for several leave '=' out, as in --penalty gp r1."),
        ("mine.py", "'mine.py' follows no flag: write --plugin=mine.py."),
        ("a/b.npz", "'a/b.npz' follows no flag: write --dataset=a/b.npz."),
        ("--conditional=true", "--conditional takes no value: write --conditional or --no_conditional."),
        ("--help=1", " takes no value: write "),
        ("--no_ema", "unknown flag --no_ema. Write --ema=0."),
        ("--no-grad-clip", "unknown flag --no_grad_clip. Write --grad_clip=0."),
        ("--no_penalty", "unknown flag --no_penalty. For none write --penalty without a value."),
        ("--no_keep_every", "unknown flag --no_keep_every. Leave --keep_every out instead."),
        ("--no_batch_size", "unknown flag --no_batch_size. Did you mean --batch_size?"),
        ("--plugin=nowhere.py", "--plugin=nowhere.py is no Python file"),
    ],
)
def test_bad_input_is_one_line_that_says_what_is_allowed(flag: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        config.from_args(flag.split(" "))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--workdir=a", "b"], "'b' follows no flag: for several leave '=' out, as in --workdir a b."),
        (["w/own"], "'w/own' follows no flag: write --workdir=w/own."),
        (["a.npz"], "'a.npz' follows no flag: write --npz=a.npz."),
    ],
)
def test_evaluate_says_which_flag_a_text_wants(args: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        evaluate.main(args)
    assert message in str(error.value)


def test_steps_win_over_epochs_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    found = config.from_args(["--steps=7", "--epochs", "3"])
    assert (found.steps, found.epochs) == (7, 3)
    assert capsys.readouterr().err == "warning: --steps=7 and --epochs=3 were both given: the steps count.\n"
    config.from_args(["--preset=wgan", "--steps=7"])
    assert capsys.readouterr().err == ""


def test_best_with_labels_says_that_another_is_better() -> None:
    assert advice(Config(preset="best", conditional=True)) == (
        "with labels --preset=best_conditional is better than best, on MNIST at least."
    )
    for config_ in (Config(preset="best"), Config(conditional=True), Config(preset="best_conditional")):
        assert advice(config_) is None


def test_losses_that_need_a_constraint_say_so_and_no_preset_does() -> None:
    assert advice(Config(loss="wasserstein")) is None  # the default's penalties
    free = Config(loss="wasserstein", penalty=())
    assert "--penalty gp, or take --preset=wgan_gp" in (advice(free) or "")
    assert "--penalty r1 r2" in (advice(dataclasses.replace(free, loss="relativistic")) or "")
    assert advice(dataclasses.replace(free, clip=0.03)) is None
    assert advice(dataclasses.replace(free, clip=0.01, model="mlp")) is None
    assert advice(dataclasses.replace(free, clip=0.03, penalty=("gp",))) is None
    assert "leaves these nets' samples grey" in (advice(Config(loss="wasserstein", clip=0.01)) or "")
    assert advice(Config(loss="wasserstein", clip=0.01, spectral_norm=True)) is None  # which sets the scale
    paper = config.from_args(["--preset=wgan", "--model=conv_small"])
    line = advice(paper) or ""
    assert "give --clip=0.03 --g_learning_rate=5e-4 --d_learning_rate=5e-4." in line
    mended = config.from_args(
        ["--preset=wgan", "--model=conv_small", *line.split("give ")[1].strip(".").split()]
    )
    assert advice(mended) is None
    assert advice(dataclasses.replace(free, spectral_norm=True)) is None
    assert "slower than float32" in (advice(Config(dtype="bfloat16")) or "")  # on a CPU, as here
    both = advice(dataclasses.replace(free, dtype="bfloat16")) or ""
    assert "slower than float32" in both
    assert "--penalty gp" in both
    assert all(advice(preset) is None for preset in PRESETS.values())


def test_another_penalty_than_a_files_has_its_own_weight(tmp_path: Path) -> None:
    facts = Facts((8, 8, 1), 100, None, "")
    workdir.write_config(tmp_path, Config(preset="best"), facts)
    file = f"--config={tmp_path}/config.json"
    same = config.from_args([file])
    assert (same.penalty, same.penalty_weight, same.penalty_every) == (("r1", "r2"), 0.5, 4)
    for flag in ("--penalty=r1,r2", "--penalty=r2,r1"):
        again = config.from_args([file, flag])
        assert (again.penalty_weight, again.penalty_every) == (0.5, 4)
    for flags, penalty in (["--penalty"], ()), (["--penalty=gp"], ("gp",)):
        found = config.from_args([file, *flags])
        assert (found.penalty, found.penalty_weight, found.penalty_every) == (penalty, None, 1)
    assert config.from_args([file, "--penalty=gp", "--penalty_weight=3"]).penalty_weight == 3
    with pytest.raises(UserError, match=r"--ema=1000.* is not allowed"):
        Config(ema=10**400)  # more than any float


def test_epochs_of_few_images_are_said_to_be_few_steps() -> None:
    best = Config(preset="best")
    line = advice_on_length(best, plan(best, 300), 300) or ""
    assert line.startswith(
        "20 epochs of these 300 images are 360 steps, and of MNIST they are 75,000: give --steps"
    )
    assert advice_on_length(best, plan(best, 60_000), 60_000) is None
    assert advice_on_length(best, plan(best, 9_000), 9_000) is None  # 11,250 steps
    short = dataclasses.replace(best, steps=10)
    assert advice_on_length(short, plan(short, 300), 300) is None  # who gives steps knows
    assert advice_on_length(Config(epochs=1), plan(Config(epochs=1), 60_000), 60_000) is None  # a first try
    labels = Config(conditional=True, steps=40_001)
    line = advice_on_length(labels, plan(labels, 60_000), 60_000) or ""
    assert line.startswith("40,001 steps with labels are many")
    assert line.endswith(
        "under penalties of weight 0.3 or more, and did not under lighter ones. Give --penalty_weight=0.1."
    )
    for change in ({"steps": 40_000}, {"penalty_weight": 0.2}, {"conditional": False}):
        other = dataclasses.replace(labels, **change)
        assert advice_on_length(other, plan(other, 60_000), 60_000) is None
    for preset in ("hinge", "best", "best_conditional"):  # normed, advised against anyway, and light
        other = Config(preset=preset, conditional=True, steps=90_000)
        assert advice_on_length(other, plan(other, 60_000), 60_000) is None
    heavy = Config(preset="best_conditional", penalty_weight=0.3)
    assert "Give --penalty_weight=0.1." in (advice_on_length(heavy, plan(heavy, 60_000), 60_000) or "")


def test_json_round_trip_and_damage() -> None:
    for preset in PRESETS.values():
        assert config.from_json(json.loads(json.dumps(config.to_json(preset)))) == preset
    whole = config.to_json(Config())
    changes = (
        {"loss": "x"},
        {"z_dim": 100.0},
        {"batch_size": True},
        {"penalty": 3},
        {"conditional": "no"},
        {"preset": "x"},
        {"preset": []},
        {"preset": {}},
        {"preset": 3},
        {"dataset": 3},
    )
    without = {k: v for k, v in whole.items() if k != "ema"}
    for values in ([], {}, 3, None, without, *[whole | change for change in changes]):
        with pytest.raises(UserError):
            config.from_json(values)


@pytest.mark.parametrize(
    "change",
    [
        {"image_shape": [-3, 0, 1]},
        {"image_shape": [8, 8]},
        {"image_shape": ["8", 8, 1]},
        {"image_shape": None},
        {"num_images": 0},
        {"num_images": 1.5},
        {"num_classes": []},
    ],
)
def test_damaged_facts_of_a_run_are_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    workdir.write_config(tmp_path, Config(), Facts((8, 8, 1), 100, 10, "0"))
    assert workdir.read(tmp_path).facts.image_shape == (8, 8, 1)
    values = json.loads((tmp_path / "config.json").read_text())
    values["data"] |= change
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="it does not say what its images are"):
        workdir.read(tmp_path)


def test_from_python_a_preset_means_what_its_flag_means() -> None:
    for name, preset in PRESETS.items():
        assert Config(preset=name) == preset
    mine = Config(preset="wgan_gp", seed=1, beta1=0.3)
    assert mine == config.from_args(["--preset=wgan_gp", "--seed=1", "--beta1=0.3"])
    assert (mine.loss, mine.penalty, mine.d_steps, mine.beta1) == ("wasserstein", ("gp",), 5, 0.3)
    assert dataclasses.replace(mine, seed=2).penalty == ("gp",)
    with pytest.raises(UserError, match=r"unknown preset 'wgangp'\. Did you mean 'wgan_gp'"):
        Config(preset="wgangp")


def test_from_python_values_take_their_fields_type() -> None:
    assert Config(penalty="gp") == Config(penalty=["gp"]) == Config(penalty=("gp",))
    assert Config(workdir=Path("runs/x")).workdir == "runs/x"
    assert type(Config(ema=0).ema) is float
    assert Config(seed=np.int64(3)) == Config(seed=3)
    for fields in (
        {"penalty": 3},
        {"seed": "3"},
        {"seed": True},
        {"ema": "x"},
        {"workdir": 3},
        {"loss": None},
    ):
        with pytest.raises(UserError):
            Config(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"penalty": None}, "unknown penalty 'None'. Allowed: gp, dragan, r1, r2."),
        ({"penalty": 3}, "unknown penalty '3'. Allowed: gp, dragan, r1, r2."),
        (
            {"g_learning_rate": "1e-3"},
            "--g_learning_rate='1e-3' is not allowed: it must be a number, not text.",
        ),
        ({"seed": "3"}, "--seed='3' is not allowed: it must be a number, not text."),
        ({"channels": "1"}, "--channels='1' is not allowed: it must be a number, not text."),
        ({"seed": "x"}, "--seed=x is not allowed: it must be a whole number from 0 to"),
    ],
)
def test_from_python_too_an_error_says_what_is_allowed(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        Config(**fields)
    assert words in str(error.value)


def test_a_registered_preset_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "mine", Config(loss="least_squares", d_steps=3))
    found = config.from_args(["--preset=mine", "--seed=4"])
    assert (found.preset, found.loss, found.d_steps, found.seed) == ("mine", "least_squares", 3, 4)


def test_a_registered_preset_must_be_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "mine", {"loss": "hinge"})
    with pytest.raises(
        UserError, match=r"PRESETS\['mine'\] must be a gan_jax\.Config, and is of the type dict"
    ):
        Config(preset="mine")


def test_the_default_folder_says_all_that_changes_a_number() -> None:
    name = lambda *args: path_of(config.from_args(args)).name
    assert name() == "mnist-hinge"
    assert name("--loss=minimax", "--epochs=3", "--log_every=7") == "mnist-minimax"
    assert name("--preset=wgan") == "mnist-preset-wgan"
    assert (
        name("--preset=wgan", "--loss=hinge", "--conditional") == "mnist-preset-wgan-loss=hinge-conditional"
    )
    assert name("--preset=lsgan", "--no_spectral_norm") == "mnist-preset-lsgan-no_spectral_norm"
    assert name("--seed=3", "--spectral_norm") == "mnist-hinge-spectral_norm-seed=3"
    assert name("--g_learning_rate=3e-4") == "mnist-hinge-g_learning_rate=0.0003"
    assert name("--penalty", "r1", "dragan") == "mnist-hinge-penalty=r1+dragan"
    assert name("--penalty", "r1", "r2") == "mnist-hinge"
    assert name("--schedule=cosine", "--epochs=3") == "mnist-hinge-schedule=cosine-epochs=3"
    assert name("--preset=wgan_gp", "--penalty") == "mnist-preset-wgan_gp-no_penalty"
    own = name("--dataset=a/photos.npz", "--image_size=32")
    assert re.fullmatch("photos-[0-9a-f]{8}-hinge-image_size=32", own)
    assert own == name(f"--dataset={Path('a/photos.npz').resolve()}", "--image_size=32")
    assert own != name("--dataset=b/photos.npz", "--image_size=32")
    assert name("--dataset=mnist.npz") != "mnist-hinge"
    free = {
        "preset",
        "dataset",
        "data_dir",
        "workdir",
        "log_every",
        "checkpoint_every",
        "keep_every",
        "eval_every",
    }
    free |= {"log_gradients", "tensorboard", "epochs", "steps"}
    assert {field.name for field in dataclasses.fields(Config)} - free == {
        name for name, found in options_of(Config).items() if found.role in ("system", "rate")
    }

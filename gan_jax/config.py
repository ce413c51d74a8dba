"""What a run is: `Config`, the `PRESETS` of the literature, validation and the command line.

A Config is frozen and valid: building one with a bad value raises `UserError`. Change one with
`dataclasses.replace`.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import numpy as np
import tyro

from gan_jax import cli
from gan_jax.data import DATASETS
from gan_jax.errors import UserError, unknown
from gan_jax.models import MODELS
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES

Z_DISTRIBUTIONS = ("normal", "uniform")
OPTIMIZERS = ("adam", "rmsprop")
DTYPES = ("float32", "bfloat16")

T = TypeVar("T")


def _choice(names: Sequence[str]) -> Any:
    # A plain string for tyro, so that a wrong name gets our one-line error with the nearest right one.
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}")


# Config's own defaults are chosen by score (see README.md). These are the papers': the length is Lucic 2018's, as are
# the nets, at a quarter of the width. Averaged weights are ours: they better the score of every system.
_PAPERS: dict[str, Any] = {
    "g_learning_rate": 2e-4,
    "d_learning_rate": 2e-4,
    "spectral_norm": False,
    "epochs": 20,
}

_PRESET_VALUES: dict[str, dict[str, Any]] = {
    # The tutorial's program.
    "gan": {
        "loss": "cross_entropy",
        "beta1": 0.9,
        "model": "mlp",
        "batch_size": 128,
        "epochs": 200,
        "ema": 0.0,
    },
    # Mao 2017.
    "lsgan": {"loss": "least_squares"},
    # Arjovsky 2017, algorithm 1. Five batches a step, hence more passes over the data.
    "wgan": {
        "model": "mlp",
        "loss": "wasserstein",
        "clip": 0.01,
        "d_steps": 5,
        "epochs": 60,
        "optimizer": "rmsprop",
        "g_learning_rate": 5e-5,
        "d_learning_rate": 5e-5,
        "beta2": 0.99,
    },
    # Gulrajani 2017, algorithm 1.
    "wgan_gp": {
        "loss": "wasserstein",
        "penalty": ("gp",),
        "d_steps": 5,
        "epochs": 40,
        "g_learning_rate": 1e-4,
        "d_learning_rate": 1e-4,
        "beta1": 0.0,
        "beta2": 0.9,
    },
    # Kodali 2017.
    "dragan": {"loss": "cross_entropy", "penalty": ("dragan",)},
    # Miyato 2018.
    "hinge": {"loss": "hinge", "spectral_norm": True, "beta1": 0.0, "beta2": 0.9},
    # Huang 2024.
    "r3gan": {"loss": "relativistic", "penalty": ("r1", "r2"), "beta1": 0.0},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """The GAN: its objective and what constrains its discriminator."""

    preset: Annotated[str | None, _choice(tuple(_PRESET_VALUES))] = None
    """A system of the literature: the defaults of the other options; those given beside it win."""
    loss: Annotated[str, _choice(tuple(OBJECTIVES))] = "hinge"
    """The objective."""
    penalty: Annotated[tuple[str, ...], _choice(tuple(PENALTIES))] = ()
    """Gradient penalties on D: none, one, or several separated by spaces."""
    penalty_weight: float | None = None
    """Weight of the penalties. Default: the papers', 10 for gp and dragan, 1 for r1 and r2."""
    spectral_norm: bool = True
    """Divide every kernel of D by its largest singular value."""
    clip: float = 0.0
    """Clip D's parameters to [-clip, clip] after each of its updates; 0 is off."""
    d_steps: int = 1
    """D updates per G update."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nets:
    """The networks and their noise."""

    model: Annotated[str, _choice(tuple(MODELS))] = "conv_small"
    """Generator and discriminator: the tutorial's, the literature's convolutional ones, or those at quarter width."""
    conditional: bool = False
    """Generate a class on demand: a class embedding in G, and D judges image and label together."""
    dtype: Annotated[str, _choice(DTYPES)] = "float32"
    """Of the nets' arithmetic; all else is float32, whose products may be TF32 on NVIDIA. bfloat16 is for GPU, TPU."""
    z_dim: int = 100
    """Number of noise values per image."""
    z_distribution: Annotated[str, _choice(Z_DISTRIBUTIONS)] = "normal"
    """The noise: N(0, 1), or U(-1, 1)."""
    ema: float = 0.999
    """Decay, per step, of the averaged generator weights that samples come from; 0 is off."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizers and the length of the run. A step is one G update, with its D updates."""

    optimizer: Annotated[str, _choice(OPTIMIZERS)] = "adam"
    """The optimizer of both nets."""
    g_learning_rate: float = 1e-3
    """Learning rate of the generator."""
    d_learning_rate: float = 1e-3
    """Learning rate of the discriminator."""
    beta1: float = 0.5
    """Adam's decay of the mean gradient; RMSProp has none."""
    beta2: float = 0.999
    """Decay of the mean squared gradient, of Adam and of RMSProp."""
    batch_size: int = 64
    """Images per update, over all devices."""
    epochs: int = 10
    """Passes over the data set; the last partial batch of each is dropped."""
    steps: int | None = None
    """Number of steps, instead of epochs."""
    seed: int = 0
    """Every random number of the run follows from it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The data and what is written."""

    dataset: Annotated[str, _choice(tuple(DATASETS))] = "mnist"
    """The data set. MNIST comes with the package."""
    data_dir: str | None = None
    """A folder that holds the data set's four original files."""
    workdir: str | None = None
    """Folder of the run; rerun with the same one to resume. Default: runs/DATASET-LOSS or runs/DATASET-preset-NAME, and
    then the model, `conditional` and the seed where they are not the system's own."""
    log_every: int = 100
    """Steps per chunk: a compiled call, a logged line, a grid of samples."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; the newest 3 are kept."""
    keep_every: int | None = None
    """Also keep for good the checkpoints at multiples of this number of steps."""
    eval_every: int | None = None
    """Epochs between evaluations by Fréchet distance, at the next logged step; the best checkpoint is then kept."""
    tensorboard: bool = False
    """Also write TensorBoard event files (pip install 'gan_jax[tensorboard]')."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(System, Nets, Optimization, Run):
    """A whole run. Raises `UserError` if a value is not allowed."""

    def __post_init__(self) -> None:
        """Check every field."""
        _check_names(self)
        _check_numbers(self)
        for name in ("spectral_norm", "conditional", "tensorboard"):
            if type(value := getattr(self, name)) is not bool:
                raise UserError(f"--{name}={value} is not allowed: it must be true or false.")
        if self.preset is not None and self.preset not in _PRESET_VALUES:
            raise unknown("preset", self.preset, _PRESET_VALUES)


def _check_names(config: Config) -> None:
    choices: list[tuple[str, str, Collection[str]]] = [
        ("loss", config.loss, OBJECTIVES),
        ("model", config.model, MODELS),
        ("dataset", config.dataset, DATASETS),
        ("optimizer", config.optimizer, OPTIMIZERS),
        ("z_distribution", config.z_distribution, Z_DISTRIBUTIONS),
        ("dtype", config.dtype, DTYPES),
        *(("penalty", name, PENALTIES) for name in config.penalty),
    ]
    for kind, name, allowed in choices:
        if name not in allowed:
            raise unknown(kind, name, allowed)
    if len(set(config.penalty)) < len(config.penalty):
        raise UserError(f"--penalty names one twice: {' '.join(config.penalty)}. Give each once.")


class _Rule(NamedTuple):
    """What a number may be: a test, the words for it, and whether only whole numbers will do.

    Others are tested by their float32 value, in which training computes.
    """

    allowed: Callable[[float], bool]
    words: str
    whole: bool = False


_COUNT = _Rule(lambda x: 1 <= x < 2**31, "a whole number from 1 to 2147483647", whole=True)
_SMALL = _Rule(lambda x: 1 <= x <= 10_000, "a whole number from 1 to 10000", whole=True)
_RATE = _Rule(lambda x: x > 0, "greater than 0")
_OR_OFF = _Rule(lambda x: x >= 0, "0 (off) or greater")
_DECAY = _Rule(lambda x: 0 <= x < 1, "at least 0 and below 1")
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("batch_size", "epochs", "steps"), _COUNT),
    **dict.fromkeys(("z_dim", "d_steps"), _SMALL),
    **dict.fromkeys(("log_every", "checkpoint_every", "keep_every", "eval_every"), _COUNT),
    **dict.fromkeys(("g_learning_rate", "d_learning_rate", "penalty_weight"), _RATE),
    "clip": _OR_OFF,
    **dict.fromkeys(("beta1", "beta2", "ema"), _DECAY),
    "seed": _Rule(lambda x: 0 <= x < 2**32, "a whole number from 0 to 4294967295", whole=True),
}


def _check_numbers(config: Config) -> None:
    for name, rule in _RULES.items():
        value = getattr(config, name)
        if value is None:
            continue
        with np.errstate(over="ignore"):
            number = value if rule.whole else float(np.float32(value))
        right_kind = type(value) is int or not rule.whole
        if not (right_kind and math.isfinite(number) and rule.allowed(number)):
            raise UserError(f"--{name}={value} is not allowed: it must be {rule.words}.")
    if config.penalty_weight is not None and not config.penalty:
        raise UserError("--penalty_weight has nothing to weigh: name a --penalty as well, or leave it out.")


PRESETS: dict[str, Config] = {
    name: Config(**(_PAPERS | {"preset": name} | values)) for name, values in _PRESET_VALUES.items()
}


def parse(args: Sequence[str]) -> Config:
    """The Config that a command line describes: a preset's values, and over them the flags beside it.

    Raises `UserError` for anything that is not allowed.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset")
    preset = None
    with contextlib.suppress(argparse.ArgumentError):  # a --preset without a name: cli.parse says so
        preset = finder.parse_known_args(args)[0].preset
        if preset is not None and preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
    base = PRESETS[preset] if preset else Config()

    def build(system: System, nets: Nets, optimization: Optimization, run: Run) -> Config:
        return Config(**{k: v for part in (system, nets, optimization, run) for k, v in vars(part).items()})

    return cli.parse(
        functools.partial(
            build,
            system=_part(System, base),
            nets=_part(Nets, base),
            optimization=_part(Optimization, base),
            run=_part(Run, base),
        ),
        args,
        prog="python -m gan_jax.train",
        description="Train a GAN on MNIST-sized images. Rerun the same command to resume.",
    )


def _part(kind: type[T], config: Config) -> T:
    """The fields of one group of options."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


# The preset that keeps D in bounds for a loss that needs it: without, these two collapse on real MNIST.
_CONSTRAINED = {"wasserstein": "wgan_gp", "relativistic": "r3gan"}

# What WGAN's clipping takes on convolutional nets without BatchNorm, by trial on MNIST with `conv_small`.
CONV_CLIP = 0.03
CONV_WGAN_FLAGS = (f"--clip={CONV_CLIP}", "--g_learning_rate=5e-4", "--d_learning_rate=5e-4")


def advice(config: Config) -> str | None:
    """A line for a config that is allowed and known not to train well, or not fast, else None."""
    slow = config.dtype == "bfloat16" and jax.default_backend() == "cpu"
    speed = "--dtype=bfloat16 is for GPU and TPU: on a CPU it is slower than float32." if slow else None
    return " ".join(filter(None, (speed, _advice_on_bounds(config)))) or None


def _advice_on_bounds(config: Config) -> str | None:
    if config.loss not in _CONSTRAINED or config.penalty or config.spectral_norm:
        return None
    if config.loss == "wasserstein" and config.model != "mlp" and 0 < config.clip < CONV_CLIP:
        return (
            f"--clip={config.clip:g} is for critics with BatchNorm, and leaves these nets' samples grey: "
            f"give {' '.join(CONV_WGAN_FLAGS)}."
        )
    if config.clip:
        return None
    preset = _CONSTRAINED[config.loss]
    return (
        f"the {config.loss} loss with nothing that bounds D collapses: "
        f"add --penalty {' '.join(PRESETS[preset].penalty)}, or take --preset={preset}."
    )


def to_json(config: Config) -> str:
    """The Config as JSON, as `config.json` holds it."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str | bytes) -> Config:
    """The Config that `to_json` wrote. Raises `UserError` if the text is not one."""
    try:
        values = json.loads(text)
        if missing := {field.name for field in dataclasses.fields(Config)} - values.keys():
            raise UserError(f"it lacks {', '.join(sorted(missing))}; another version may have written it")
        return Config(**{**values, "penalty": tuple(values["penalty"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"not a valid config: {' '.join(str(error).split())}") from error

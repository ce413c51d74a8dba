"""What a run is: `Config`, and the `PRESETS`, most of them systems of the literature.

A Config is frozen and valid: building one with a bad value raises `UserError`. What is not given takes the preset's
value, or the default. Change one with `dataclasses.replace`, which keeps every other value: another preset is a new
`Config(preset=…)`. Its fields are in `fields`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from gan_jax import cli, options
from gan_jax.errors import UserError, unknown
from gan_jax.fields import PRESETS, Nets, Optimization, Run, System
from gan_jax.storage import expanded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(System, Nets, Optimization, Run):
    """A whole run. Raises `UserError` if a value is not allowed.

    A preset gives the values that are not given beside it. To `dataclasses.replace` all of them are given, a penalty's
    weight and its interval as well: for another penalty build a new Config.
    """

    def __post_init__(self) -> None:
        """Take what was not given from the preset, and check every field."""
        # The penalty first: a preset's weight, and how often, are those of its own penalties.
        options.check_only(self, ("penalty",), _defaults(self.preset))
        options.check(self, _defaults(self.preset, self.penalty))
        for name in ("penalty", "augment"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UserError(f"--{name} names one twice: {' '.join(given)}. Give each once.")
        if self.penalty_weight is not None and not self.penalty:
            raise UserError(
                "--penalty_weight has nothing to weigh: name a --penalty as well, or leave it out."
            )
        if self.penalty_every > 1 and not self.penalty:
            raise UserError(
                f"--penalty_every={self.penalty_every} needs a penalty: name a --penalty as well, or give 1."
            )
        if self.batch_size % self.pack:
            raise UserError(
                f"--batch_size={self.batch_size} does not divide by --pack={self.pack}: give a multiple of {self.pack}."
            )
        if self.pack > 1 and self.conditional:
            raise UserError(
                f"--pack={self.pack} with --conditional is not allowed: a pack has no one class. Leave one of them out."
            )


C = TypeVar("C", bound=Config)

# Of other penalties than a system's own: the papers' weights, in every step.
OF_PENALTIES = {"penalty_weight": None, "penalty_every": 1}


def _defaults(preset: Any, penalty: tuple[str, ...] | None = None) -> dict[str, Any]:
    """What a system says, a preset or the default, beside a penalty that may be another than its own.

    A preset that there is not says what the default does; `options.check` refuses it.
    """
    values = {name: found.default for name, found in options.options_of(Config).items()}
    if isinstance(preset, str) and preset in PRESETS:
        if not isinstance(PRESETS[preset], Config):
            raise UserError(
                f"--preset={preset}: PRESETS[{preset!r}] must be a gan_jax.Config, and is of the type "
                f"{type(PRESETS[preset]).__name__}."
            )
        values = {name: value for name, value in vars(PRESETS[preset]).items() if name != "preset"}
    own = penalty is None or set(penalty) == set(values["penalty"])
    return values if own else {**values, **OF_PENALTIES}


# What makes each system: its objective, and what keeps D in bounds. All else is Config's default, which was chosen by
# score (see experiments/README.md). A system that needs other values says so.
_BY_NORM = {"spectral_norm": True, "penalty": (), "epochs": 12}
_SYSTEMS: dict[str, dict[str, Any]] = {
    # The tutorial's program, number for number.
    "gan": {
        "loss": "cross_entropy",
        "penalty": (),
        "model": "mlp",
        "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4,
        "beta1": 0.9,
        "batch_size": 128,
        "epochs": 200,
        "ema": 0.0,
        "log_every": 100,
        "checkpoint_every": 1000,
    },
    # Mao 2017. Their D has BatchNorm; ours needs a bound as well, or G's classes become uneven.
    "lsgan": {"loss": "least_squares", **_BY_NORM},
    # Arjovsky 2017, algorithm 1. Five batches a step, hence more passes over the data.
    "wgan": {
        "loss": "wasserstein",
        "penalty": (),
        "clip": 0.01,
        "d_steps": 5,
        "model": "mlp",
        "optimizer": "rmsprop",
        "g_learning_rate": 5e-5,
        "d_learning_rate": 5e-5,
        "beta2": 0.99,
        "batch_size": 64,
        "epochs": 60,
        "log_every": 100,
        "checkpoint_every": 1000,
    },
    # Gulrajani 2017, algorithm 1.
    "wgan_gp": {
        "loss": "wasserstein",
        "penalty": ("gp",),
        "d_steps": 5,
        "beta2": 0.9,
        "epochs": 20,
    },
    # Kodali 2017.
    "dragan": {"loss": "cross_entropy", "penalty": ("dragan",), "epochs": 12},
    # Miyato 2018.
    "hinge": {"loss": "hinge", **_BY_NORM},
    # Huang 2024. In the default's batches, at its rates and with a weight of 0.3, it is worse on MNIST.
    "r3gan": {
        "loss": "relativistic",
        "penalty": ("r1", "r2"),
        "penalty_weight": None,
        "penalty_every": 1,
        "g_learning_rate": 2e-4,
        "d_learning_rate": 2e-4,
        "batch_size": 64,
        "epochs": 20,
        "log_every": 100,
        "checkpoint_every": 1000,
    },
    # No paper's: chosen by scores on MNIST and Fashion-MNIST (see experiments/README.md). The loss of r3gan in the
    # default system, with heavier penalties.
    "best": {
        "loss": "relativistic",
        "penalty": ("r1", "r2"),
        "penalty_weight": 0.5,
        "z_dim": 256,
        "schedule": "cooldown",
        "epochs": 20,
    },
    # No paper's either. The default with labels, so with the hinge loss, which is better with them than r3gan's; with
    # lighter penalties, and the noise, the schedule and the epochs of `best`.
    "best_conditional": {
        "conditional": True,
        "penalty_weight": 0.1,
        "z_dim": 256,
        "schedule": "cooldown",
        "epochs": 20,
    },
}

# To add one: PRESETS["mine"] = Config(loss="mine", …). Config(preset="mine") then takes its values.
for _name, _values in _SYSTEMS.items():
    PRESETS[_name] = Config(**_values)
    PRESETS[_name] = Config(preset=_name)  # the same, now under its name


def from_args(args: Sequence[str]) -> Config:
    """The Config that a command line describes: a preset's values, and over them the flags beside it.

    Raises `UserError` for anything that is not allowed.
    """
    return command_from_args(Config, args)


def command_from_args(kind: type[C], args: Sequence[str]) -> C:
    """`from_args` of a Config with more options."""
    names = {arg.split("=")[0] for arg in args}
    found = cli.parse(
        kind,
        args,
        prog="python -m gan_jax.train",
        description="Train a GAN on MNIST-sized images. Rerun the same command to resume.",
        defaults=lambda given: _defaults(given.get("preset"), penalties_of(given)),
        from_file=cli.FromFile(
            "A run's config.json: all its values but for --workdir; flags beside it win.",
            _values_of_file,
        ),
    )
    if "--time" in names and (other := sorted(names & {"--steps", "--epochs"})):
        raise UserError(f"--time and {other[0]} are two lengths of the run: give one of them.")
    if {"--steps", "--epochs"} <= names:
        from gan_jax import report  # which takes a Config

        report.warn_of_two_lengths(found.steps, found.epochs)
    return found


def penalties_of(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The penalties that a command line gives, whose texts are not checked yet; None if it gives none."""
    return tuple(options.apart(given["penalty"])) if "penalty" in given else None


def _values_of_file(file: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's config.json says of it, but for its folder and what flags give. Raises `UserError`."""
    from gan_jax import workdir  # which takes a Config

    record = workdir.read_file(expanded(file))
    if not record.alone:
        raise UserError(f"--config={file} is of a population: `gan_jax.compare` trains those.")
    if "preset" in given:
        raise UserError(f"--config={file} and --preset are two whole systems: give one of them.")
    left_out = {"workdir"} | ({"steps"} if {"epochs", "time"} & given.keys() else set())  # which would count
    penalties = penalties_of(given)
    if penalties is not None and set(penalties) != set(record.config.penalty):
        left_out |= OF_PENALTIES.keys()
    return {name: value for name, value in vars(record.config).items() if name not in left_out}


def own_values(config: Config) -> dict[str, Any]:
    """What the config's system says by itself: the preset's values, or the defaults."""
    return {"preset": None, **_defaults(config.preset, config.penalty)}


def differing(there: Config, here: Config, *roles: str) -> list[str]:
    """The options of these roles, by default of all, in which two configs differ, each with both values."""
    return [
        f"{name} ({getattr(there, name)} there, {getattr(here, name)} here)"
        for name, found in options.options_of(Config).items()
        if (not roles or found.role in roles) and getattr(there, name) != getattr(here, name)
    ]


def to_json(config: Config) -> dict[str, Any]:
    """The Config as JSON values, as `config.json` holds them."""
    return dataclasses.asdict(config)


def from_json(values: Any) -> Config:
    """The Config that `to_json` wrote. Raises `UserError` if it is none, or another version's."""
    names = {field.name for field in dataclasses.fields(Config)}
    if not isinstance(values, dict):
        raise UserError("not a valid config: it must be an object")
    if missing := names - values.keys():
        raise UserError(f"it lacks {', '.join(sorted(missing))}; another version may have written it")
    preset = values["preset"]
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise unknown("preset", preset, PRESETS)
    return Config(**{name: values[name] for name in names})

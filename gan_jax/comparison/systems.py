"""What a comparison compares: its options, and the members' configs of each system."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from gan_jax import options, workdir
from gan_jax.config import OF_PENALTIES, PRESETS, Config, own_values
from gan_jax.duration import Length
from gan_jax.errors import UserError, nearest
from gan_jax.fields import Nets, Optimization, Run, System
from gan_jax.objectives import OBJECTIVES
from gan_jax.options import COUNT, REQUIRED, TEXT, Rule, option, options_of, whole
from gan_jax.processes import Processes
from gan_jax.storage import expanded
from gan_jax.workdir import worded

# Options of `gan_jax.train` that mean nothing here, and what to do instead.
FOREIGN = {
    **dict.fromkeys(
        options_of(Length),
        "its systems train for so many steps or epochs, however long each takes. Give --steps or --epochs; "
        "`gan_jax.train --time` says how many steps a system makes in a time.",
    ),
    **dict.fromkeys(options_of(Processes), "its members are spread over machines by --ray."),
}
# Those that say how a single run is watched.
UNUSED = {
    "eval_every": "all members are scored at their end",
    "tensorboard": "the losses are in curves.png and in the metrics.jsonl of each system",
}
LENGTHS = {"steps", "epochs"}
DEFAULT = "default"  # the default system's name here, where presets have theirs
SAME_FOR_ALL = ("seed", "image_size", "channels")  # all systems have the same seeds, and see the same images


def _system(name: Any) -> str:
    if name not in (DEFAULT, *PRESETS, *OBJECTIVES):
        allowed = [DEFAULT, *PRESETS, *(loss for loss in OBJECTIVES if loss not in PRESETS)]
        near = nearest(str(name), allowed)
        hint = f" Did you mean '{near}'?" if near else ""
        raise UserError(f"unknown system '{name}'.{hint} Allowed: {', '.join(allowed)}.")
    return str(name)


def _address(text: Any) -> str:
    host, _, port = str(text).rpartition(":")
    if text not in ("local", "auto") and not (
        host and "/" not in host and port.isdecimal() and int(port) < 2**16
    ):
        raise ValueError
    return str(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(System, Nets, Optimization, Run):
    """What to compare. The options of gan_jax.train apply to every system, but for those in FOREIGN and UNUSED."""

    systems: tuple[str, ...] = option(
        REQUIRED,
        "Presets, losses in the default system, or default, separated by spaces; hinge is the preset.",
        Rule("", _system, metavar="NAME"),
        many=True,
    )
    seeds: int = option(5, "Seeds of each system, counted from --seed.", whole(1, 10_000))
    vary: tuple[str, ...] = option(
        (),
        "Options to vary, as NAME=VALUE,VALUE,…: every combination of their values with every system is compared. "
        "Several names as one value are joined by +, and an empty value is none: penalty=,r1,r1+gp.",
        Rule(TEXT.words, TEXT.convert, metavar="NAME=VALUE,VALUE"),
        many=True,
    )
    num: int | None = option(
        None, "Samples of each member to evaluate. Default: 10,000, or all real images.", COUNT
    )

    ray: str | None = option(
        None,
        "Train on the Ray cluster at this address, or auto for the one this machine belongs to; without a value on one "
        "of this machine's own, for this run (pip install 'gan_jax[ray]'). --workdir must be on a shared file system.",
        Rule("HOST:PORT, auto, or nothing", _address, metavar="HOST:PORT"),
        alone="local",
    )

    def __post_init__(self) -> None:
        """Check what is the comparison's own; the rest is for `Config`. Raises `UserError`."""
        own = [name for name in options_of(self) if name not in options_of(Config) or name == "workdir"]
        options.check_only(self, own)
        if not self.systems:
            raise UserError("--systems names none: give one or more, separated by spaces.")
        for i, system in enumerate(self.systems):
            if system in self.systems[:i]:
                raise UserError(f"--systems names {system} twice: give each once.")

    @property
    def given(self) -> dict[str, Any]:
        """The options of a run that were given."""
        values = {name: getattr(self, name) for name in options_of(Config)}
        return {
            name: value for name, value in values.items() if value is not options.UNSET and name != "workdir"
        }


def systems_of(options_: Options) -> dict[str, list[Config]]:
    """The members' configs by the name of their system, as it stands in the report.

    Raises `UserError` for options that are not allowed, or have no effect.
    """
    varied: dict[str, list[Any]] = {}
    for name, its_values in map(_varied, options_.vary):
        if name in varied:
            raise UserError(f"--vary names {name} twice: give all its values at once, as {name}=VALUE,VALUE.")
        varied[name] = its_values
    found: dict[str, list[Config]] = {}
    _check_given(options_.given)
    for system in options_.systems:
        base = _base(system)
        _check_varied(varied.keys(), options_.given, base)
        for values in itertools.product(*varied.values()):
            own = dict(zip(varied, values, strict=True))
            first = Config(**{**base, **options_.given, **own})
            if "epochs" in own and first.steps is not None:
                raise UserError(f"--vary epochs has no effect on {system}, which sets steps: vary those.")
            if first.seed + options_.seeds > 2**32:
                raise UserError(f"--seed={first.seed} with --seeds={options_.seeds} goes past {2**32 - 1}.")
            label = " ".join([system, *(worded(name, value) for name, value in own.items())])
            found[label] = [dataclasses.replace(first, seed=first.seed + i) for i in range(options_.seeds)]
    return found


def _base(system: str) -> dict[str, Any]:
    """What a name in `--systems` says to a `Config`."""
    if system in PRESETS:
        return {"preset": system}
    return {"loss": system} if system in OBJECTIVES else {}


def _check_given(given: Mapping[str, Any]) -> None:
    """Raises `UserError` for options that would have no effect, or make a system another than its name says."""
    for name, instead in UNUSED.items():
        if given.get(name):
            raise UserError(f"--{name} is for a single run: in a comparison {instead}. Leave it out.")
    for name in ("preset", "loss"):
        if name in given:
            raise UserError(
                f"--{name}={given[name]} is not for a comparison: --systems names presets and losses. Leave it out."
            )


def _check_varied(varied: Set[str], given: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Raises `UserError` for what a varied option would replace unsaid, and for one that has no effect."""
    for name in varied:
        if name in given or name in base:
            flag = name if name in given else "systems"
            raise UserError(f"--vary and --{flag} both give {name}: leave it out of one of them.")
    # Where both are there the steps count: systems of other epochs would be equal, under different names.
    if varied & LENGTHS and {*varied, *given} >= LENGTHS:
        raise UserError(
            "steps and epochs are both given, of which only the steps count: give one of them, as a flag or to --vary."
        )


def values_of_file(file: str, named: Set[str], penalties: Sequence[str] | None = None) -> dict[str, Any]:
    """What a run's config.json sets beside its preset or loss, but for its folder and what is given beside the file.

    named: the options that flags give or that are varied; a length there replaces the file's. penalties: those that a
    flag gives, if one does: with others than the file's go other weights. Raises `UserError` for a file that cannot be
    read, or is of a population.
    """
    record = workdir.read_file(expanded(file))
    if not record.alone:
        raise UserError(f"--config={file} is of a population: give the config.json of a single run.")
    own = own_values(record.config)
    left_out = {"workdir", "preset", "loss", *UNUSED, *named, *(LENGTHS if named & LENGTHS else ())}
    if "penalty" in named and (penalties is None or set(penalties) != set(record.config.penalty)):
        left_out |= OF_PENALTIES.keys()
    return {
        name: value
        for name, value in vars(record.config).items()
        if name not in left_out and value != own[name]
    }


def _varied(text: str) -> tuple[str, list[Any]]:
    """NAME and the values of NAME=VALUE,VALUE."""
    name, _, values = text.partition("=")
    name = name.strip("-")
    known = {
        n: found
        for n, found in options_of(Config).items()
        if found.role in ("system", "rate", "length") and n not in SAME_FOR_ALL
    }
    if name not in known or not values:
        near = nearest(name, known)
        raise UserError(
            f"--vary={text} is not allowed: write NAME=VALUE,VALUE with a system's option"
            + (f", such as {near}=…" if near else "")
            + "; seeds are --seeds, and all systems see the same images."
        )
    try:
        read = [_read(known[name], value) for value in values.split(",")]
    except ValueError:
        raise UserError(f"--vary={text} is not allowed: {name} must be {known[name].rule.words}.") from None
    for i, value in enumerate(read):
        if value in read[:i]:
            raise UserError(f"--vary={text} gives {worded(name, value)} twice: give each value once.")
    return name, read


def _read(found: options.Option, text: str) -> Any:
    if found.rule is options.FLAG:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else text
    if found.many:
        return tuple(text.split("+")) if text else ()
    return found.rule.read(text)


def folder_name(label: str) -> str:
    """The folder of a system of that name, in the comparison's."""
    return re.sub(r"[^\w.=+,-]+", "-", label)

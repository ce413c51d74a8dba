"""What a run's parts must be: checked before anything is trained or written, by their shapes alone.

Anyone may register a part. Whatever is wrong with one is a `UserError` that names the part's flag, and not a traceback
through code of ours; where the part itself raised, its error is the cause.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gan_jax import plugins
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.objectives import Objective
from gan_jax.penalties import apply as apply_penalty

if TYPE_CHECKING:
    from gan_jax.parts import Parts

MOST_WORDS = 300  # characters of an error's message: a compiler's may run over pages


@contextlib.contextmanager
def calling(flag: str) -> Iterator[None]:
    """Around a call into a part, and nothing else: its error is a `UserError` that begins with the flag."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code raises
        words = f"{flag}: {type(error).__name__}: {' '.join(str(error).split())[:MOST_WORDS]}"
        raise UserError(plugins.blamed(error) or words) from error


def nets(model: str, spec: Spec) -> Networks:
    """The model's nets. Raises `UserError` unless they are two modules."""
    with calling(f"--model={model}"):
        made = MODELS[model](spec)
    if not isinstance(made, Networks) or not all(isinstance(net, nn.Module) for net in made):
        raise UserError(
            f"--model={model}: it must give gan_jax.Networks of two Flax modules, and gives {_kind(made)}."
        )
    return made


def check(config: Config, parts: "Parts", spec: Spec) -> None:
    """Raises `UserError` for parts that are not what they must be, or deaf to what the config asks of them."""
    if not isinstance(parts.objective, Objective) or not all(map(callable, parts.objective)):
        raise UserError(
            f"--loss={config.loss}: it must be a gan_jax.Objective of functions, and is {_kind(parts.objective)}."
        )
    functions = {f"--optimizer={config.optimizer}": parts.optimizer, f"--schedule={config.schedule}": parts.schedule}
    functions |= {f"--penalty={name}": penalty for name, penalty in parts.penalties}
    for flag, function in functions.items():
        if function is not None and not callable(function):
            raise UserError(f"{flag}: it must be a function, and is {_kind(function)}.")
    _check_nets(config.model, parts, spec)
    _check_scalars(config, parts)


def _kind(value: object) -> str:
    return f"of the type {type(value).__name__}" if value is not None else "None"


def _check_nets(model: str, parts: "Parts", spec: Spec) -> None:
    """Raises `UserError` for nets of other shapes, or deaf to what is asked of them.

    Whatever is wrong would train all the same, and nobody would see it in the losses.
    """
    key, flag = jax.random.key(0), f"--model={model}"
    # In training a net may average over its device axis, which there is only in the step.
    alone = nets(model, spec._replace(axis=None))

"""What a run's parts must be: checked before anything is trained or written, by their shapes alone.

Anyone may register a part. Whatever is wrong with one is a `UserError` that names the part's flag, and not a traceback
through code of ours; where the part itself raised, its error is the cause.
"""

import contextlib
import dataclasses
import numbers
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from gan_jax import plugins
from gan_jax.augmentations import Augmentation
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS, Networks, Spec
from gan_jax.objectives import Objective
from gan_jax.optimizers import Optimizer, Schedule
from gan_jax.penalties import apply as apply_penalty

if TYPE_CHECKING:
    from gan_jax.parts import Parts


@contextlib.contextmanager
def calling(flag: str) -> Iterator[None]:
    """Around a call into a part, and nothing else: its error is a `UserError` that begins with the flag."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code raises
        words = f"{flag}: {type(error).__name__}: {' '.join(str(error).split())[: plugins.MOST_WORDS]}"
        raise UserError(plugins.blamed(error) or words) from error


def nets(model: str, spec: Spec, pack: int = 1) -> Networks:
    """The model's nets, with D for `pack` images as the channels of one. Raises `UserError` unless they are modules."""
    if pack > 1:
        *space, channels = spec.image_shape
        of_packs = dataclasses.replace(spec, image_shape=(*space, pack * channels))
        return Networks(nets(model, spec).generator, nets(model, of_packs).discriminator)
    with calling(f"--model={model}"):
        try:
            made = MODELS[model](spec)
        except UserError as error:
            raise UserError(f"--model={model}: {error}") from error
    if not isinstance(made, Networks) or not all(isinstance(net, nn.Module) for net in made):
        raise UserError(
            f"--model={model}: it must give gan_jax.Networks of two Flax modules, and gives {_kind(made)}."
        )
    return made


def check_parts(config: Config, parts: "Parts", spec: Spec) -> None:
    """Raises `UserError` for parts that are not what they must be, or deaf to what the config asks of them."""
    if not isinstance(parts.objective, Objective) or not all(map(callable, parts.objective)):
        raise UserError(
            f"--loss={config.loss}: it must be a gan_jax.Objective of functions, and is {_kind(parts.objective)}."
        )
    functions: dict[str, Any] = {f"--penalty={name}": penalty for name, penalty in parts.penalties}
    functions[f"--optimizer={config.optimizer}"] = parts.optimizer
    functions |= _factors(config, parts)
    for flag, function in functions.items():
        if not callable(function):
            raise UserError(f"{flag}: it must be a function, and is {_kind(function)}.")
    _check_augmentations(parts)
    _check_nets(config, parts, spec)
    _check_scalars(config, parts)


def _kind(value: object) -> str:
    return f"of the type {type(value).__name__}" if value is not None else "None"


def _check_augmentations(parts: "Parts") -> None:
    """Raises `UserError` for augmentations that are none, refuse such images, or change their shape or type."""
    images = jax.ShapeDtypeStruct((2, *parts.image_shape), jnp.float32)
    for name, augmentation in parts.augmentations:
        flag = f"--augment={name}"
        if not isinstance(augmentation, Augmentation) or not callable(augmentation.apply):
            raise UserError(f"{flag}: it must be a gan_jax.Augmentation, and is {_kind(augmentation)}.")
        if not isinstance(augmentation.draws, numbers.Integral) or augmentation.draws < 0:
            raise UserError(f"{flag}: draws must be a whole number from 0 on, and is {augmentation.draws!r}.")
        with calling(flag):
            try:
                uniform = jax.ShapeDtypeStruct((2, augmentation.draws), jnp.float32)
                made = jax.eval_shape(augmentation.apply, uniform, images)
            except UserError as error:
                raise UserError(f"{flag}: {error}") from error
        if _shapes(made) != _shapes(images):
            raise UserError(f"{flag}: it must give images of the shape and type that it takes.")


def _unhashable(net: nn.Module) -> str | None:
    """The first field of the net that cannot be hashed; None if the net can."""
    try:
        hash(net)
    except TypeError:
        for name in (f.name for f in dataclasses.fields(net) if f.name not in ("name", "parent")):
            try:
                hash(getattr(net, name))
            except TypeError:
                return name
    return None


def _check_nets(config: Config, parts: "Parts", spec: Spec) -> None:
    """Raises `UserError` for nets of other shapes, or deaf to what is asked of them.

    Whatever is wrong would train all the same, and nobody would see it in the losses.
    """
    key, model = jax.random.key(0), config.model
    flag, optimizer = f"--model={model}", f"--optimizer={config.optimizer}"
    # In training a net may average over its device axis, which there is in a step alone.
    alone = nets(model, dataclasses.replace(spec, axis=None), parts.pack)
    for net, trained, inputs, shape in (
        (parts.generator, alone.generator, parts.g_inputs(2), (2, *parts.image_shape)),
        (parts.discriminator, alone.discriminator, parts.d_inputs(2), (2,)),
    ):
        with calling(flag):
            made, variables = jax.eval_shape(net.init_with_output, key, *inputs)
        kind = type(net).__name__
        if unhashable := _unhashable(net):  # programs are found again by their parts
            raise UserError(
                f"{flag}: {kind} must be hashable, and its {unhashable} is not: give tuples and numbers, and make "
                "arrays in setup()."
            )
        if getattr(made, "shape", None) != shape:
            found = getattr(made, "shape", type(made).__name__)
            raise UserError(f"{flag}: {kind} must give {list(shape)} for a batch of 2, and gives {found}.")
        if "params" not in variables:
            raise UserError(f"{flag}: {kind} has no parameters, so that there is nothing to train.")
        with calling(flag):
            in_training = jax.eval_shape(partial(_trained, trained), variables, *inputs)
            deaf = inputs[1] is not None and not _depends(net, variables, *inputs)
        if getattr(in_training, "shape", None) != shape:
            raise UserError(f"{flag}: {kind} must give {list(shape)} in training, too.")
        if deaf:
            raise UserError(
                f"{flag}: {kind} takes no notice of labels, which --conditional needs: use them, or leave "
                "--conditional out."
            )
        _check_optimizer(optimizer, parts.optimizer, variables["params"])
    if spec.spectral_norm:
        plain = nets(model, dataclasses.replace(spec, spectral_norm=False), parts.pack)
        x, labels = parts.d_inputs(2)
        with calling(flag):
            with_norm, without = (
                str(jax.make_jaxpr(net.init_with_output)(key, x, labels))
                for net in (parts.discriminator, plain.discriminator)
            )
        if with_norm == without:
            raise UserError(
                f"{flag}: {type(parts.discriminator).__name__} takes no notice of spectral norm: build it "
                "of gan_jax.layers, or give --no_spectral_norm."
            )


def _trained(net: nn.Module, variables: Any, x: Array, labels: Array | None) -> Any:
    """The net's output, called as a training step calls it."""
    rngs, rest = {"dropout": jax.random.key(0)}, [name for name in variables if name != "params"]
    return net.apply(variables, x, labels, train=True, mutable=rest, rngs=rngs)[0]


def _depends(net: nn.Module, variables: object, x: Array, labels: Array | None) -> bool:
    """Whether any output of the net is computed from its labels: the trace is followed from them on."""
    closed = jax.make_jaxpr(lambda labels, variables, x: net.apply(variables, x, labels))(
        labels, variables, x
    )
    reached = {closed.jaxpr.invars[0]}
    for equation in closed.jaxpr.eqns:
        if any(x in reached for x in equation.invars if not hasattr(x, "val")):  # literals do not hash
            reached.update(equation.outvars)
    return any(x in reached for x in closed.jaxpr.outvars if not hasattr(x, "val"))


def _check_optimizer(flag: str, optimizer: Optimizer, params: Any) -> None:
    """Raises `UserError` unless it is one of Optax's kind, whose state keeps its shapes."""

    def once(rate: Array, params: Any) -> Any:
        made = optimizer(rate, rate, rate)
        if not callable(getattr(made, "init", None)) or not callable(getattr(made, "update", None)):
            raise UserError(f"{flag}: it must give an optax.GradientTransformation, and gives {_kind(made)}.")
        state = made.init(params)
        updates, after = made.update(params, state, params)
        return state, updates, after

    with calling(flag):
        state, updates, after = jax.eval_shape(once, jnp.float32(0), params)
    if _shapes(updates) != _shapes(params):
        raise UserError(f"{flag}: its updates must have the shapes of the parameters.")
    if _shapes(state) != _shapes(after):
        raise UserError(f"{flag}: its update must give a state of the shapes and types that its init gives.")


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype) for x in leaves]


def _check_scalars(config: Config, parts: "Parts") -> None:
    """Raises `UserError` for losses, scores, penalties or schedules that give no scalars: a mean is soon forgotten."""
    logits = jnp.zeros(2)
    loss, objective = f"--loss={config.loss}", parts.objective
    outs: dict[str, Any] = {}

    def scores(real_logits: Array, fake_logits: Array) -> tuple[Array, Array]:
        real_score, fake_score = objective.score(real_logits, fake_logits)
        return real_score, fake_score

    with calling(loss):
        outs[f"{loss}: d_loss"] = jax.eval_shape(objective.d_loss, logits, logits)
        outs[f"{loss}: g_loss"] = jax.eval_shape(objective.g_loss, logits, logits)
        for i, score in enumerate(jax.eval_shape(scores, logits, logits)):
            outs[f"{loss}: score number {i + 1}"] = score
    images, d_apply = parts.d_inputs(2)[0], lambda images: images.reshape(len(images), -1).sum(1)
    for name, penalty in parts.penalties:
        call = lambda real, fake, key, penalty=penalty: apply_penalty(penalty, d_apply, real, fake, key, None)
        with calling(f"--penalty={name}"):
            outs[f"--penalty={name}: it"] = jax.eval_shape(call, images, images, jax.random.key(0))
    for name, out in outs.items():
        if getattr(out, "shape", None) != ():
            found = getattr(out, "shape", type(out).__name__)
            raise UserError(f"{name} must give a scalar, and gives {found} for a batch of 2: take the mean.")
    for flag, function in _factors(config, parts).items():
        with calling(flag):
            factor = jax.eval_shape(function, jnp.float32(0))
        if getattr(factor, "shape", None) != ():
            raise UserError(f"{flag}: it must give a scalar for a scalar.")


def _factors(config: Config, parts: "Parts") -> dict[str, Any]:
    """The functions of the schedule, by what an error calls them."""
    flag = f"--schedule={config.schedule}"
    if parts.schedule == Schedule(parts.schedule.updates):
        return {} if parts.schedule.updates is None else {flag: parts.schedule.updates}
    named = {f"{flag}, {name}": factor for name, factor in parts.schedule._asdict().items()}
    return {name: factor for name, factor in named.items() if factor is not None}

"""The fields of a `Config`: each with its default, its help, what it may be, and what it is to a run that goes on.

`options.option` says what each of these words means; `config.Config` is all of them together.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from gan_jax import options
from gan_jax.augmentations import AUGMENTATIONS
from gan_jax.data import DATASETS
from gan_jax.models import MODELS
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES
from gan_jax.options import choice, option
from gan_jax.penalties import PENALTIES

PRESETS: dict[str, Any] = {}  # the systems, by name; `config` fills it, whose Configs they are
Z_DISTRIBUTIONS = ("normal", "uniform")
DTYPES = ("float32", "bfloat16")


def _dataset(value: Any) -> str:
    """A path whose text is the name of a registered data set stays a path."""
    text = options.TEXT.convert(value)
    return os.path.join(os.curdir, text) if isinstance(value, os.PathLike) and text in DATASETS else text


DATASET = options.TEXT._replace(convert=_dataset)


def _loss_hint(name: str) -> str | None:
    return f"A whole system of that name is --preset={name}." if name in PRESETS else None


def _preset_hint(name: str) -> str | None:
    return f"A loss of that name is --loss={name}." if name in OBJECTIVES else None


def _none_hint(kind: str) -> Callable[[str], str | None]:
    return lambda name: f"For none write --{kind} without a value." if name in ("none", "no", "off") else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """The GAN: its objective, and what constrains its discriminator."""

    preset: str | None = option(
        None,
        "A whole system, most of them of the literature. It sets all other options but those that are given beside it.",
        options.Rule(
            "",
            lambda name: choice("preset", PRESETS, _preset_hint).convert(name),
            metavar=lambda: "{" + ",".join(PRESETS) + "}",
        ),
        role="free",
        also=("system", "gan"),
    )
    loss: str = option("hinge", "The objective.", choice("loss", OBJECTIVES, _loss_hint), also=("objective",))
    penalty: tuple[str, ...] = option(
        ("r1", "r2"),
        "Gradient penalties on D: one, several separated by spaces or commas, or none: --penalty without a value.",
        choice("penalty", PENALTIES, _none_hint("penalty")),
        many=True,
        commas=True,
    )
    penalty_weight: float | None = option(
        0.3,
        "Weight of the penalties. Without it, the system's own penalties have the system's weight, and others have "
        "their papers': 10 for gp and dragan, 1 for the rest.",
        options.optional(options.POSITIVE),
        role="rate",
        also=("lambda", "gp_weight", "lambda_gp"),
    )
    penalty_every: int = option(
        4,
        "Only each Nth step has the penalties, N times as strong: their mean stays, and most of their time is saved. "
        "Other penalties than the system's own are in every step, unless this says otherwise.",
        options.SMALL_COUNT,
        also=("lazy", "lazy_regularization", "d_reg_interval", "reg_interval", "d_reg_every"),
    )
    spectral_norm: bool = option(
        False,
        "Divide every kernel of D by its largest singular value; --preset=hinge does so in place of penalties.",
        options.FLAG,
    )
    clip: float = option(
        0.0,
        "Clip D's parameters to [-clip, clip] after each of its updates; 0 is off.",
        options.OR_OFF,
        role="rate",
        also=("clip_value", "weight_clip"),
    )
    d_steps: int = option(
        1, "D updates per G update.", options.SMALL_COUNT, also=("n_critic", "critic_steps")
    )
    augment: tuple[str, ...] = option(
        (),
        "Transform at random what D sees, real and generated images alike, as in translation,cutout: meant "
        "for few images, and worse where it was measured.",
        choice("augment", AUGMENTATIONS, _none_hint("augment")),
        many=True,
        commas=True,
        also=("diffaug", "diff_augment", "augmentation", "augmentations", "policy"),
    )
    pack: int = option(
        1,
        "PacGAN: D judges this many images together, all real or all generated, so that it sees when they are alike.",
        options.whole(1, 64),
        also=("packing", "pacgan"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nets:
    """The networks and their noise."""

    model: str = option(
        "conv_small",
        "Generator and discriminator: the tutorial's, the literature's convolutional ones, those at quarter width, or "
        "toy for points in the plane.",
        choice("model", MODELS),
        also=("net", "arch", "architecture"),
    )
    conditional: bool = option(
        False,
        "Generate a class on demand: G is told the class, and D judges image and label together.",
        options.FLAG,
    )
    dtype: str = option(
        "float32",
        "Of the nets' arithmetic; all else is float32, whose products may be TF32 on NVIDIA. bfloat16 is for GPU, TPU.",
        choice("dtype", DTYPES),
        also=("precision",),
    )
    z_dim: int = option(
        100,
        "Number of noise values per image.",
        options.SMALL_COUNT,
        also=("latent_dim", "nz", "latent_size", "noise_dim"),
    )
    z_distribution: str = option(
        "normal",
        "The noise: N(0, 1), or U(-1, 1).",
        choice("z_distribution", Z_DISTRIBUTIONS),
        also=("noise",),
    )
    ema: float = option(
        0.999,
        "Decay, per step, of the averaged generator weights that samples come from; 0 is off. It rises from 0.1, and "
        "is 0.999 from step 8,990 on: a greater one needs more steps.",
        options.DECAY,
        role="rate",
        also=("ema_decay",),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizers and the length of the run. A step is one G update, with its D updates."""

    optimizer: str = option("adam", "The optimizer of both nets.", choice("optimizer", OPTIMIZERS))
    g_learning_rate: float = option(
        1e-3,
        "Learning rate of the generator.",
        options.POSITIVE,
        role="rate",
        also=("lr", "learning_rate", "g_lr", "lr_g"),
    )
    d_learning_rate: float = option(
        1e-3,
        "Learning rate of the discriminator.",
        options.POSITIVE,
        role="rate",
        also=("lr", "learning_rate", "d_lr", "lr_d"),
    )
    schedule: str = option(
        "constant",
        "Both learning rates over the run's length: constant, or falling to 0 along half a cosine wave, along a line, "
        "or in the last quarter alone (cooldown). With r3gan they fall to 1/4, the penalties' weights to 1/10, and "
        "1 - beta2 from 10 times its value; the paper has --beta2=0.99.",
        choice("schedule", SCHEDULES),
        also=("lr_schedule", "lr_decay", "scheduler"),
    )
    beta1: float = option(
        0.0, "Adam's decay of the mean gradient; RMSProp has none.", options.DECAY, role="rate", also=("b1",)
    )
    beta2: float = option(
        0.999,
        "Decay of the mean squared gradient, of Adam and of RMSProp.",
        options.DECAY,
        role="rate",
        also=("b2",),
    )
    grad_clip: float = option(
        0.0,
        "Scale each net's gradient down to this global norm where it is larger; 0 is off.",
        options.OR_OFF,
        role="rate",
        also=("clip_grad", "max_grad_norm"),
    )
    batch_size: int = option(
        16, "Images per update, over all devices.", options.COUNT, also=("batch", "bs", "batchsize")
    )
    epochs: int = option(
        8,
        "Passes over the data set; the last partial batch of each is dropped.",
        options.COUNT,
        role="length",
        also=("num_epochs", "n_epochs"),
    )
    steps: int | None = option(
        None,
        "Number of steps, instead of epochs.",
        options.COUNT,
        role="length",
        also=("iterations", "niter", "num_steps", "max_steps"),
    )
    seed: int = option(0, "Every random number of the run follows from it.", options.SEED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The data, and what is written."""

    dataset: str = option(
        "mnist",
        "The images: mnist or stacked_mnist (they come with the package), fashion_mnist, kmnist or cifar10, a "
        "FILE.npz, or a FOLDER of PNG and JPEG files. Or points in the plane, for --model=toy: ring8 or grid25.",
        DATASET,
        role="free",  # the images themselves are compared
        also=("data",),
    )
    data_dir: str | None = option(
        None,
        "A folder that holds the data set's original files.",
        options.PATH,
        role="free",
        also=("data_path", "data_root", "root"),
    )
    image_size: int | None = option(
        None, "Resize own images to this height and width, with antialiasing.", options.whole(8, 128)
    )
    channels: int | None = option(
        None,
        "Make own images grey (1) or coloured (3).",
        options.Rule("1 or 3", options.one_of(1, 3), int, "{1,3}"),
    )
    workdir: str | None = option(
        None,
        "Folder of the run; rerun with the same one to resume. Default: runs/DATASET-LOSS or "
        "runs/DATASET-preset-NAME, followed by every option that is not the system's own.",
        options.PATH,
        role="free",
        also=("out", "output", "output_dir", "outdir", "logdir"),
    )
    log_every: int = option(
        400,
        "Steps per chunk: a compiled call, a logged line, a grid of samples. At most 10,000 count.",
        options.COUNT,
        role="free",
        also=("sample_interval",),
    )
    checkpoint_every: int = option(
        4000,
        "Steps between checkpoints; the newest 3 are kept.",
        options.COUNT,
        role="free",
        also=("save_every",),
    )
    keep_every: int | None = option(
        None,
        "Also keep for good the checkpoints at multiples of this number of steps.",
        options.COUNT,
        role="free",
    )
    eval_every: int | None = option(
        None,
        "Epochs between evaluations by Fréchet distance, at the next logged step; the best checkpoint is then kept.",
        options.COUNT,
        role="free",
    )
    log_gradients: bool = option(
        False,
        "Also log the norms of both nets' gradients: where G's vanishes, it learns nothing.",
        options.FLAG,
        role="free",
        also=("log_grad_norm", "grad_norm", "gradient_norms"),
    )
    tensorboard: bool = option(
        False,
        "Also write TensorBoard event files (pip install 'gan_jax[tensorboard]').",
        options.FLAG,
        role="free",
    )

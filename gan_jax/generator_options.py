"""The options that say which generator draws: declared once, for every command that draws from one run."""

import dataclasses

from gan_jax.checkpoint import Step
from gan_jax.options import CHECKPOINT, MEMBER, PATH, REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """Whose generator draws."""

    workdir: str = option(REQUIRED, "Folder of the training run.", PATH)
    checkpoint: Step = option(
        None,
        "Step of the checkpoint, or best: the one of the lowest Fréchet distance. Default: the newest.",
        CHECKPOINT,
    )
    member: int | None = option(None, "Which member, of a population's folder; they count from 0.", MEMBER)

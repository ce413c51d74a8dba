"""gan_jax: GANs in JAX, Flax and Optax on MNIST-sized images.

    import gan_jax

    for gan in gan_jax.fit(gan_jax.Config(loss="hinge", epochs=2), progress=True):
        pass
    gan.grid()

Importing it is quick: JAX is loaded by the first name that is used.
"""

import importlib
import importlib.util
import pkgutil
import signal
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# So Python calls itself while it looks for the module of `python -m gan_jax.NAME`. Until that command handles signals,
# Ctrl-C ends it without a traceback of whatever is being imported.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if TYPE_CHECKING:
    from gan_jax.augmentations import AUGMENTATIONS, Augmentation
    from gan_jax.config import PRESETS, Config
    from gan_jax.data import DATASETS
    from gan_jax.duration import steps_within
    from gan_jax.errors import Diverged, UserError
    from gan_jax.gan import Gan
    from gan_jax.loading import load, load_population
    from gan_jax.models import MODELS, Networks, Spec
    from gan_jax.objectives import OBJECTIVES, Objective
    from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Schedule
    from gan_jax.penalties import DEFAULT_WEIGHTS, PENALTIES
    from gan_jax.plugins import load_plugin
    from gan_jax.population import Population, fit_population
    from gan_jax.training import fit

# Name -> the module that has it, imported when the name is first used (PEP 562).
_HOMES = {
    "AUGMENTATIONS": "augmentations",
    "Augmentation": "augmentations",
    "DATASETS": "data",
    "DEFAULT_WEIGHTS": "penalties",
    "Config": "config",
    "Diverged": "errors",
    "Gan": "gan",
    "MODELS": "models",
    "Networks": "models",
    "OBJECTIVES": "objectives",
    "OPTIMIZERS": "optimizers",
    "Objective": "objectives",
    "PENALTIES": "penalties",
    "PRESETS": "config",
    "SCHEDULES": "optimizers",
    "Schedule": "optimizers",
    "Spec": "models",
    "UserError": "errors",
    "Population": "population",
    "fit": "training",
    "fit_population": "population",
    "load": "loading",
    "load_population": "loading",
    "load_plugin": "plugins",
    "steps_within": "duration",
}

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "DEFAULT_WEIGHTS",
    "MODELS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "PENALTIES",
    "PRESETS",
    "SCHEDULES",
    "Augmentation",
    "Config",
    "Diverged",
    "Gan",
    "Networks",
    "Objective",
    "Population",
    "Schedule",
    "Spec",
    "UserError",
    "__version__",
    "fit",
    "fit_population",
    "load",
    "load_plugin",
    "load_population",
    "steps_within",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        globals()[name] = found = getattr(importlib.import_module(f"gan_jax.{_HOMES[name]}"), name)
        return found
    if not name.startswith("_") and importlib.util.find_spec(f"gan_jax.{name}"):
        return importlib.import_module(f"gan_jax.{name}")
    raise AttributeError(f"module 'gan_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    modules = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return sorted([*__all__, *modules])

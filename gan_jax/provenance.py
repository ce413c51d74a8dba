"""Which plugins a run uses: what its `config.json` says of them, and whether they are here when it is read or resumed.

{"/home/ann/mine.py": {"sha256": "…", "entered": [["OBJECTIVES", "mine"]], "replaced": []}}
"""

from pathlib import Path
from typing import Any, NamedTuple

from gan_jax import plugins
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.plugins import Entry


class Used(NamedTuple):
    """A plugin that a run uses.

    entered: what the run uses of it that is new by its name. replaced: what the run uses of it that took the place
    of an entry.
    """

    sha256: str
    entered: tuple[Entry, ...]
    replaced: tuple[Entry, ...]


def entries(config: Config) -> list[Entry]:
    """All that a run takes from the registries."""
    return [
        ("OBJECTIVES", config.loss),
        *(("PENALTIES", name) for name in config.penalty),
        *(("DEFAULT_WEIGHTS", name) for name in config.penalty),
        *(("AUGMENTATIONS", name) for name in config.augment),
        ("MODELS", config.model),
        ("OPTIMIZERS", config.optimizer),
        ("SCHEDULES", config.schedule),
        ("DATASETS", config.dataset),
        *([("PRESETS", config.preset)] if config.preset else []),
    ]


def used(config: Config) -> dict[str, Used]:
    """The plugins that a run with this config uses here, by their absolute path."""
    found = {}
    for path, loaded in plugins.LOADED.items():
        mine = [entry for entry in entries(config) if entry in loaded.entered]
        if mine:
            new = tuple(entry for entry in mine if entry not in loaded.replaced)
            found[path] = Used(loaded.sha256, new, tuple(entry for entry in mine if entry in loaded.replaced))
    return found


def to_json(found: dict[str, Used]) -> dict[str, Any]:
    """The plugins as `config.json` holds them."""
    return {path: plugin._asdict() for path, plugin in found.items()}


def from_json(values: Any) -> dict[str, Used]:
    """The plugins that `to_json` wrote. Raises `UserError` for anything else."""
    try:
        return {
            path: Used(_text(plugin["sha256"]), _entries(plugin["entered"]), _entries(plugin["replaced"]))
            for path, plugin in dict(values).items()
        }
    except (TypeError, KeyError, ValueError):
        raise UserError("it does not say what its plugins are; another version may have written it") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _entries(values: Any) -> tuple[Entry, ...]:
    return tuple((_text(registry), _text(key)) for registry, key in values)


def check_there(recorded: dict[str, Used]) -> None:
    """Raises `UserError` if a plugin that a run was trained with is not loaded, nor registered from Python.

    What took the place of an entry cannot be told from that entry, so such a plugin must be loaded.
    Nothing is executed because a folder says so: whoever trusts the plugin gives it.
    """
    there = {loaded.sha256 for loaded in plugins.LOADED.values()}
    registries = plugins.registries()
    for path, plugin in recorded.items():
        if plugin.sha256 in there:
            continue
        mine = (*plugin.entered, *plugin.replaced)
        for other, loaded in plugins.LOADED.items():
            if Path(other).name == Path(path).name or any(entry in loaded.entered for entry in mine):
                raise UserError(
                    f"it was trained with another content of the plugin {path}: give the one of SHA-256 "
                    f"{plugin.sha256}"
                )
        if plugin.replaced or any(key not in registries.get(name, {}) for name, key in mine):
            raise UserError(
                f"it was trained with a plugin: add --plugin={path}, or from Python gan_jax.load_plugin({path!r})"
            )


def check_no_other(recorded: dict[str, Used], config: Config) -> None:
    """Raises `UserError` if a plugin that a run was trained without took the place of what it uses."""
    hashes = {plugin.sha256 for plugin in recorded.values()}
    for path, plugin in used(config).items():
        if plugin.replaced and plugin.sha256 not in hashes:
            registry, key = plugin.replaced[0]
            raise UserError(
                f"it was trained without the plugin {path}, which replaces {registry}[{key!r}]: leave that plugin out"
            )


def described(found: dict[str, Used]) -> str:
    """The plugins in the words of a message."""
    return ", ".join(f"{path}, SHA-256 {plugin.sha256[:12]}…" for path, plugin in found.items()) or "none"

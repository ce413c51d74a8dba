"""What a run is computed with: the versions, devices and flags on which its bits depend, kept as `environment.json`.

A list, the oldest first: another entry is added where a run goes on under other ones, with the step at which it did.
"""

import functools
import json
import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from gan_jax.storage import content_of, write_atomically

PACKAGES = ("gan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# What XLA looks at when it writes code for a CPU; more of them round otherwise.
_VECTORS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")

Environment = dict[str, Any]


def environment() -> Environment:
    """Of this process."""
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "git": _revision(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),  # over which XLA splits sums
        "device": devices[0].device_kind,
        "device_count": len(devices),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": getattr(jax.config, "jax_default_matmul_precision", None),
    }


def record(folder: Path, step: int, warn: Callable[[str], object]) -> None:
    """Keep in a run's folder what it goes on with from `step`; `warn` is told where that is another one."""
    path, here = folder / "environment.json", environment()
    before = _read(path)
    differing = differences(before[-1], here) if before else []
    if differing:
        warn(
            f"this run was made with {', '.join(differing)}: its numbers may differ, by rounding, from those that it "
            "would have had."
        )
    if step and not before:
        warn(f"{path} is missing or damaged: what the run was made with before step {step} is unknown.")
    if not before or differing:
        write_atomically(path, json.dumps([*before, {"from_step": step, **here}], indent=1) + "\n")


def begun(folder: Path) -> int:
    """The step at which the run in this folder began: 0, or that of a member taken out of its population."""
    entries = _read(folder / "environment.json")
    return int(entries[0]["from_step"]) if entries and type(entries[0]["from_step"]) is int else 0


def differences(there: Environment, here: Environment) -> list[str]:
    """What is not the same, in words."""
    return [
        f"{name} {there.get(name) or 'unknown'} (here {value or 'unknown'})"
        for name, value in here.items()
        if there.get(name) != value
    ]


def _read(path: Path) -> list[Environment]:
    try:
        found = json.loads(content_of(path))
    except (OSError, ValueError, RecursionError):
        return []
    whole = isinstance(found, list) and all(isinstance(x, dict) and "from_step" in x for x in found)
    return found if whole else []


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a copy that was not installed
        return ""


@functools.cache
def _revision() -> str:
    """The git revision of the package, with + if it was changed since; empty where it is in no repository."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        git = lambda *args: subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "gan_jax")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


@functools.cache
def _cpu() -> str:
    """The processor's name and its vector instructions, as Linux says them; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(values.get("flags", values.get("Features", "")).split())
    return " ".join([values.get("model name", platform.machine()), *(x for x in _VECTORS if x in flags)])

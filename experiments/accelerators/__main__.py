"""Compile our programs for accelerators that are not there, and count what they do: kernels, memory, bytes, exchanges.

    pip install '.[tpu,aot-cuda]'
    python -m experiments.accelerators
    python -m experiments.accelerators --targets tpu:v4:2x2x2 --models conv --presets wgan_gp --dtypes bfloat16
    python -m experiments.accelerators --targets tpu:v5e:2x2 cuda:h200 --members 0 --check

Every combination is a program, the one that a run there would compile. A program takes 10 to 60 seconds on two cores.
The figures go to --out after each, and a table of all that are there beside it; those of another version of JAX are
left out. --check writes nothing, and exits with 1 if a count has grown since. A target is tpu:CHIP:SHAPE, cuda:CHIP or
cuda:CHIP:COUNT.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.ablation.changes import base_of
from experiments.accelerators import report, targets
from experiments.accelerators.programs import Program, measure
from gan_jax import cli
from gan_jax.comparison.systems import DEFAULT
from gan_jax.config import PRESETS
from gan_jax.errors import UserError
from gan_jax.fields import DTYPES
from gan_jax.models import MODELS
from gan_jax.options import COUNT, FLAG, PATH, TEXT, check, choice, option, real, whole
from gan_jax.report import error
from gan_jax.storage import write_atomically

RESULTS = Path(__file__).parent.parent / "results" / "accelerators.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to compile, and what for."""

    targets: tuple[str, ...] = option(("cuda:h200", "tpu:v5e:1x1"), "Machines.", TEXT, many=True)
    models: tuple[str, ...] = option(("mlp", "conv_small"), "Nets.", choice("model", MODELS), many=True)
    presets: tuple[str, ...] = option(
        ("hinge",), "Systems.", choice("preset", [DEFAULT, *PRESETS]), many=True
    )
    dtypes: tuple[str, ...] = option(("float32",), "Types.", choice("dtype", DTYPES), many=True)
    batch_sizes: tuple[int, ...] = option((64,), "Images per update of a GAN.", COUNT, many=True)
    members: tuple[int, ...] = option(
        (0, 1, 256), "Sizes of populations; 0 is a single run.", whole(0, 100_000), many=True
    )
    check: bool = option(False, "Compare with the figures in --out, and write nothing.", FLAG)
    tolerance: float = option(
        0.2, "By what share a count may have grown.", real("0 or greater", lambda x: x >= 0)
    )
    out: str = option(str(RESULTS), "JSON file of the figures; the table is beside it, as .md.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if Path(self.out).suffix != ".json":
            raise UserError(f"--out={self.out} is not allowed: it must end in .json.")


def programs(options: Options) -> Iterator[Program]:
    """Every combination."""
    for name, preset, model, dtype, batch_size, members in itertools.product(
        options.targets, options.presets, options.models, options.dtypes, options.batch_sizes, options.members
    ):
        config = dataclasses.replace(base_of(preset), model=model, dtype=dtype, batch_size=batch_size)
        yield Program(f"{preset} {model}", config, name, members or None)


def count(options: Options) -> int:
    """Compile and count all; returns the exit code. Raises `UserError`."""
    out = Path(options.out)
    known = _read(out, needed=options.check)
    machines = {name: targets.target(name) for name in options.targets}
    rows: dict[str, dict[str, Any]] = {}
    # Another version compiles to other counts: its rows would stand under this one's name.
    kept = known["programs"] if known.get("versions") == {"jax": jax.__version__} else {}
    for program in programs(options):
        rows[program.key] = row = _row(program, machines[program.target])
        said = row["fails"] if "fails" in row else f"{row['kernels']} kernels, {row['compile_s']:.0f} s"
        print(f"{program.key}: {said}", flush=True)
        if not options.check:
            figures = {
                "versions": {"jax": jax.__version__},
                "programs": {**kept, **rows},
                "before": known["before"],
            }
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out, json.dumps(figures, indent=1) + "\n")
            write_atomically(out.with_suffix(".md"), report.page(**figures))
    found = report.worse(known["programs"], rows, options.tolerance) if options.check else []
    for line in found:
        error(line)
    if found and (there := known["versions"]["jax"]) != jax.__version__:
        error(f"the table was counted with JAX {there}, and this is {jax.__version__}.")
    return 1 if found else 0


def _row(program: Program, target: targets.Target) -> dict[str, Any]:
    try:
        return measure(program, target)
    except jax.errors.JaxRuntimeError as problem:  # the compiler's: too large for the memory, for one
        return {"fails": " ".join(str(problem).split())[:200]}


def _read(path: Path, *, needed: bool) -> dict[str, Any]:
    if not path.exists() and not needed:
        return {"programs": {}, "before": {}}
    try:
        found = json.loads(path.read_bytes())
        named = {name: dict(found[name]) for name in ("versions", "programs")}
        return named | {"before": dict(found.get("before", {}))}
    except OSError as problem:
        raise UserError(f"--out={path} cannot be read ({problem.strerror}).") from problem
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--out={path} holds no figures of this command: give another file.") from None


def main(args: Sequence[str]) -> int:
    """The command. Returns the exit code: 1 if --check finds a count that has grown."""
    targets.prepare()
    options = cli.parse(Options, args, prog="python -m experiments.accelerators", description=__doc__ or "")
    return count(options)


if __name__ == "__main__":
    cli.run(main)

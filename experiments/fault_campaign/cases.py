"""The runs that are harmed: short ones of tiny images, in this process, and what they must end as."""

import contextlib
import importlib
import io
import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.alarm import alarm
from gan_jax import cli
from gan_jax.checkpoint import Checkpoints
from gan_jax.storage import sha256_of_arrays

HINGE, WGAN_GP = ("--preset=hinge",), ("--preset=wgan_gp",)
EVALUATED = ("--eval_every=2",)
STEPS, HALF, CHECKPOINT_EVERY = 40, 20, 10
LIMIT = 240  # seconds, after which a run is taken to hang
# What says when and with what, and not what came out.
VOLATILE = (".lock", "status.json", "environment.json")

CASES: dict[str, tuple[str, ...]] = {
    "mlp hinge": ("--model=mlp", *HINGE),
    "mlp hinge evaluated": ("--model=mlp", *HINGE, *EVALUATED),
    "mlp wgan_gp": ("--model=mlp", *WGAN_GP),
    "mlp wgan_gp evaluated": ("--model=mlp", *WGAN_GP, *EVALUATED),
    "conv_small hinge evaluated": ("--model=conv_small", *HINGE, *EVALUATED),
    "conv_small wgan_gp": ("--model=conv_small", *WGAN_GP),
}


class Ended(NamedTuple):
    """How a command ended: its exit code, minus the signal, or "hang"; and what it said."""

    rc: int | str
    out: str
    err: str


class Result(NamedTuple):
    """What a finished run left: the SHA-256 of its last state, its log, and its pictures by their names."""

    step: int
    state: str
    rows: list[dict[str, Any]]
    pictures: dict[str, bytes]


def images(folder: Path) -> Path:
    """96 images of noise to train on, 8×8, and 80 to judge by."""
    path, rng = folder / "tiny.npz", np.random.default_rng(0)
    if not path.exists():
        draw = lambda n: rng.integers(0, 256, (n, 8, 8, 1), np.uint8)
        np.savez(path, images=draw(96), test_images=draw(80))
    return path


def arguments(case: str, data: Path, folder: Path, steps: int = STEPS) -> list[str]:
    """The command line of a case."""
    cadence = f"--checkpoint_every={CHECKPOINT_EVERY}"
    common = ["--batch_size=8", "--log_every=5", cadence, f"--dataset={data}", f"--steps={steps}"]
    return [*CASES[case], *common, f"--workdir={folder}"]


def run(args: list[str], command: str = "train") -> Ended:
    """The command in this process, which has the programs compiled."""

    def too_long() -> None:
        raise TimeoutError("hang")

    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(f"gan_jax.{command}").main
    before, sys.argv = sys.argv, [f"gan_jax.{command}", *args]
    rc: int | str = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with alarm(LIMIT, too_long):
                cli.run(main)
        except SystemExit as ended:
            rc = int(ended.code or 0)
        except TimeoutError:
            rc = "hang"
        except Exception:
            traceback.print_exc()
            rc = 1
        finally:
            sys.argv = before
    if isinstance(rc, int) and rc > 128:  # no fault signals this process: it is the campaign that shall end
        sys.exit(rc)
    return Ended(rc, out.getvalue(), err.getvalue())


def result(folder: Path) -> Result | None:
    """What is in the folder of a finished run; None if nothing can be read of it."""
    try:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            found = checkpoints.restore(lambda text: None)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    except (OSError, ValueError):
        return None
    if found is None:
        return None
    logged = [{name: x for name, x in row.items() if name != "steps_per_s"} for row in rows]
    pictures = {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png")) if p.is_file()
    }
    return Result(found[0], sha256_of_arrays(found[1]), logged, pictures)


def fresh(source: Path | None, target: Path) -> Path:
    """The folder `target` as a copy of another, or gone."""
    shutil.rmtree(target, ignore_errors=True)
    if source is not None:
        shutil.copytree(source, target)
    return target


def contents(folder: Path) -> dict[str, bytes]:
    """All files by their names, but for those that say when."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in VOLATILE]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}

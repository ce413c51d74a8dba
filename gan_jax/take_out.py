"""Take a member out of a population, as a run of its own.

    python -m gan_jax.take_out --workdir=runs/two/hinge --member=3 --out=runs/member3

Folder --out then is what `gan_jax.train` would have made, and every command takes it. The command that trains on is
printed.
"""

import dataclasses
import json
import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from gan_jax import cli, data, environment, plugins, report, workdir
from gan_jax.checkpoint import Checkpoints, Step
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.generator_options import Generator
from gan_jax.loading import check_member, load
from gan_jax.options import PATH, REQUIRED, check, option
from gan_jax.population_run import rows_of_member
from gan_jax.state import to_arrays
from gan_jax.storage import expanded, scratch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """Whom to take out, and where to."""

    out: str = option(REQUIRED, "Folder of the new run. It must be new, or empty.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


def take_out(
    folder: str | Path,
    member: int,
    out: str | Path,
    checkpoint: Step = None,
    *,
    warn: Callable[[str], object] = warnings.warn,
) -> Gan:
    """Write a population's member to the folder `out`, as a run of its own, and return it as it is there.

    Raises `UserError` as `load`, and where `out` holds something, or cannot be written to. Nothing is written then.
    """
    folder, out = expanded(folder), expanded(out)
    record = workdir.read(folder)
    check_member(folder, record, member)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out={out} is there already: give a new folder.")
    gan = load(folder, checkpoint, member=member, warn=warn)
    gan = dataclasses.replace(gan, config=_own_config(gan.config, out))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # It gets its name last: a crash leaves a whole run or none.
        with scratch(beside=out) as hidden:
            new = hidden / "run"
            new.mkdir()
            workdir.write_config(new, gan.config, record.facts)
            (new / "metrics.jsonl").write_text(_log(folder, gan, member))
            environment.record(new, gan.step, lambda text: None)
            with Checkpoints(new / "checkpoints", write=True) as checkpoints:
                checkpoints.save(to_arrays(gan.state), gan.step)
            new.rename(out)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written ({error.strerror}).") from error
    return gan


def _own_config(its: Config, out: Path) -> Config:
    """The member's config in the new folder; the path to own images is absolute, as `train` has it."""
    path = expanded(its.dataset)
    own = its.dataset not in data.DATASETS and path.exists()
    return dataclasses.replace(its, workdir=str(out), dataset=str(path.resolve()) if own else its.dataset)


def _log(folder: Path, gan: Gan, member: int) -> str:
    """The member's own rows of the population's log, as `train` writes them."""
    rows = [{**row, "batch": gan.plan.batch(row["step"])} for row in rows_of_member(folder, gan.step, member)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def train_command(folder: str, steps: int) -> str:
    """The command that goes on with a run to this step, as it can be pasted into a shell."""
    words = ["python", "-m", "gan_jax.train", f"--config={folder}/config.json", f"--workdir={folder}"]
    return shlex.join([*words, f"--steps={steps}", *plugins.flags()])


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.take_out", description=__doc__ or "")
    folder = expanded(options.workdir)
    check_member(folder, workdir.read(folder), options.member)
    if options.member is None:
        raise UserError(f"{folder} holds a single run already: it is one of its own.")
    gan = take_out(folder, options.member, options.out, options.checkpoint, warn=report.warn)
    print(f"Member {options.member} of {folder}, at step {gan.step} of {gan.plan.total}, in {options.out}")
    total = gan.plan.total
    if gan.step < total or gan.config.schedule == "constant":  # another length would be another schedule
        further = total if gan.step < total else 2 * total
        print(f"To train on, to step {further} for example: {train_command(options.out, further)}")


if __name__ == "__main__":
    cli.run(main)

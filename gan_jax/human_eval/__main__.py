"""Have people judge a run's images: real ones and generated ones, half and half, blind.

    pip install 'gan_jax[human]'
    python -m gan_jax.human_eval --workdir=runs/mnist-hinge
    python -m gan_jax.human_eval --workdir=runs/mnist-hinge --report

Serves a page on this machine only, until Ctrl-C; several people may judge at once, each under a name. Answers
are kept in W/human_eval.sqlite at once: start the same command again after a crash and everyone goes on
where they were. Another checkpoint, seed, --num, --seconds or --grid is another session, reported apart.
"""

import dataclasses
import hashlib
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from gan_jax import cli, data, sample, workdir
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.human_eval import shares
from gan_jax.human_eval.answers import Answers, Conditions
from gan_jax.state import GanState

# Raters see different ones of so many fakes, so that the result is not about 50 lucky ones.
POOL = 5000
SPLIT = "test"
LONGEST = 3600.0

Deck = list[tuple[str, int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to show, and how."""

    workdir: str
    """Folder of the training run. Answers go to human_eval.sqlite there."""
    report: bool = False
    """Print what all answers so far add up to, and serve no page."""
    num: int = 100
    """Images per rater, an even number: half are real."""
    grid: bool = False
    """Show 16 images at once instead of one at a time."""
    seconds: float = 0.0
    """Hide the images again after so many seconds; 0 shows them as long as one likes."""
    port: int = 8765
    """Port of the page on 127.0.0.1; 0 takes a free one."""
    seed: int | None = None
    """Seed of the latents, as in gan_jax.sample, and of what each rater gets. Default: the run's own plus 1, since
    training has shown images of its own."""
    checkpoint: sample.Checkpoint = None
    """Step of the checkpoint, or best: the one of the lowest Fréchet distance. Default: the newest."""

    def check(self) -> None:
        """Raises `UserError` for what is not allowed."""
        if not 2 <= self.num <= 2 * POOL or self.num % 2:
            raise UserError(
                f"--num={self.num} is not allowed: it must be even, half real and half fake, from 2 to {2 * POOL}."
            )
        if not (math.isfinite(self.seconds) and 0 <= self.seconds <= LONGEST):
            raise UserError(
                f"--seconds={self.seconds:g} is not allowed: it must be 0 (no limit) to {LONGEST:g}."
            )
        if not 0 <= self.port < 2**16:
            raise UserError(f"--port={self.port} is not allowed: it must be from 0 to 65535.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UserError(f"--seed={self.seed} is not allowed: it must be from 0 to 4294967295.")


def deal(seed: int, session: int, rater: int, num: int, num_real: int, num_fake: int) -> Deck:
    """What rater number `rater` of a session is shown: `num` different images, half real, in random order."""
    rng = np.random.default_rng([seed, session, rater])  # the session: who judges in two gets other images
    deck = [("real", int(i)) for i in rng.choice(num_real, num // 2, replace=False)]
    deck += [("fake", int(i)) for i in rng.choice(num_fake, num // 2, replace=False)]
    return [deck[i] for i in rng.permutation(num)]


def _fingerprint(restored: GanState) -> str:
    """SHA-256 of the parameters that images are drawn with; not of the images, which a GPU rounds differently."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(restored.sampling_variables):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape} ".encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _conditions(options: Options, config: Config, restored: GanState) -> Conditions:
    return Conditions(
        dataset=config.dataset,
        split=SPLIT,
        step=int(restored.step),
        generator=_fingerprint(restored),
        seed=(config.seed + 1) % 2**32 if options.seed is None else options.seed,
        num=options.num,
        grid=options.grid,
        seconds=options.seconds,
    )


def _report(database: Path, folder: Path) -> str:
    """The tables of all sessions with answers. Raises `UserError` if there is none."""
    tables = []
    if database.exists():
        answers = Answers(database, create=False)
        found = [(conditions, answers.tallies(key)) for key, conditions in answers.sessions().items()]
        tables = [shares.table(conditions, tallies) for conditions, tallies in found if tallies]
    if not tables:
        raise UserError(
            f"{folder} holds no answers yet: run python -m gan_jax.human_eval --workdir={folder} and judge some."
        )
    return "\n\n".join(tables)


def _serve(options: Options, folder: Path, database: Path) -> None:
    if importlib.util.find_spec("flask") is None:
        raise UserError("gan_jax.human_eval needs Flask: pip install 'gan_jax[human]'.")
    from gan_jax.human_eval import page  # optional, as above

    with page.listen(options.port) as listener:
        config, restored = sample.restore(folder, options.checkpoint)
        conditions = _conditions(options, config, restored)
        answers = Answers(database, create=True)
        session = answers.session(conditions)
        real = data.load(config.dataset, SPLIT, config.data_dir)[0]
        z = sample.latents(config, conditions.seed, POOL)
        fake = sample.draw(config, restored.sampling_variables, z, sample.classes(config, POOL))
        app = page.make_app(
            answers,
            conditions,
            {"real": real, "fake": fake},
            lambda rater: deal(conditions.seed, session, rater, options.num, len(real), len(fake)),
        )
        server = page.make(listener, app)
        print(shares.describe(conditions))
        print(
            f"Open http://127.0.0.1:{server.port} on this machine; Ctrl-C ends and reports. Answers: {database}",
            flush=True,
        )
        server.serve_forever()  # returns at Ctrl-C, which is how this ends
    tallies = answers.tallies(session)
    print("\n" + (shares.table(conditions, tallies) if tallies else "No answers were given."))


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.human_eval", description=__doc__ or "")
    options.check()
    cli.use_compilation_cache()
    folder = Path(options.workdir).expanduser()
    workdir.read(folder)
    database = folder / "human_eval.sqlite"
    if options.report:
        print(_report(database, folder))
    else:
        _serve(options, folder, database)


if __name__ == "__main__":
    cli.run(main)

"""Have people judge a run's images: real ones and generated ones, half and half, blind.

    pip install 'gan_jax[human]'
    python -m gan_jax.human_eval --workdir=runs/mnist-hinge
    python -m gan_jax.human_eval --workdir=runs/mnist-hinge --report

Serves a page on this machine only, until Ctrl-C; several people may judge at once, each under a name. Answers
are kept at once, in human_eval.sqlite in the run's folder: start the same command again after a crash and
everyone goes on where they were. Another checkpoint, seed, --num, --seconds or --grid is another session,
reported apart. Member 3 of a population has a file of its own, human_eval-3.sqlite.
"""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from gan_jax import cli, report, workdir
from gan_jax.config import Config
from gan_jax.data import are_points
from gan_jax.errors import UserError
from gan_jax.evaluation.reals import Reals, Source, load_reals
from gan_jax.evaluation.samples import samples_like
from gan_jax.gan import Gan
from gan_jax.generator_options import Generator
from gan_jax.human_eval import shares
from gan_jax.human_eval.answers import Answers, Conditions
from gan_jax.loading import check_member, load
from gan_jax.options import FLAG, SEED, Rule, check, option, real, whole
from gan_jax.parts import facts_of
from gan_jax.stopping import on_signals
from gan_jax.storage import expanded, sha256_of_arrays

# Raters see different ones of so many fakes, so that the result is not about 50 lucky ones.
POOL = 5000
SPLIT = "test"
LONGEST = 3600.0

Deck = list[tuple[str, int]]


def _even(value: object) -> int:
    number: int = whole(2, 2 * POOL).convert(value)
    if number % 2:
        raise ValueError
    return number


EVEN = Rule(f"even, half real and half fake, from 2 to {2 * POOL}", _even, int, "INT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """What to show, and how."""

    report: bool = option(False, "Print what all answers so far add up to, and serve no page.", FLAG)
    num: int = option(100, "Images per rater, an even number: half are real.", EVEN, also=("images",))
    grid: bool = option(False, "Show 16 images at once instead of one at a time.", FLAG)
    seconds: float = option(
        0.0,
        "Hide the images again after so many seconds; 0 shows them as long as one likes.",
        real(f"0 (no limit) to {LONGEST:g}", lambda x: 0 <= x <= LONGEST),
    )
    port: int = option(8765, "Port of the page on 127.0.0.1; 0 takes a free one.", whole(0, 2**16 - 1))
    seed: int | None = option(
        None,
        "Seed of the latents, as in gan_jax.sample, and of what each rater gets. Default: the run's own plus 1, since "
        "training has shown images of its own.",
        SEED,
    )

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)


def deal(seed: int, session: int, rater: int, num: int, num_real: int, num_fake: int) -> Deck:
    """What rater number `rater` of a session is shown: `num` different images, half real, in random order."""
    rng = np.random.default_rng([seed, session, rater])  # the session: who judges in two gets other images
    deck = [("real", int(i)) for i in rng.choice(num_real, num // 2, replace=False)]
    deck += [("fake", int(i)) for i in rng.choice(num_fake, num // 2, replace=False)]
    return [deck[i] for i in rng.permutation(num)]


def _fingerprint(gan: Gan) -> str:
    """SHA-256 of the parameters that images are drawn with; not of the images, which a GPU rounds differently."""
    leaves = jax.tree_util.tree_leaves_with_path(gan.state.sampling_variables)
    return sha256_of_arrays({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves})


def _conditions(options: Options, gan: Gan) -> Conditions:
    return Conditions(
        dataset=gan.config.dataset,
        split=SPLIT,
        step=gan.step,
        generator=_fingerprint(gan),
        seed=(gan.config.seed + 1) % 2**32 if options.seed is None else options.seed,
        num=options.num,
        grid=options.grid,
        seconds=options.seconds,
    )


def _reals(folder: Path, config: Config) -> Reals:
    """The data that the run was trained on. Raises `UserError` if that holds others by now."""
    reals = load_reals(Source(config.dataset, config.image_size, config.channels), config.data_dir)
    # Both splits are of one source: where the train images are still the run's, the test images are taken for them.
    if facts_of(reals.train_images, reals.train_labels).sha256 != workdir.read(folder).facts.sha256:
        raise UserError(
            f"{folder} was trained on other images than {config.dataset} now holds, and these would be shown as real: "
            "put the former ones back."
        )
    return reals


def _report(options: Options, folder: Path, database: Path) -> str:
    """The tables of all sessions with answers. Raises `UserError` if there is none."""
    tables = []
    if database.exists():
        answers = Answers(database, create=False)
        found = [(conditions, answers.tallies(key)) for key, conditions in answers.sessions().items()]
        tables = [shares.table(conditions, tallies) for conditions, tallies in found if tallies]
    if not tables:
        flags = [f"--workdir={folder}"] + ([] if options.member is None else [f"--member={options.member}"])
        raise UserError(
            f"{folder} holds no answers yet: run python -m gan_jax.human_eval {' '.join(flags)} and judge some."
        )
    return "\n\n".join(tables)


def _serve(options: Options, folder: Path, database: Path) -> None:
    if importlib.util.find_spec("flask") is None:
        raise UserError("gan_jax.human_eval needs Flask: pip install 'gan_jax[human]'.")
    from gan_jax.human_eval import page  # optional, as above

    with page.listen(options.port) as listener:
        gan = load(folder, options.checkpoint, member=options.member, warn=report.warn)
        conditions = _conditions(options, gan)
        reals = _reals(folder, gan.config)
        real = reals.test_images
        if len(real) < options.num // 2:
            raise UserError(
                f"--num={options.num} is not allowed: {conditions.dataset} has {len(real)} test images for half of "
                "them."
            )
        answers = Answers(database, create=True)
        session = answers.session(conditions)
        fake = samples_like(gan, POOL, conditions.seed, reals.train_labels)
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
        with on_signals(lambda number: server.shutdown()):  # which is how this ends
            server.serve_forever()
    tallies = answers.tallies(session)
    print("\n" + (shares.table(conditions, tallies) if tallies else "No answers were given."))


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.human_eval", description=__doc__ or "")
    cli.use_compilation_cache()
    folder = expanded(options.workdir)
    record = workdir.read(folder)
    check_member(folder, record, options.member)
    if are_points(record.facts.image_shape):
        raise UserError(
            f"{folder} makes points, and people judge images: python -m gan_jax.evaluate counts the modes found."
        )
    own = "" if options.member is None else f"-{options.member}"
    database = folder / f"human_eval{own}.sqlite"
    if options.report:
        print(_report(options, folder, database))
    else:
        _serve(options, folder, database)


if __name__ == "__main__":
    cli.run(main)

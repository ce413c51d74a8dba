"""Judge samples: of a training run, or of any program.

    python -m gan_jax.evaluate --workdir=runs/mnist-hinge
    python -m gan_jax.evaluate --workdir runs/mnist-hinge runs/mnist-preset-wgan_gp --npz=theirs.npz

It prints a table and writes evaluation.json and evaluation.png into the run's folder; for FILE.npz, which
holds an array `images`, uint8 [N, H, W, C], FILE.evaluation.json and .png beside it. Every score stands
beside its value for real training images, which no generator should beat in the distances and the coverage, and for
noise.

The points of a mixture are judged by its modes: how many were found, and how close the samples are to them.
Of a population's folder each member is judged; --member says which. Member 3 is named FOLDER [3] in the table, and
has evaluation-3.json.

The features are those of the data's own classifier. Where there is none, they are a random net's, which see
less; `python -m gan_jax.train_classifier` makes a classifier of any labelled images.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gan_jax import cli, data, report
from gan_jax.checkpoint import Step
from gan_jax.errors import UserError
from gan_jax.evaluation.judgement import Judged, judge
from gan_jax.evaluation.mixture_judgement import judge_points
from gan_jax.evaluation.mixtures import NUM_POINTS, MixtureEvaluator
from gan_jax.evaluation.named import Judge, evaluator_of
from gan_jax.evaluation.protocol import NUM, NUM_FOR_MODES, Evaluator, usual_num
from gan_jax.evaluation.reals import Data, Reals, Source, load_reals, train_command
from gan_jax.evaluation.scores import INCEPTION_FAMILIES, LABEL_ACCURACY, Score
from gan_jax.evaluation.subjects import JudgedFile, JudgedRun, judged_runs
from gan_jax.evaluation.table import table
from gan_jax.features import FeatureNetwork, choose_network, load_inception
from gan_jax.generator_options import Generator
from gan_jax.options import CHECKPOINT, COUNT, MEMBER, PATH, SEED, check, choice, option, options_of
from gan_jax.parts import facts_of
from gan_jax.storage import expanded, replacing, write_atomically

FEATURES = ("auto", "classifier", "random", "inception")

Subject = JudgedRun | JudgedFile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Data):
    """What to judge, and how. The data options are those of the files of --npz; a run has its own but for --dataset."""

    workdir: tuple[str, ...] = option((), "Folders of training runs.", PATH, many=True)
    npz: tuple[str, ...] = option(
        (),
        "Files with an array `images`, uint8 [N, H, W, C], or float points [N, 2].",
        PATH,
        many=True,
        also=("images", "file"),
    )
    num: int | None = option(
        None,
        "Number of samples, and of the test images that they are compared with. "
        f"Default: {NUM:,}, for 1,000 modes {NUM_FOR_MODES:,}, {NUM_POINTS:,} points, or as many as there are test "
        "images, or images in the smallest file.",
        COUNT,
    )
    seed: int = option(0, "Seed of the samples' latents and of every other random choice.", SEED)
    checkpoint: Step = option(None, options_of(Generator)["checkpoint"].help, CHECKPOINT)
    member: tuple[int, ...] = option(
        (), "Members to judge, of populations. Default: all that did not diverge.", MEMBER, many=True
    )
    features: str = option(
        "auto",
        "Whose features: of the data's classifier, of a random net, of Inception v3 alone, or auto: the "
        "classifier's where there is one, else the random net's.",
        choice("features", FEATURES),
    )
    inception_weights: str | None = option(
        None,
        "Also give the standard FID, KID and Inception score, with Inception v3: PyTorch-fid's file of its "
        "weights, or the word 'download'.",
        PATH,
    )
    out: str | None = option(
        None, "Folder to write NAME.evaluation.json and .png to, instead of the places above.", PATH
    )

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        if not self.workdir and not self.npz:
            raise UserError("nothing to evaluate: give --workdir=FOLDER, --npz=FILE or both.")
        if self.features == "inception" and self.inception_weights is None:
            raise UserError("--features=inception needs --inception_weights: a file, or the word download.")


def _subjects(options: Options) -> dict[Path, Subject]:
    """All that is to be judged, by the path to write to, less its suffix; nothing of it is computed yet.

    Raises `UserError` where one cannot be read, or its results not written.
    """
    found: dict[Path, Subject] = {}
    folders, files = ([expanded(path) for path in paths] for paths in (options.workdir, options.npz))
    which = options.checkpoint, options.member
    runs = [run for path in folders for run in judged_runs(path, *which, given=options)]
    subjects: list[Subject] = [
        *runs,
        *(JudgedFile(path, data=options.source, data_dir=options.data_dir) for path in files),
    ]
    for subject in subjects:
        folder = expanded(options.out or subject.folder)
        target = folder / f"{subject.stem}.evaluation"
        if isinstance(subject, JudgedRun) and options.out is None:
            target = folder / f"evaluation{subject.suffix}"
        if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
            raise UserError(f"{folder} is no folder that can be written to: give another with --out.")
        if target in found:
            raise UserError(
                f"{found[target].name} and {subject.name} would both be written to {target}.json."
            )
        found[target] = subject
    return found


def _check_against(subject: Subject, reals: Reals, num: int) -> None:
    """Raises `UserError` for images that are not like the real ones, or too few."""
    shape = reals.train_images.shape[1:]
    if isinstance(subject, JudgedFile):
        subject.read(shape, num)
    else:
        subject.check_shape(shape)
        subject.check_content(facts_of(reals.train_images, reals.train_labels).sha256)


def _fewest(subjects: Iterable[Subject]) -> int | None:
    """How many images every file has; None without files."""
    counts = [subject.count() for subject in subjects if isinstance(subject, JudgedFile)]
    return min(filter(None, counts), default=None)


def _num(given: int | None, fewest: int | None, reals: Reals, network: FeatureNetwork | None) -> int | None:
    """How many samples are compared: those asked for, or as many as every file has; None for the Evaluator's own.

    network: None for points.
    """
    if given is not None or fewest is None:
        return given
    most = NUM_POINTS if network is None else usual_num(network)
    return min(most, fewest, len(reals.test_images), len(reals.train_images))


def _evaluators(
    reals: Reals, command: str, options: Options, fewest: int | None, inception: FeatureNetwork | None
) -> list[Judge]:
    """The judges of one data set; what they cannot judge, or could judge better, is said on standard error.

    command: what trains its classifier. fewest: how many images every file has. Raises `UserError` for features of
    points, which are judged by their modes.
    """
    if data.are_points(reals.train_images.shape[1:]):
        if inception or options.features != "auto":
            raise UserError(
                f"{reals.name} holds points, which are judged by their modes: leave --features and --inception_weights "
                "out."
            )
        num = _num(options.num, fewest, reals, None)
        return [evaluator_of(reals, num=num, seed=options.seed)]
    evaluators = []
    if options.features != "inception":
        network = choose_network(
            reals.train_images, reals.train_labels, reals.name, wanted=options.features, train_with=command
        )
        if options.features == "auto" and not network.judges_labels:
            why = f"has no classifier: `{command}` makes one, which sees more"
            why = "has no labels" if reals.train_labels is None else why
            report.note(f"the features are those of {network.name}, since {reals.name} {why}.")
        num = _num(options.num, fewest, reals, network)
        evaluators.append(evaluator_of(reals, network=network, num=num, seed=options.seed))
    if inception:
        # As many as the other judge takes, since the samples are drawn once.
        num = evaluators[0].num if evaluators else _num(options.num, fewest, reals, inception)
        families = INCEPTION_FAMILIES
        evaluators.append(
            evaluator_of(reals, network=inception, num=num, seed=options.seed, families=families)
        )
    for evaluator in evaluators:
        if evaluator.left_out:
            report.warn("; ".join(f"no {family}: {why}" for family, why in evaluator.left_out.items()) + ".")
    return evaluators


def _judged(subject: Subject, judges: list[Judge]) -> Judged:
    """All that the judges of its data have to say of it."""
    first = judges[0]
    if isinstance(first, MixtureEvaluator):
        return judge_points(subject, first)
    return judge(subject, [other for other in judges if isinstance(other, Evaluator)])


def _write(target: Path, judged: Judged) -> None:
    """Both files, each the old or the new one, also after a crash."""
    # First: if a metric of someone's own is no JSON, neither is written.
    text = json.dumps(judged.report, indent=2, allow_nan=False) + "\n"
    try:
        with replacing(target.with_name(target.name + ".png")) as drawing:
            judged.draw(drawing)
        write_atomically(target.with_name(target.name + ".json"), text)
    except OSError as error:
        raise UserError(f"{target}.json cannot be written ({error.strerror}).") from error


def evaluate(options: Options) -> None:
    """Judge all subjects, print their table, write their files. Raises `UserError`."""
    subjects = _subjects(options)
    weights = options.inception_weights
    inception = load_inception(None if weights == "download" else expanded(weights)) if weights else None
    # By what names the data alone: of own images, and by checksums of others, a --data_dir changes nothing.
    reals: dict[Source, Reals] = {}
    evaluators: dict[Source, list[Judge]] = {}
    for subject in subjects.values():
        if (source := subject.data) not in reals:
            reals[source] = load_reals(source, subject.data_dir)
            command = train_command(source, subject.data_dir)
            fewest = _fewest(s for s in subjects.values() if s.data == source)
            evaluators[source] = _evaluators(reals[source], command, options, fewest, inception)
        _check_against(subject, reals[source], evaluators[source][0].num)
    tables: dict[Source, dict[str, list[Score]]] = {}
    remarks: list[str] = []
    for target, subject in subjects.items():
        judged = _judged(subject, evaluators[subject.data])
        tables.setdefault(subject.data, {})[subject.name] = judged.scores
        if (accuracy := judged.report.get(LABEL_ACCURACY)) is not None:
            own = (
                f", which is right on {accuracy['test']:.2%} of the test images" if "test" in accuracy else ""
            )
            remarks.append(
                f"{subject.name}: {accuracy['samples']:.2%} of the samples are of the class asked for, says the "
                f"classifier{own}."
            )
        _write(target, judged)
    for source, scores in tables.items():
        print(f"{evaluators[source][0].dataset}\n{table(scores)}")
        print(f"{note}\n" if (note := data.held_out_note(source.dataset)) else "")
    print("".join(f"{remark}\n" for remark in remarks), end="")
    print("Written: " + ", ".join(f"{target}.json and .png" for target in subjects))


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.evaluate", description=__doc__ or "")
    cli.use_compilation_cache()
    evaluate(options)


if __name__ == "__main__":
    cli.run(main)

"""Judge samples: of a training run, or of any program.

    python -m gan_jax.evaluate --workdir=runs/mnist-hinge
    python -m gan_jax.evaluate --workdir=runs/mnist-hinge runs/mnist-preset-wgan_gp --npz=theirs.npz

It prints a table and writes evaluation.json and evaluation.png into the run's folder; for FILE.npz, which
holds an array `images`, uint8 [N, 28, 28, C], FILE.evaluation.json and .png beside it. Every score stands
beside its value for real training images, which no generator should beat, and for noise.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path

from gan_jax import cli
from gan_jax.checkpoint import Step
from gan_jax.errors import UserError
from gan_jax.evaluation import picture
from gan_jax.evaluation.judgement import Judged, judge
from gan_jax.evaluation.protocol import NUM, Evaluator
from gan_jax.evaluation.scores import INCEPTION_FAMILIES, Score
from gan_jax.evaluation.subjects import ImagesFile, TrainedRun
from gan_jax.evaluation.table import table
from gan_jax.features.classifier import FeatureNetwork
from gan_jax.features.inception_weights import load_inception
from gan_jax.options import CHECKPOINT, COUNT, PATH, SEED, TEXT, check, option
from gan_jax.storage import write_atomically

INCEPTION_WIDTH = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to judge, and how."""

    workdir: tuple[str, ...] = option((), "Folders of training runs.", PATH, many=True)
    npz: tuple[str, ...] = option((), "Files with an array `images`, uint8 [N, H, W, C].", PATH, many=True)
    num: int = option(
        NUM,
        "Number of samples, and of the test images that they are compared with.",
        COUNT,
        also=("num_samples",),
    )
    seed: int = option(0, "Seed of the samples' latents and of every other random choice.", SEED)
    checkpoint: Step = option(
        None,
        "Step of the runs' checkpoint, or best: the one of the lowest Fréchet distance. Default: the newest.",
        CHECKPOINT,
    )
    dataset: str = option(
        "mnist", "The data set that the files of --npz are judged by; a run has its own.", TEXT
    )
    data_dir: str | None = option(None, "A folder that holds the data set's original files.", PATH)
    inception_weights: str | None = option(
        None,
        "Also give the standard FID, KID and Inception score, with Inception v3: PyTorch-fid's file of its weights, or "
        "the word 'download'.",
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
        if self.inception_weights and self.num <= INCEPTION_WIDTH:
            raise UserError(
                f"--num={self.num} is too few for --inception_weights: the covariance of {INCEPTION_WIDTH} "
                f"features takes {INCEPTION_WIDTH + 1}."
            )

    @property
    def workdirs(self) -> list[Path]:
        """The runs' folders."""
        return [Path(path).expanduser() for path in self.workdir]

    @property
    def files(self) -> list[Path]:
        """The files of images."""
        return [Path(path).expanduser() for path in self.npz]


def _subjects(options: Options) -> dict[Path, TrainedRun | ImagesFile]:
    """All that is to be judged, by the path to write to, less its suffix; nothing of it is computed yet.

    Raises `UserError` where one cannot be read, or its results not written.
    """
    found: dict[Path, TrainedRun | ImagesFile] = {}
    runs = [
        TrainedRun(path, checkpoint=options.checkpoint, data_dir=options.data_dir)
        for path in options.workdirs
    ]
    files = [
        ImagesFile(path, dataset=options.dataset, data_dir=options.data_dir, num=options.num)
        for path in options.files
    ]
    subjects: list[TrainedRun | ImagesFile] = [*runs, *files]
    for subject in subjects:
        own = isinstance(subject, TrainedRun) and options.out is None
        folder = Path(options.out or subject.folder).expanduser()
        target = folder / ("evaluation" if own else f"{subject.stem}.evaluation")
        if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
            raise UserError(f"{folder} is no folder that can be written to: give another with --out.")
        if target in found:
            raise UserError(
                f"{found[target].name} and {subject.name} would both be written to {target}.json."
            )
        found[target] = subject
    return found


def _evaluators(
    subject: TrainedRun | ImagesFile, options: Options, inception: FeatureNetwork | None
) -> list[Evaluator]:
    make = functools.partial(Evaluator, subject.dataset, subject.data_dir, num=options.num, seed=options.seed)
    return [make()] + ([make(network=inception, families=INCEPTION_FAMILIES)] if inception else [])


def _write(target: Path, judged: Judged) -> None:
    """Both files, each the old or the new one, also after a crash."""
    drawing = target.with_name(target.name + ".png.new")
    try:
        picture.save(judged.page, drawing)
        drawing.replace(target.with_name(target.name + ".png"))
        text = json.dumps(judged.report, indent=2, allow_nan=False) + "\n"
        write_atomically(target.with_name(target.name + ".json"), text)
    except OSError as error:
        raise UserError(f"{target}.json cannot be written ({error.strerror}).") from error
    finally:
        drawing.unlink(missing_ok=True)


def evaluate(options: Options) -> None:
    """Judge all subjects, print their table, write their files. Raises `UserError`."""
    subjects = _subjects(options)
    weights = options.inception_weights
    inception = load_inception(None if weights == "download" else Path(weights)) if weights else None
    # By data set alone: checksums see to it that another --data_dir holds the same images.
    evaluators: dict[str, list[Evaluator]] = {}
    tables: dict[str, dict[str, list[Score]]] = {}
    remarks: list[str] = []
    for target, subject in subjects.items():
        if subject.dataset not in evaluators:
            evaluators[subject.dataset] = _evaluators(subject, options, inception)
        judged = judge(subject, evaluators[subject.dataset])
        tables.setdefault(subject.dataset, {})[subject.name] = judged.scores
        if (accuracy := judged.report.get("label_accuracy")) is not None:
            remarks.append(
                f"{subject.name}: {accuracy['samples']:.2%} of the samples are of the class asked for, says the "
                f"classifier, which is right on {accuracy['test']:.2%} of the test images."
            )
        _write(target, judged)
    for dataset, columns in tables.items():
        print(f"{dataset}\n{table(columns)}\n")
    print("".join(f"{remark}\n" for remark in remarks), end="")
    print("Written: " + ", ".join(f"{target}.json and .png" for target in subjects))


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.evaluate", description=__doc__ or "")
    cli.use_compilation_cache()
    evaluate(options)


if __name__ == "__main__":
    cli.run(main)

"""Everything copy-pastes: each command line of the READMEs and the documentation runs, a few steps of it."""

import contextlib
import importlib.util
import json
import re
import shutil
import socketserver
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from kept import registries_kept
from pages import (
    EXPERIMENTS,
    NOTEBOOKS,
    README,
    ROOT,
    Words,
    all_lines,
    blocks,
    called,
    code_of,
    lines_of_notebooks,
)
from PIL import Image

from gan_jax import __main__ as entry
from gan_jax import cli, compare, config, data, duration, timed, train, workdir
from gan_jax.comparison.systems import systems_of
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.evaluation import picture
from gan_jax.options import options_of

SIZE, NUM = 8, 100  # of the images that all of it runs on
# The words that a reader puts something else for, and what this test puts.
OWN_WORDS = {"--data_dir=FOLDER_OF_FASHION_MNIST": "--data_dir=fashion"}
# What a reader has already, by the line that makes the like.
OWN_FILES = {
    "runs/a": "runs/mnist-hinge",
    "runs/b": "runs/mnist-hinge",
    "theirs.npz": "python -m gan_jax.sample --workdir=runs/mnist-hinge --num=10000 --out=samples.npz",
}
# How the lines begin that do not run here, and why.
ELSEWHERE = {
    r"git clone URL|cd gan_jax": "the repository is here already, and its address is not known",
    r"python -m venv|source activate": "an environment is active already; CI makes one by the README's line",
    r"pip install": "installs: only whether there are such extras is asked",
    r"python -m pytest$": "this runs in it",
    r"sphinx-build": "CI builds the pages",
    r"jupyter lab": "a browser's",
    r"python notebooks/execute.py --repository=": "writes to the notebooks; tests/test_notebooks.py has it",
    r"head=\$\(scontrol|srun|gcloud": "a cluster's",
    r"python -m gan_jax.train .*--coordinator=": "of two machines; tests/test_processes.py has the like on one",
    r"python -m gan_jax.compare .*--ray": "Ray is no part of the tests; tests/test_cluster.py has the like",
    r"python -m experiments\.": "minutes to hours: parsed here, and run by the experiments' own tests",
}
# Less than a page asks for, in the same words: the later of two flags counts.
SMALL = ("--model=mlp", "--no_spectral_norm", "--batch_size=16", "--z_dim=8", "--log_every=2")
LESS = {
    "train": (*SMALL, "--steps=2"),
    "compare": (*SMALL, "--steps=2"),
    "train_classifier": ("--epochs=1",),
    "explore": ("--port=0",),
    "human_eval": ("--port=0",),
}
SEEDS = {"--workdir=runs/two": 4}  # of whom a page takes out the last; 1 elsewhere


def text_of(words: Words) -> str:
    return " ".join(words)


def why_elsewhere(words: Words) -> str | None:
    return next((why for line, why in ELSEWHERE.items() if re.match(line, text_of(words))), None)


LINES = list(dict.fromkeys(tuple(OWN_WORDS.get(word, word) for word in words) for words in all_lines()))
HERE = [words for words in LINES if not why_elsewhere(words)]
NOT_HERE = [words for words in LINES if why_elsewhere(words)]


def parsed(module: str, args: Sequence[str]) -> Any:
    """The arguments, as the command itself takes them; fails for one that it does not."""
    if module == "gan_jax.train":
        return config.command_from_args(train.Command, args)
    found = code_of(module)
    if not hasattr(found, "Options"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name: name)  # it asks for PyTorch at once
            return found._options(args)  # argparse's
    return cli.parse(found.Options, args, prog=f"python -m {module}", description="")


def folder_of(words: Words) -> str | None:
    """The folder that a line makes, before anything is taken from it: a run's, a comparison's, that of --out."""
    module, args = called(words) or ("", ())
    if module not in ("gan_jax.train", "gan_jax.compare", "gan_jax.take_out") or "--help" in args:
        return None
    options = parsed(module, args)
    if module == "gan_jax.take_out":
        return str(options.out)
    if module == "gan_jax.train":
        own = {name: getattr(options, name) for name in options_of(Config)}
        limit = None if options.time is None else timed.Limit(options.time, 0.0)
        return str(workdir.path_of(timed.named(Config(**own), limit)))
    first = next(iter(systems_of(options).values()))[0]
    own_name = compare._default_folder(options, first)
    return options.workdir if isinstance(options.workdir, str) else str(own_name)


class Reader:
    """Types lines into one shell, in a folder that has what the pages speak of, or what is made for it first."""

    def __init__(self, place: Path) -> None:
        self.place, self.done, self.pages = place, set[Words](), list[bytes]()
        self._makers: dict[str, Words] = {}
        for words in HERE:
            with registries_kept(), contextlib.suppress(UserError):  # which the line's own test says
                if folder := folder_of(words):
                    self._makers.setdefault(folder, words)

    def types(self, words: Words) -> None:
        """Runs a line, once; before it what makes the runs that it takes. Fails if it fails, or writes nothing."""
        if words in self.done:
            return
        module, args = called(words) or ("", ())
        if words[0] == "gan-jax":
            self._call(entry.main, words)
            return
        assert module, f"{text_of(words)}: neither runs, nor is a reason listed why it cannot"
        with registries_kept():
            folder, options = folder_of(words), None if "--help" in args else parsed(module, args)
        for taken in self._taken(module, options):
            self._make(taken)
        with registries_kept():
            main = code_of(module).main
            self._call(lambda: cli.run(main), (module, *less(module, args, folder)))
        for written in results(module, options, folder):
            assert (self.place / written).stat().st_size > 0, written
        self.done.add(words)

    def _taken(self, module: str, options: Any) -> list[str]:
        """Folders and files of runs that a line takes."""
        if options is None or module in ("gan_jax.train", "gan_jax.compare", "gan_jax.train_classifier"):
            return []
        found = [options.workdir] if isinstance(options.workdir, str) else list(options.workdir)
        return [*found, *getattr(options, "npz", ())]

    def _make(self, taken: str) -> None:
        """Runs the line of the pages that makes it, or of whose folder it is a part."""
        if (like := OWN_FILES.get(taken)) and not (self.place / taken).exists():
            if (maker := tuple(like.split())) in HERE:
                self.types(maker)
                shutil.copy(self.place / maker[-1].removeprefix("--out="), self.place / taken)
            else:
                self._make(like)
                shutil.copytree(self.place / like, self.place / taken)
        if not (self.place / taken).exists():
            makers = [words for folder, words in self._makers.items() if Path(taken).is_relative_to(folder)]
            assert makers, f"no line of the pages makes {taken}"
            self.types(makers[0])

    def _call(self, main: Any, words: Words) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", list(words))
            code: Any = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code
            assert not code, f"{text_of(words)} ends with {code}"

    def answers(self, server: Any) -> None:
        """In place of a server's `serve_forever`: one request for the page, which is kept."""
        address = f"http://127.0.0.1:{server.server_address[1]}/"

        def ask() -> None:
            with urllib.request.urlopen(address, timeout=60) as answer:
                self.pages.append(answer.read())

        thread = threading.Thread(target=ask)
        thread.start()
        server.handle_request()
        thread.join()


def less(module: str, args: Sequence[str], folder: str | None) -> list[str]:
    """The arguments of a line, and flags that make it a short one."""
    name, flags = module.removeprefix("gan_jax."), list(args)
    if "--help" in args:
        return flags
    flags += LESS.get(name, ())
    if "--model=toy" in args:
        flags.remove("--model=mlp")
    if any(arg.startswith("--time=") for arg in args):
        flags.remove("--steps=2")
    if any(arg.startswith("--eval_every=") for arg in args):
        flags += ["--steps=24", "--log_every=12"]  # four epochs of the images
    if any(arg.startswith("--image_size=") for arg in args):
        flags.append(f"--image_size={SIZE}")
    if name == "compare":
        flags.append(f"--seeds={next((SEEDS[arg] for arg in args if arg in SEEDS), 1)}")
        first = flags.index("--systems") + 1
        after = next(i for i in range(first, len(flags)) if flags[i].startswith("--"))
        flags[first:after] = flags[first:after:4]  # the first, and of seven one that the plugin brings
    if name == "train" and not any(arg.startswith("--workdir=") for arg in args):
        flags.append(f"--workdir={folder}")  # that of the line as it stands
    return flags


def results(module: str, options: Any, folder: str | None) -> list[str]:
    """Files that a line writes, of those that the pages speak of."""
    if options is None:
        return []
    if module == "gan_jax.train":
        return [f"{folder}/{name}" for name in ("config.json", "real.png", "samples.png", "losses.png")]
    if module == "gan_jax.compare":
        return [f"{folder}/{name}" for name in ("report.md", "results.json", "results.csv", "curves.png")]
    if module == "gan_jax.evaluate":
        return [f"{run}/evaluation.{suffix}" for run in options.workdir for suffix in ("json", "png")]
    if module == "gan_jax.take_out":
        return [f"{folder}/config.json"]
    if module == "gan_jax.film" and options.out is None:
        return [f"{options.workdir}/film.gif"]
    if module == "gan_jax.human_eval":
        return [f"{options.workdir}/human_eval.sqlite"]
    return [path for path in (getattr(options, "out", None), getattr(options, "export", None)) if path]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One folder for all lines, and MNIST of a hundred small images, on one device."""
    place = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    splits = {split: rng.integers(0, 256, (NUM, SIZE, SIZE, 1), np.uint8) for split in ("train", "test")}
    labels = np.arange(NUM, dtype=np.int32) % 10
    [first, *_] = jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(jax, "devices", lambda: [first])
        patch.setattr(cli, "_end_quietly", lambda: None)
        measured = lambda *args, **named: 2  # which tests/test_duration.py tests
        patch.setattr(duration, "steps_within", measured)
        patch.setattr(picture, "COLUMNS", 2)  # a picture's axes take most of its time
        patch.setitem(data.DATASETS, "mnist", lambda split, data_dir: (splits[split], labels))
        (mine,) = [block for block in blocks(README, "python") if "soft_hinge" in block]
        Path("mine.py").write_text(mine)
        Path("experiments").symlink_to(ROOT / "experiments")  # in which a plugin is
        for i, image in enumerate(splits["train"]):
            path = Path("photos", "cats" if i % 2 else "dogs", f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
        read = Reader(place)
        answers = lambda server, poll_interval=0.5: read.answers(server)
        patch.setattr(socketserver.BaseServer, "serve_forever", answers)
        yield read


@pytest.mark.parametrize("words", HERE, ids=text_of)
def test_it_runs(words: Words, reader: Reader) -> None:
    served = len(reader.pages)
    ran = words in reader.done
    reader.types(words)
    module, args = called(words) or ("", ())
    if not ran and module in ("gan_jax.explore", "gan_jax.human_eval") and "--export=" not in text_of(args):
        [page] = reader.pages[served:]
        assert page.startswith(b"<!doctype html>")


@pytest.mark.parametrize("words", NOT_HERE, ids=text_of)
def test_what_runs_elsewhere_is_allowed(words: Words) -> None:
    """Its flags by the command's own parser, a package's extras by the project's."""
    if words[:2] == ("pip", "install"):
        for extra in re.findall(r"[\w-]+", "".join(re.findall(r"^\.\[(.+)\]$", words[-1]))):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert extra in project["optional-dependencies"]
    elif call := called(words):
        with registries_kept():  # nor what an experiment enters that is imported
            assert parsed(*call)
        package, name = call[0].split(".")
        if package == "experiments":
            tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
            assert re.search(
                rf"(from experiments(\.| import .*\b)|import_module\(\"experiments\.){name}\b", tests
            )


def test_the_notebooks_command_lines_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they do is that of the pages' lines; their plugin is what the last notebook defines."""
    monkeypatch.chdir(tmp_path)
    cells = ["".join(cell["source"]) for path in NOTEBOOKS for cell in json.loads(path.read_text())["cells"]]
    [loss] = [cell for cell in cells if '.OBJECTIVES["pearson"] = ' in cell]
    Path("mine.py").write_text(f"import gan_jax\n\n{loss}")
    lines = [(words, call) for words in lines_of_notebooks() if (call := called(words))]
    assert len(lines) > 4
    for words, (module, args) in lines:
        with registries_kept():
            options = parsed(module, args)
            assert module != "gan_jax.compare" or systems_of(options), text_of(words)


def test_no_reason_is_left_of_a_line_that_is_gone() -> None:
    for line in ELSEWHERE:
        assert any(re.match(line, text_of(words)) for words in LINES), line
    typed = {word for words in all_lines() for word in words}
    assert typed >= {*OWN_WORDS, *SEEDS, "runs/a", "runs/b", "--npz=theirs.npz"}


def test_no_two_ablations_of_the_pages_have_one_folder() -> None:
    """The second of them would be refused."""
    calls = [call for words in LINES if (call := called(words)) and call[0] == "experiments.ablation"]
    folders = [parsed(*call).folder for call in calls]
    assert len(folders) > 5
    assert len(set(folders)) == len(folders)


def test_each_experiment_of_the_pages_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    names = set(re.findall(r"python -m (experiments\.\w+)", EXPERIMENTS.read_text()))
    assert len(names) > 5
    for name in names:
        with registries_kept(), pytest.raises(SystemExit) as stop:
            parsed(name, ["--help"])
        assert not stop.value.code
        assert "--" in capsys.readouterr().out

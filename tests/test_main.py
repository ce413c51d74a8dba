"""The console script and `python -m gan_jax`: one way in to all commands, which do what they do by their own names."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from begin import save_run

from gan_jax import __main__ as entry
from gan_jax import __version__
from gan_jax.config import Config

Main = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = (
    "train",
    "sample",
    "film",
    "explore",
    "export",
    "evaluate",
    "compare",
    "take_out",
    "human_eval",
    "train_classifier",
)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Main:
    """Does what the console script does with these arguments, in tmp_path."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["gan-jax", *args])
        capsys.readouterr()
        code = 0
        try:
            entry.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return run


def test_the_console_script_is_the_modules_main() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    module, name = project["scripts"]["gan-jax"].split(":")
    assert getattr(import_module(module), name) is entry.main


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_without_a_command_all_are_listed(args: tuple[str, ...], main: Main) -> None:
    done = main(*args)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert tuple(listed) == COMMANDS


def test_it_says_its_version(main: Main) -> None:
    assert main("--version").stdout == f"gan_jax {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_is_its_own_by_either_name(name: str, main: Main) -> None:
    for spelled in {name, name.replace("_", "-")}:
        done = main(spelled, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "--plugin FILE.py" in done.stdout
        assert "--FLAG=VALUE" in done.stdout


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "Did you mean train?"),
        ("Evaluate", "Did you mean evaluate?"),
        ("human-evals", "Did you mean human_eval?"),
        ("--loss=hinge", "Allowed: train, "),
        (
            "quit",
            "Allowed: train, sample, film, explore, export, evaluate, compare, take_out, human_eval, train_classifier.",
        ),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest(name: str, hint: str, main: Main) -> None:
    done = main(name)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: unknown command '{name}'.")
    assert hint in line


def test_a_commands_bad_input_is_its_own_line(main: Main) -> None:
    done = main("sample", "--workdir=nowhere", "--out=a.png")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: --workdir=nowhere holds no run")


def test_in_a_process_of_its_own_it_draws_what_the_command_draws(
    command: Main, main: Main, tmp_path: Path
) -> None:
    save_run(tmp_path / "w", Config(model="mlp", penalty=()), [0])
    draw = ("--workdir=w", "--num=3", "--seed=1")
    own = command("sample", *draw, "--out=own.npz")
    ours = command("__main__", "sample", *draw, "--out=ours.npz")  # python -m gan_jax.__main__
    assert (own.returncode, ours.returncode) == (0, 0), ours.stderr
    assert own.stdout.replace("own.npz", "ours.npz") == ours.stdout
    with np.load(tmp_path / "own.npz") as one, np.load(tmp_path / "ours.npz") as other:
        np.testing.assert_array_equal(one["images"], other["images"])


def test_listing_is_quick_since_nothing_is_loaded_for_it() -> None:
    code = "import sys; from gan_jax.__main__ import main; main(); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_every_module_is_an_attribute_and_none_is_loaded_for_the_list() -> None:
    code = (
        "import sys, gan_jax; names = dir(gan_jax); loaded = 'jax' in sys.modules\n"
        "for name in names: getattr(gan_jax, name)\n"
        "print(loaded, hasattr(gan_jax, 'nonsense'), *names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded, nonsense, *names = done.stdout.split()
    assert (loaded, nonsense) == ("False", "False")
    modules = {"models", "layers", "optimizers", "config", "plugins", "metrics", "evaluation", "human_eval"}
    assert modules <= set(names)

"""How fast training is, against PyTorch and against the plain Flax loop, side by side in one run.

    pip install '.[bench]'
    python -m experiments.benchmark --out=experiments/results/benchmark.json
    python -m experiments.benchmark --models=mlp --batch_sizes=128 --against=naive --starts=3

For each model and batch size: the tutorial's program (`--preset=gan`) for `mlp`; for the convolutional nets the same
losses and Adam with β₁ 0.5. Contenders, on the first device, MNIST in memory:

    gan_jax  chunks of steps, each a compiled program over uint8 images on the device
    eager    PyTorch as tutorials write it: G runs forward for each update, Adam as it comes
    compile  PyTorch with the whole step, gradients and optimizer included, under torch.compile
    naive    what most JAX users write: flax's layers, a jitted step called from Python, a NumPy batch each step

They take turns, a process each; a round is as many steps as take `--seconds`, and the rounds' medians are compared.
The first call's time is that of building, compiling and the first call, nothing compiled before and imports not
counted; a call is a whole chunk for gan_jax and a step for the others. Peak memory is that of arrays on a GPU or TPU;
on a CPU it is all that the contender's process held, libraries and data set included. The line above each table is our
loop's rate, with FLOP as XLA counts them in our step, beside the best rate, over sizes, of float32 matrix products in
the same minutes. `--out` keeps every figure, and a chart beside them. `--starts` adds the time from the command to the
first logged chunk, `--full` that of a whole run of the tutorial's program.

Any machine, but a quiet one: PyTorch's threads wait for each other actively, so that on busy cores it loses far more
than JAX. README.md has what was measured.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.benchmark.report import Row, chart, summarise, table
from experiments.benchmark.worker import Failed, Process
from gan_jax import cli, data
from gan_jax.config import PRESETS, Config
from gan_jax.errors import UserError
from gan_jax.models import MODELS
from gan_jax.plan import plan

TORCH = ("eager", "compile")
AGAINST = (*TORCH, "naive")


def system(model: str, batch_size: int) -> Config:
    """What is trained with this model."""
    beta1 = PRESETS["gan"].beta1 if model == "mlp" else 0.5
    return dataclasses.replace(PRESETS["gan"], model=model, batch_size=batch_size, beta1=beta1)


def measure(config: Config, images: str, options: argparse.Namespace) -> Row:
    """One model at one batch size: every contender, each round after another, and the machine meanwhile."""
    request = {"config": dataclasses.asdict(config), "images": images, "seconds": options.seconds}
    processes: dict[str, Process] = {}
    rows: dict[str, Row] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name in ("gan_jax", *options.against):
            with _noting_failure(name, rows):
                processes[name] = _process(stack, name, folder, processes, rows)
                device = "cpu" if _platform(rows) == "cpu" else "cuda"
                rows[name] = processes[name].ask("build", name=name, device=device, **request)
        ours = processes["gan_jax"]
        rates = [ours.ask("matrix_rates")]
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(options.rounds):
            for name in [name for name in rows if "skipped" not in rows[name]]:
                with _noting_failure(name, rows):
                    times[name].append(processes[name].ask("round", name=name))
        rates.append(ours.ask("matrix_rates"))
        for name in [name for name in rows if "skipped" not in rows[name]]:
            with _noting_failure(name, rows):
                rows[name] |= processes[name].ask("end", name=name)
        flop = ours.ask("flop", config=request["config"])
    return summarise(config, rows, times, rates, flop)


def _platform(rows: dict[str, Row]) -> str:
    """Of JAX: "cpu", "gpu" or "tpu"; empty until gan_jax is built."""
    return rows["gan_jax"]["machine"]["platform"] if rows else ""


def _process(
    stack: contextlib.ExitStack, name: str, folder: str, processes: dict[str, Process], rows: dict[str, Row]
) -> Process:
    """Where the contender is to run. Raises `Failed` if it cannot."""
    on_tpu = _platform(rows) == "tpu"
    if on_tpu and name in TORCH:
        raise Failed("PyTorch does not run on this device")
    # A TPU belongs to one process.
    return processes["gan_jax"] if on_tpu else stack.enter_context(Process(folder))


@contextlib.contextmanager
def _noting_failure(name: str, rows: dict[str, Row]) -> Iterator[None]:
    """A contender that fails is left out from then on, and says why; without gan_jax there is no benchmark."""
    try:
        yield
    except Failed as error:
        if name == "gan_jax":
            raise UserError(f"gan_jax's own loop failed: {error}") from error
        rows[name] = {"skipped": str(error)}


def measure_starts(rounds: int) -> dict[str, list[float]]:
    """Seconds from the command to the first logged chunk: data prepared, programs compiled anew or cached."""
    seconds: dict[str, list[float]] = {"fresh_machine": [], "no_compilation_cache": [], "cached": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            seconds["fresh_machine"].append(_start(cache, Path(cache) / "gan_jax" / "xla"))
            seconds["no_compilation_cache"].append(_start(cache, Path(cache) / "other"))
            seconds["cached"].append(_start(cache, Path(cache) / "gan_jax" / "xla"))
    return seconds


def _start(cache: str, programs: Path) -> float:
    env = {**os.environ, "XDG_CACHE_HOME": cache, "JAX_COMPILATION_CACHE_DIR": str(programs)}
    with tempfile.TemporaryDirectory() as folder:
        command = _train_command("--steps=100", f"--workdir={folder}/run")
        begin = time.perf_counter()
        elapsed = 0.0
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Epoch ["):
                    elapsed = time.perf_counter() - begin
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return elapsed


def _train_command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "gan_jax.train", "--preset=gan", *flags]


def measure_full(epochs: int, images: str, num_images: int) -> dict[str, float]:
    """Seconds of the tutorial's program: in our loop, and by the command, which also logs, draws and saves."""
    config = PRESETS["gan"]
    steps = plan(dataclasses.replace(config, epochs=epochs), num_images).total
    with tempfile.TemporaryDirectory() as folder:
        with Process(folder) as process:
            loop = process.ask("whole_run", config=dataclasses.asdict(config), images=images, steps=steps)
        command = _train_command(f"--epochs={epochs}", f"--workdir={folder}/run")
        begin = time.perf_counter()
        code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        if code:
            sys.exit(f"{' '.join(command)} failed with exit code {code}")
        return {"epochs": epochs, "loop_s": loop, "command_s": time.perf_counter() - begin}


def _options(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all")
    add("--batch_sizes", nargs="+", type=_whole, default=[64, 128], help="default: 64 128")
    add("--against", nargs="+", choices=AGAINST, default=list(AGAINST), help="contenders; default: all")
    add("--rounds", type=_whole, default=7, help="rounds of each contender (default 7)")
    add("--seconds", type=_seconds, default=2.0, help="that a round is to take (default 2)")
    add("--starts", type=_whole, default=0, help="rounds of the start-up times (default: none)")
    add(
        "--full",
        type=_whole,
        nargs="?",
        const=200,
        metavar="EPOCHS",
        help="time a whole run, by default of 200",
    )
    add("--out", type=Path, help="JSON file to write, and beside it a chart of the same name in PNG")
    options = parser.parse_args(args)
    options.models, options.against = (list(dict.fromkeys(x)) for x in (options.models, options.against))
    if set(TORCH) & set(options.against) and importlib.util.find_spec("torch") is None:
        raise UserError("PyTorch is missing: pip install '.[bench]', or measure --against=naive alone.")
    if options.out and options.out.suffix != ".json":
        raise UserError(
            f"--out={options.out} is not allowed: it must end in .json; the chart goes beside it."
        )
    return options


def _whole(text: str) -> int:
    if not 1 <= int(text) <= 60_000:  # MNIST's images
        raise ValueError
    return int(text)


def _seconds(text: str) -> float:
    if not 0 < float(text) < 3600:
        raise ValueError
    return float(text)


_whole.__name__ = "whole number from 1 to 60000"  # for argparse's errors
_seconds.__name__ = "number of seconds"


def main(args: Sequence[str]) -> None:
    """Measure, print tables, and write the figures and their chart."""
    options = _options(args)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    figures: Row = {
        "machine": _machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "systems": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        images, path = data.load("mnist", "train")[0], f"{folder}/images.npy"
        np.save(path, images)
        for config in [system(model, size) for model in options.models for size in options.batch_sizes]:
            figures["systems"].append(measure(config, path, options))
            figures["machine"] |= figures["systems"][-1].pop("machine")
            print(table(figures["systems"][-1]), flush=True)
            _write(options.out, figures)
        if options.full:
            figures["full_run"] = measure_full(options.full, path, len(images))
            seconds = (figures["full_run"][name] for name in ("loop_s", "command_s"))
            print("\n{} epochs: {:.1f} s in our loop, {:.1f} s by the command".format(options.full, *seconds))
    if options.starts:
        figures["start_s"] = measure_starts(options.starts)
        for name, seconds in figures["start_s"].items():
            print(f"start, {name:22s} median {np.median(seconds):.1f} s, max {max(seconds):.1f} s")
    _write(options.out, figures)


def _write(out: Path | None, figures: Row) -> None:
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")
        chart(figures["systems"]).savefig(out.with_suffix(".png"), dpi=150)


def _machine() -> Row:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    cli.run(main)

"""How fast training is, against PyTorch and against the plain Flax loop, side by side in one run.

    pip install 'gan_jax[bench]'
    python experiments/benchmark.py --rounds=5 --out=experiments/results/benchmark.json

The tutorial's program (`--preset=gan`): the same nets, batch and optimizer, data in memory. Contenders:

    gan_jax    a chunk of steps as one compiled program over uint8 images on the device
    pytorch    the tutorial's loop, eager, on the same number of threads; the images as one float tensor
    flax_loop  what most JAX users write: a jitted step called from Python, NumPy batches copied each step

They take turns, so that a busy machine slows all alike; each round's time is of `--steps` steps (an epoch is 468),
medians are compared. Then `--starts` measures, in new processes, the time from the command to the
first logged chunk, without and with the persistent compilation cache.

Expected on two CPU cores: gan_jax at most 0.45 of pytorch's time; see README.md for what was measured.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from gan_jax import data, parallel, state
from gan_jax.config import PRESETS, Config
from gan_jax.step import make_update

Contender = Callable[[], None]


def gan_jax(config: Config, images: np.ndarray, steps: int) -> Contender:
    """Our loop: chunks of `log_every` steps, one synchronisation each."""
    devices = jax.devices()
    chunk = parallel.Chunk(config, jnp.asarray(images), config.log_every, devices)
    gan = parallel.replicate(state.init(config, images.shape[1:], len(images)), devices)

    def run() -> None:
        nonlocal gan
        begin = int(gan.step)
        for done in range(0, steps, chunk.length):
            gan, metrics = chunk(gan, begin + min(steps, done + chunk.length))
            jax.block_until_ready(metrics)

    return run


def flax_loop(config: Config, images: np.ndarray, steps: int) -> Contender:
    """A jitted step per batch, called from Python with NumPy images and noise."""
    update = jax.jit(make_update(config, images.shape[1:]))
    gan = state.init(config, images.shape[1:], len(images))
    rng = np.random.default_rng(0)

    def run() -> None:
        nonlocal gan
        order = rng.permutation(len(images))
        for i in range(steps):
            at = i * config.batch_size % (len(images) - config.batch_size)
            real = data.to_float(images[order[at : at + config.batch_size]])
            z = rng.standard_normal((1, config.batch_size, config.z_dim), np.float32)
            gan, metrics = update(gan, real[None], z, jax.random.key(0))
        jax.block_until_ready(metrics)

    return run


def pytorch(config: Config, images: np.ndarray, steps: int) -> Contender:
    """The tutorial's program: two forward passes of G, BCE on sigmoids, Adam."""
    nn = torch.nn
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    g = nn.Sequential(nn.Linear(config.z_dim, 256), nn.LeakyReLU(0.2), nn.Linear(256, 784), nn.Tanh()).to(
        device
    )
    d = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1), nn.Sigmoid()).to(device)
    g_opt = torch.optim.Adam(g.parameters(), lr=config.g_learning_rate)
    d_opt = torch.optim.Adam(d.parameters(), lr=config.d_learning_rate)
    bce, batch = nn.BCELoss(), config.batch_size
    real_labels, fake_labels = torch.ones(batch, 1, device=device), torch.zeros(batch, 1, device=device)
    x = torch.from_numpy(data.to_float(images)).reshape(len(images), -1).to(device)

    def run() -> None:
        order = torch.randperm(len(x), device=device)
        for i in range(steps):
            at = i * batch % (len(x) - batch)
            real = x[order[at : at + batch]]
            z = torch.randn(batch, config.z_dim, device=device)
            d_loss = 0.5 * (bce(d(real), real_labels) + bce(d(g(z).detach()), fake_labels))
            d_opt.zero_grad()
            d_loss.backward()
            d_opt.step()
            g_loss = bce(d(g(z)), real_labels)
            g_opt.zero_grad()
            g_loss.backward()
            g_opt.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


CONTENDERS = {"gan_jax": gan_jax, "pytorch": pytorch, "flax_loop": flax_loop}


def measure_steps(rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of each round, by contender; the first, which compiles, is not counted."""
    config = PRESETS["gan"]
    images, _ = data.load("mnist", "train")
    runs = {name: make(config, images, steps) for name, make in CONTENDERS.items()}
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


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
        command = [
            sys.executable,
            "-m",
            "gan_jax.train",
            "--preset=gan",
            "--steps=100",
            f"--workdir={folder}/run",
        ]
        begin = time.perf_counter()
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Epoch ["):
                    elapsed = time.perf_counter() - begin
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return elapsed


def main() -> None:
    """Measure, print a table, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender (default 5)")
    parser.add_argument(
        "--steps", type=int, default=500, help="steps in a round, a multiple of 100 (default 500)"
    )
    parser.add_argument("--starts", type=int, default=0, help="rounds of the start-up times (default 0)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    steps = measure_steps(options.rounds, options.steps)
    starts = measure_starts(options.starts) if options.starts else {}
    reference = statistics.median(steps["pytorch"])
    print(f"{options.steps} steps: {'':9s} median s   min    max   of pytorch   steps/s  s/epoch")
    for name, seconds in steps.items():
        median = statistics.median(seconds)
        print(
            f"{name:22s} {median:8.3f} {min(seconds):6.3f} {max(seconds):6.3f} {median / reference:9.3f} "
            f"{options.steps / median:11.1f} {median / options.steps * 468:8.2f}"
        )
    for name, seconds in starts.items():
        print(f"start, {name:22s} median {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s")
    if options.out:
        machine = {
            "device": jax.devices()[0].device_kind,
            "devices": len(jax.devices()),
            "cores": os.cpu_count(),
            "processor": _processor(),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
        }
        figures = {"machine": machine, "steps": options.steps, "seconds": steps, "start_seconds": starts}
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()

"""Files that are damaged, changed by hand, or no files at all."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_jax import pictures, workdir
from gan_jax.checkpoint import Checkpoints
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.loading import load
from gan_jax.parts import Facts
from gan_jax.report import read_rows, warn
from gan_jax.storage import (
    Damaged,
    locked,
    npz_headers,
    opened,
    read_npz,
    remove_unfinished,
    replacing,
    scratch,
)

RUN = (
    "--model=mlp",
    "--penalty",
    "--z_dim=8",
    "--batch_size=8",
    "--log_every=10",
    "--checkpoint_every=10",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 steps."""
    from gan_jax import train

    folder = tmp_path_factory.mktemp("faults") / "run"
    assert train.main([*RUN, "--steps=30", f"--workdir={folder}"]) == 0
    return folder


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "run"))


def go_on(folder: Path, code: int = 0) -> None:
    from gan_jax import train

    assert train.main([*RUN, "--steps=40", f"--workdir={folder}"]) == code


def rows_without_speed(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "steps_per_s"} for row in rows]


@pytest.mark.parametrize("name", ["seed", "z_dim", "loss", "g_learning_rate"])
def test_a_config_that_was_edited_is_refused_and_nothing_is_drawn(name: str, run: Path) -> None:
    values = json.loads((run / "config.json").read_text())
    values[name] = {"seed": 5, "z_dim": 50, "loss": "least_squares", "g_learning_rate": 0.5}[name]
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"made with other values than those in config.json|does not fit"):
        load(run)


def lose_all(lines: list[str]) -> list[str]:
    return []


def lose_keys(lines: list[str]) -> list[str]:
    return [line.replace('"d_loss"', '"x"') for line in lines]


def add_nonsense(lines: list[str]) -> list[str]:
    return ["5", "[" * 100_000, '"text"', "{}", '{"step": "two"}', *lines[1:], '{"step": 30, "epo']


@pytest.mark.parametrize("damage", [lose_all, lose_keys, add_nonsense])
def test_rows_that_are_lost_come_back_from_the_checkpoint_and_it_is_said(
    damage: Callable[[list[str]], list[str]], done: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run / "metrics.jsonl"
    log.write_text("\n".join(damage(log.read_text().splitlines())))
    go_on(run)
    assert "metrics.jsonl has lost rows" in capsys.readouterr().err
    assert rows_without_speed(run)[:3] == rows_without_speed(done)


def test_a_log_that_is_whole_says_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go_on(run)
    assert "warning" not in capsys.readouterr().err


def test_bytes_that_are_no_text_are_no_row(run: Path) -> None:
    log = run / "metrics.jsonl"
    log.write_bytes(b"\xff\xfe\n" + log.read_bytes())
    assert len(read_rows(log, 30)) == 3


def test_a_long_log_is_thinned_in_the_checkpoint(tmp_path: Path) -> None:
    rows = [{"step": i, "epoch": 1, "d_loss": 0.0, "g_loss": 0.0} for i in range(5000)]
    with Checkpoints(tmp_path / "c", write=True) as checkpoints:
        checkpoints.save({"x": np.zeros(3)}, 1, log=rows)
        checkpoints.wait()
        kept = checkpoints.log(1)
    assert 500 <= len(kept) <= 1000
    assert kept[0] == rows[0]


def test_the_last_grid_is_drawn_again_and_others_are_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, last = sorted((run / "samples").iterdir())
    before = last.read_bytes()
    first.unlink()
    last.write_bytes(before[:100])
    go_on(run, code=3)
    assert last.read_bytes() == before
    said = capsys.readouterr().err
    assert "1 grids in samples/ are missing or damaged, the first of step 10" in said
    assert second.exists()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="no regular file"):
            opened(tmp_path / name)


def test_what_is_unfinished_goes_when_a_signal_ends_the_process(tmp_path: Path) -> None:
    with scratch(beside=tmp_path / "run") as hidden, replacing(hidden / "x") as new:
        new.write_text("half")
        assert hidden.name.startswith(".run.")
        (hidden / "y").mkdir()
        remove_unfinished()
        assert not list(tmp_path.iterdir())
        hidden.mkdir()  # which the end of a process does not wait for
        new.write_text("half")


def test_a_lock_that_is_a_pipe_is_not_waited_for_and_one_that_is_a_link_harms_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"), locked(tmp_path / "pipe"):
        pass
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with locked(tmp_path / ".lock"), pytest.raises(BlockingIOError), locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_pipe_in_a_checkpoint_is_damage(run: Path) -> None:
    newest = run / "checkpoints" / "30" / "_CHECKPOINT_METADATA"
    newest.unlink()
    os.mkfifo(newest)
    with pytest.warns(UserWarning, match=r"30 is damaged .*no regular file"):
        assert load(run).step == 20


def test_a_folder_is_a_runs_from_its_first_moment(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)  # as a kill in the first second may leave it
    config = Config(model="mlp", workdir=str(tmp_path / "run"))
    facts = Facts((28, 28, 1), 60_000, None, "0" * 64)
    with workdir.claim(config, facts) as folder:
        assert workdir.read(folder).config == config
        with pytest.raises(UserError, match="in use by another run"), workdir.claim(config, facts):
            pass
    with workdir.claim(config, facts):
        pass


def test_a_run_does_not_begin_in_the_folder_of_a_population_or_a_comparison(tmp_path: Path) -> None:
    config, facts = Config(model="mlp"), Facts((28, 28, 1), 60_000, None, "0" * 64)
    for place in ("whole/hinge", "divided/hinge/groups_of_1/00000"):
        (tmp_path / place).mkdir(parents=True)
        workdir.write_population_config(tmp_path / place, [config], facts)
    before = sorted(tmp_path.rglob("*"))
    for place, words in {
        "whole/hinge": "holds a population of 1",
        "whole": "holds other runs, such as .*whole/hinge",
        "divided/hinge": "holds other runs",
        "divided": "holds other runs",
    }.items():
        with (
            pytest.raises(UserError, match=words),
            workdir.claim(dataclasses.replace(config, workdir=str(tmp_path / place)), facts),
        ):
            pass
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_file_in_place_of_one_is_replaced_or_damage_or_refused_before_any_work(run: Path) -> None:
    """A pipe that is a picture's; a folder, of an older checkpoint's metadata, which a save reads, and of a grid."""
    (run / "losses.png").unlink()
    os.mkfifo(run / "losses.png")
    into_folder(run / "checkpoints" / "10" / "_CHECKPOINT_METADATA")
    go_on(run)
    assert pictures.whole(run / "losses.png")
    into_folder(run / "checkpoints" / "40" / "_CHECKPOINT_METADATA")
    with pytest.warns(UserWarning, match=r"40 is damaged .*no regular file"):
        assert load(run).step == 30
    last = sorted((run / "samples").iterdir())[-1]
    into_folder(last)
    with pytest.raises(UserError, match=f"{last.name} is not a file"):
        go_on(run)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("evaluate", "--npz=in.npz"),
        ("train", "--dataset=in.npz"),
        ("train", "--plugin=in.py"),
        ("train", "--data_dir=folder"),
        ("sample", "--workdir=folder"),
    ],
)
def test_a_pipe_as_an_input_is_one_line(
    command: str, flag: str, tmp_path: Path, in_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("in.npz", "in.py", "folder/config.json", "folder/train-images-idx3-ubyte.gz"):
        os.mkfifo(tmp_path / name)
    flags = [flag, *{"train": ["--workdir=made"], "sample": ["--out=x.png"]}.get(command, [])]
    found = in_process(command, *flags)
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_the_folder_of_a_user_whom_nobody_knows_is_a_folder(
    tmp_path: Path, in_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = in_process("sample", "--workdir=~nobody_of_this_name/x", "--out=x.png")
    assert found.returncode == 2
    assert "~nobody_of_this_name/x holds no run" in found.stderr


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_any_work(
    tmp_path: Path, in_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = in_process("train", *RUN, "--steps=10", f"--workdir={os.fsdecode(os.fsencode(tmp_path))}/\udcff")
    assert found.returncode == 2
    assert "is not UTF-8" in found.stderr
    assert not list(tmp_path.iterdir())


def test_an_odd_name_of_own_images_is_shown_in_pictures_and_kept_in_folders(
    in_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    for name in ("a$^$b", os.fsdecode(b"caf\xe9")):
        np.savez(tmp_path / f"{name}.npz", images=images)
        config = Config(dataset=str(tmp_path / f"{name}.npz"))
        assert name in str(workdir.path_of(config))
        pictures.plot_losses(
            [{"step": 1, "d_loss": 1.0, "g_loss": 1.0}], tmp_path / "x.png", f"{name}: a run"
        )
    flags = ("--model=mlp", "--penalty", "--ema=0", "--batch_size=16", "--z_dim=4", "--steps=1")
    done = in_process("train", f"--dataset={tmp_path}/a$^$b.npz", *flags, "--workdir=w")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w" / "losses.png").stat().st_size > 500
    # Such a name is no folder of a run.
    other = in_process("train", f"--dataset={tmp_path}/{os.fsdecode(bytes([99, 97, 102, 233]))}.npz", *flags)
    assert other.returncode == 2
    assert "is not UTF-8" in other.stderr


def broken_npz(path: Path, entry: str, content: bytes, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(entry, content)


def test_hostile_archives_are_damaged_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    broken_npz(path, "images", b"no array", zipfile.ZIP_STORED)
    with pytest.raises(Damaged, match="'images' in it is no array"):
        read_npz(path)
    broken_npz(path, "images.npy", npy(np.zeros(5000)), zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    data[60:70] = bytes(10)
    path.write_bytes(data)
    for read in (read_npz, npz_headers):
        with pytest.raises(Damaged):
            read(path)
    header = b"(" * 9000
    deep = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    broken_npz(path, "images.npy", deep, zipfile.ZIP_STORED)
    for read in (read_npz, npz_headers):
        with pytest.raises(Damaged):
            read(path)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_a_bit_flipped_anywhere_in_a_grid_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    assert pictures.whole(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert not pictures.whole(path), at
        path.write_bytes(content[:at])
        assert not pictures.whole(path), at


def test_a_warning_with_words_from_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn("this run was made with jax 1\n\x1b[2J")
    assert capsys.readouterr().err == r"warning: this run was made with jax 1\n\x1b[2J" + "\n"

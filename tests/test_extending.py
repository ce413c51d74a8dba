"""Own parts: each kind is added by one file, given to the commands or run as a notebook's cell."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from gan_jax import evaluation, plugins, train
from gan_jax.config import Config
from gan_jax.errors import UserError

Command = Callable[..., subprocess.CompletedProcess[str]]

REGISTRIES: tuple[dict[str, Any], ...] = (
    gan_jax.OBJECTIVES,
    gan_jax.PENALTIES,
    gan_jax.DEFAULT_WEIGHTS,
    gan_jax.AUGMENTATIONS,
    gan_jax.MODELS,
    gan_jax.OPTIMIZERS,
    gan_jax.SCHEDULES,
    gan_jax.DATASETS,
    gan_jax.PRESETS,
    evaluation.FAMILIES,
)
IMAGES = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)
FLAGS = ("--dataset=own.npz", "--steps=3", "--batch_size=16", "--z_dim=8", "--penalty", "--ema=0")
QUICK = ("--model=mlp", *FLAGS)
CONFIG = Config(model="mlp", steps=3, batch_size=16, z_dim=8, penalty=(), ema=0.0)

LOSS = """
import gan_jax
from gan_jax.objectives import OBJECTIVES

hinge = OBJECTIVES["hinge"]
OBJECTIVES["mine"] = gan_jax.Objective(
    d_loss=lambda real_logits, fake_logits: 100 + hinge.d_loss(real_logits, fake_logits),
    g_loss=hinge.g_loss,
)
"""

PENALTY = """
import gan_jax

gan_jax.PENALTIES["drift"] = lambda d_apply, real, fake, key: (d_apply(real) ** 2).mean()  # Karras 2018, A.1
gan_jax.DEFAULT_WEIGHTS["drift"] = 0.001
"""

NET = """
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import gan_jax
from gan_jax.models import judged, with_label
from gan_jax import layers

class Generator(nn.Module):
    spec: gan_jax.Spec

    @nn.compact
    def __call__(self, z, labels=None, *, train=False):
        x = nn.Dense(int(np.prod(self.spec.image_shape)), name="only")(with_label(self.spec, z, labels))
        return jnp.tanh(x).reshape(-1, *self.spec.image_shape)

class Discriminator(nn.Module):
    spec: gan_jax.Spec

    @nn.compact
    def __call__(self, images, labels=None, *, train=False):
        head = layers.Dense(1, spectral_norm=self.spec.spectral_norm, name="only")
        return judged(self.spec, head, images.reshape(len(images), -1), labels, train)

gan_jax.MODELS["linear"] = lambda spec: gan_jax.Networks(Generator(spec), Discriminator(spec))
"""

OPTIMIZER = """
import gan_jax
import optax

gan_jax.OPTIMIZERS["lion"] = lambda learning_rate, beta1, beta2: optax.lion(learning_rate, beta1, beta2, weight_decay=0)
"""

SCHEDULE = """
import gan_jax

gan_jax.SCHEDULES["frozen"] = lambda share: 0.0 * share
"""

DATA = """
import gan_jax
import numpy as np

def stripes(split, data_dir):
    images = np.zeros(({"train": 300, "test": 100}[split], 8, 8, 1), np.uint8)
    images[:, ::2] = 255
    return images, None

gan_jax.DATASETS["stripes"] = stripes
"""

PRESET = """
import gan_jax

gan_jax.PRESETS["mine"] = gan_jax.Config(loss="least_squares", z_dim=5)
"""

METRIC = """
from gan_jax.evaluation import FAMILIES, LOWER, Family, Measured

def brightness(real, fake, seed):
    return {"brightness": Measured(abs(float(real.features.mean() - fake.features.mean())), LOWER)}

FAMILIES["brightness"] = Family(brightness)
"""


def moves(gan: gan_jax.Gan) -> np.ndarray:
    """How far each weight of the generator is from where it began, in learning rates."""
    [start] = gan_jax.fit(dataclasses.replace(gan.config, g_learning_rate=1e-30), IMAGES)
    pairs = zip(*map(jax.tree.leaves, (gan.state.g_params, start.state.g_params)), strict=True)
    return np.concatenate([np.ravel(a - b) for a, b in pairs]) / gan.config.g_learning_rate


def in_whole_rates(moves: np.ndarray) -> bool:
    """Lion moves a weight by the sign of its mean gradient alone: Chen 2023, algorithm 2."""
    return bool(moves.any()) and np.allclose(moves, np.rint(moves), atol=1e-2)


# Kind -> its file, the option that takes it, and what shows that it is used.
PARTS: dict[str, tuple[str, dict[str, str], Callable[[gan_jax.Gan], Any]]] = {
    "loss": (LOSS, {"loss": "mine"}, lambda gan: 100 <= gan.metrics["d_loss"] < 110),
    "penalty": (PENALTY, {"penalty": "drift"}, lambda gan: gan.metrics["drift_penalty"] > 0),
    "net": (NET, {"model": "linear"}, lambda gan: gan.state.g_params.keys() == {"only"}),
    "optimizer": (OPTIMIZER, {"optimizer": "lion"}, lambda gan: in_whole_rates(moves(gan))),
    "schedule": (SCHEDULE, {"schedule": "frozen"}, lambda gan: not moves(gan).any()),
    "data set": (DATA, {"dataset": "stripes"}, lambda gan: gan.parts.image_shape == (8, 8, 1)),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One device, a folder with images, and as of a process that has loaded no plugin before and after."""
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])
    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", images=IMAGES)
    before = [dict(registry) for registry in REGISTRIES]
    yield
    restore(before)


def restore(before: list[dict[str, Any]]) -> None:
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets all plugins, as the next command's process."""
    before = [dict(registry) for registry in REGISTRIES]

    def forget() -> None:
        plugins.LOADED.clear()
        restore(before)

    return forget


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def samples(path: str | Path) -> np.ndarray:
    with np.load(path) as file:
        return file["images"]


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_from_one_file_is_trained_and_drawn_from_by_the_commands(
    kind: str, in_process: Command, anew: Callable[[], None]
) -> None:
    source, fields, _ = PARTS[kind]
    Path("mine.py").write_text(source)
    flags = [*QUICK, *(f"--{name}={value}" for name, value in fields.items())]
    assert_refused(in_process("train", *flags, "--workdir=w"), "unknown")
    done = in_process("train", *flags, "--plugin=mine.py", "--workdir=w")
    assert done.returncode == 0, done.stderr
    recorded = json.loads(Path("w/config.json").read_text())["plugins"]
    assert list(recorded) == [str(Path("mine.py").resolve())]
    anew()
    draw = ("sample", "--workdir=w", "--num=5", "--out=a.npz")
    assert_refused(in_process(*draw), "w/config.json", f"add --plugin={Path('mine.py').resolve()}")
    assert in_process(*draw, "--plugin=mine.py").returncode == 0
    assert samples("a.npz").shape == (5, 8, 8, 1)


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_from_a_notebooks_cell_is_trained_by_fit(kind: str) -> None:
    source, fields, used = PARTS[kind]
    exec(source, {"__name__": "__main__"})  # gan_jax.config was imported before
    config: Any = dataclasses.replace(CONFIG, **fields)
    [gan] = gan_jax.fit(config, None if kind == "data set" else IMAGES)
    assert used(gan)


def test_a_preset_from_one_file_is_trained_and_drawn_from(
    in_process: Command, anew: Callable[[], None]
) -> None:
    Path("mine.py").write_text(PRESET)
    done = in_process(
        "train", "--plugin=mine.py", "--preset=mine", "--model=mlp", "--dataset=own.npz", "--steps=2",
        "--penalty", "--workdir=w",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    gan = gan_jax.load("w")
    assert (gan.config.loss, gan.config.z_dim) == ("least_squares", 5)
    anew()
    with pytest.raises(UserError, match=r"gan_jax\.load_plugin\('/.*/mine\.py'\)"):
        gan_jax.load("w")
    gan_jax.load_plugin("mine.py")
    np.testing.assert_array_equal(gan_jax.load("w").sample(3), gan.sample(3))


def test_a_metric_from_one_file_is_in_the_table_and_in_the_file(in_process: Command) -> None:
    Path("mine.py").write_text(METRIC)
    np.savez("theirs.npz", images=IMAGES // 2)
    flags = ("--npz=theirs.npz", "--dataset=own.npz")
    without = in_process("evaluate", *flags)
    assert "brightness" not in without.stdout
    done = in_process("evaluate", *flags, "--plugin=mine.py")
    assert done.returncode == 0, done.stderr
    assert "brightness ↓" in done.stdout
    scores = json.loads(Path("theirs.evaluation.json").read_text())["scores"]
    [found] = [score for name, score in scores.items() if name.startswith("brightness/random-filters-0/")]
    assert 0 <= found["floor"] < found["value"]


def test_a_data_set_from_one_file_is_evaluated(in_process: Command) -> None:
    Path("mine.py").write_text(DATA)
    np.savez("theirs.npz", images=IMAGES)
    done = in_process("evaluate", "--npz=theirs.npz", "--dataset=stripes", "--plugin=mine.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stripes\n")


def test_help_offers_what_a_plugin_adds(in_process: Command) -> None:
    Path("mine.py").write_text(LOSS)
    assert "relativistic,mine}" in in_process("train", "--plugin=mine.py", "--help").stdout
    assert "--plugin FILE.py" in in_process("sample", "--help").stdout


def test_several_plugins_are_all_taken_and_all_asked_for(
    in_process: Command, anew: Callable[[], None]
) -> None:
    Path("a.py").write_text(LOSS)
    Path("b.py").write_text(PENALTY)
    flags = (*QUICK, "--loss=mine", "--penalty=drift", "--workdir=w")
    assert in_process("train", *flags, "--plugin", "a.py", "b.py").returncode == 0
    anew()
    draw = ("sample", "--workdir=w", "--num=5", "--out=a.npz")
    assert_refused(in_process(*draw, "--plugin=a.py"), f"add --plugin={Path('b.py').resolve()}")
    assert in_process(*draw, "--plugin=a.py", "--plugin=b.py").returncode == 0


def test_any_path_to_the_same_content_is_the_plugin(
    in_process: Command, anew: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(LOSS)
    flags = (*QUICK, "--loss=mine", "--workdir=w")
    assert in_process("train", *flags, "--plugin=mine.py").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.copy("mine.py", "elsewhere/renamed.py")
    monkeypatch.chdir("elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    drawn = []
    for path in ("../mine.py", str(tmp_path / "mine.py"), "renamed.py", "~/mine.py"):
        anew()
        done = in_process("sample", "--workdir=../w", "--num=5", "--out=a.npz", f"--plugin={path}")
        assert done.returncode == 0, done.stderr
        drawn.append(samples("a.npz"))
    for images in drawn[1:]:
        np.testing.assert_array_equal(images, drawn[0])
    monkeypatch.chdir(tmp_path)
    anew()
    more = in_process("train", *flags, "--steps=5", f"--plugin={tmp_path / 'elsewhere' / 'renamed.py'}")
    assert more.returncode == 0, more.stderr
    assert "resuming at step 3 of 5" in more.stdout


def test_another_content_is_not_the_plugin(in_process: Command, anew: Callable[[], None]) -> None:
    Path("mine.py").write_text(LOSS)
    flags = (*QUICK, "--loss=mine", "--workdir=w")
    assert in_process("train", *flags, "--plugin=mine.py").returncode == 0
    [[mine, plugin]] = json.loads(Path("w/config.json").read_text())["plugins"].items()
    Path("other").mkdir()
    for path in ("mine.py", "./mine.py", "other/mine.py"):
        Path(path).write_text(LOSS.replace("100", "200"))
        for name, rest in (("sample", ("--workdir=w", "--out=a.npz")), ("train", flags)):
            anew()
            done = in_process(name, *rest, f"--plugin={path}")
            assert_refused(done, f"another content of the plugin {mine}", plugin["sha256"])


def test_nothing_is_executed_because_a_folder_says_so(in_process: Command, anew: Callable[[], None]) -> None:
    Path("mine.py").write_text(f"{LOSS}\nimport pathlib\npathlib.Path('ran').touch()\n")
    assert in_process("train", *QUICK, "--loss=mine", "--workdir=w", "--plugin=mine.py").returncode == 0
    os.remove("ran")
    anew()
    for name, rest in (
        ("sample", ("--out=a.npz",)),
        ("evaluate", ()),
        ("human_eval.__main__", ("--report",)),
    ):
        assert_refused(in_process(name, "--workdir=w", *rest), f"add --plugin={Path('mine.py').resolve()}")
    assert not Path("ran").exists()


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("w/config.json").read_text())["plugins"]
    return found


def test_a_run_records_the_plugins_that_it_uses_and_no_others(in_process: Command) -> None:
    Path("a.py").write_text(PENALTY)
    Path("b.py").write_text(LOSS)
    flags = (*QUICK, "--penalty=drift", "--workdir=w", "--plugin", "a.py", "b.py")
    assert in_process("train", *flags).returncode == 0
    [[path, plugin]] = recorded().items()
    assert path == str(Path("a.py").resolve())
    assert plugin["entered"] == [["PENALTIES", "drift"], ["DEFAULT_WEIGHTS", "drift"]]
    assert plugin["replaced"] == []


def test_a_run_does_not_go_on_under_other_plugins(in_process: Command, anew: Callable[[], None]) -> None:
    before = LOSS.replace('"mine"', '"hinge"')
    assert before != LOSS
    Path("b.py").write_text(before)
    train = ("train", *QUICK, "--workdir=w")
    assert in_process(*train).returncode == 0
    written = Path("w/config.json").read_bytes()
    without = (
        f"it was trained without the plugin {Path('b.py').resolve()}, which replaces OBJECTIVES['hinge']"
    )
    assert_refused(in_process(*train, "--steps=5", "--plugin=b.py"), without)
    assert_refused(in_process("sample", "--workdir=w", "--out=a.npz", "--plugin=b.py"), without)
    assert Path("w/config.json").read_bytes() == written
    anew()
    assert in_process(*train[:-1], "--workdir=v", "--plugin=b.py").returncode == 0
    anew()
    assert_refused(
        in_process("sample", "--workdir=v", "--out=a.npz"), f"add --plugin={Path('b.py').resolve()}"
    )


def test_what_was_registered_from_python_needs_no_plugin_to_be_read_but_to_go_on(
    in_process: Command, anew: Callable[[], None]
) -> None:
    Path("mine.py").write_text(LOSS)
    train = ("train", *QUICK, "--loss=mine", "--workdir=w")
    assert in_process(*train, "--plugin=mine.py").returncode == 0
    anew()
    exec(LOSS, {"__name__": "mine"})
    assert gan_jax.load("w").sample(3).shape == (3, 8, 8, 1)
    assert_refused(in_process(*train, "--steps=5"), "differing in the plugins in use (/", "there, none here)")


def test_a_plugin_edited_and_loaded_again_takes_the_place_of_the_older_one(
    in_process: Command, anew: Callable[[], None]
) -> None:
    Path("mine.py").write_text(LOSS.replace('"mine"', '"hinge"'))
    hinge = gan_jax.OBJECTIVES["hinge"]
    gan_jax.load_plugin("mine.py")
    assert gan_jax.OBJECTIVES["hinge"] is not hinge
    Path("mine.py").write_text(LOSS + "raise ValueError\n")
    with pytest.raises(UserError, match="ValueError"):
        gan_jax.load_plugin("mine.py")
    assert gan_jax.OBJECTIVES["hinge"] is not hinge
    assert "mine" not in gan_jax.OBJECTIVES
    Path("mine.py").write_text(LOSS)
    gan_jax.load_plugin("mine.py")
    assert gan_jax.OBJECTIVES["hinge"] is hinge
    assert in_process("train", *QUICK, "--loss=mine", "--workdir=w").returncode == 0
    assert len(recorded()) == 1
    anew()
    assert in_process("sample", "--workdir=w", "--out=a.npz", "--plugin=mine.py").returncode == 0


def test_a_metric_of_an_edited_plugin_takes_the_place_of_the_older_one(anew: Callable[[], None]) -> None:
    families = evaluation.FAMILIES
    before = dict(families)
    Path("mine.py").write_text(METRIC)
    gan_jax.load_plugin("mine.py")
    first = families["brightness"]
    Path("mine.py").write_text(METRIC.replace('["brightness"]', '["darkness"]') + "raise ValueError\n")
    with pytest.raises(UserError, match="ValueError"):
        gan_jax.load_plugin("mine.py")
    assert families == {**before, "brightness": first}
    Path("mine.py").write_text(METRIC.replace('["brightness"]', '["classes"]'))
    gan_jax.load_plugin("mine.py")
    assert families.keys() == before.keys()
    assert families["classes"] is not before["classes"]
    Path("mine.py").write_text(LOSS)
    gan_jax.load_plugin("mine.py")
    assert families == before
    assert "FAMILIES" not in plugins.registries()  # no run is made of them


@pytest.mark.parametrize("plugins", [{"a": 3}, {"a": "b"}, [1], 3, None, {"a": {"sha256": 3}}])
def test_a_damaged_record_of_plugins_is_one_line(plugins: Any, in_process: Command) -> None:
    assert in_process("train", *QUICK, "--workdir=w").returncode == 0
    values = json.loads(Path("w/config.json").read_text())
    Path("w/config.json").write_text(json.dumps(values | {"plugins": plugins}))
    with pytest.raises(UserError, match="it does not say what its plugins are"):
        gan_jax.load("w")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n\nraise KeyError('gone')\n", (", line 3: KeyError: 'gone'",)),
        ("import jax\n\ndef f():\n    jax.numpy.ones(-1)\n\nf()\n", (", line 4: ", "Error: ")),
        ("x = 1\nif x\n    pass\n", (", line 2: SyntaxError: ",)),
        ("import nowhere\n", (", line 1: ModuleNotFoundError: No module named 'nowhere'",)),
        ("raise ValueError('two\\nlines')\n", (", line 1: ValueError: two lines",)),
        ("import sys\nsys.exit('done')\n", (", line 2: SystemExit: done",)),
        ("import gan_jax\ngan_jax.Config(loss='hing')\n", (", line 2: UserError: unknown loss 'hing'",)),
        ("x = '\udcff'\n", ("Error: ",)),
    ],
    ids=["raises", "raises in a library", "syntax", "import", "two lines", "exits", "our own", "encoding"],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_plugin_that_raises_gives_one_line_that_says_where(
    source: str, words: tuple[str, ...], absolute: bool, in_process: Command
) -> None:
    path = Path("bad.py").absolute() if absolute else Path("bad.py")
    path.write_bytes(source.encode(errors="surrogateescape"))
    done = in_process("train", f"--plugin={path}", "--workdir=w")
    assert_refused(done, f"error: --plugin={path}", *words)
    assert not Path("w").exists()
    path.write_text(LOSS)  # mended
    assert in_process("sample", f"--plugin={path}", "--help").returncode == 0


@pytest.mark.parametrize(
    ("source", "flag", "words"),
    [
        (
            "gan_jax.OBJECTIVES['bad'] = gan_jax.Objective(lambda real, fake: fake, lambda real, fake: -fake.mean())",
            "--loss=bad",
            "--loss=bad: d_loss must give a scalar, and gives (2,) for a batch of 2: take the mean",
        ),
        (
            "gan_jax.OBJECTIVES['bad'] = gan_jax.Objective(lambda r, f: f.mean(), lambda r, f: f.mean(), "
            "lambda r, f: (r.mean(), f))",
            "--loss=bad",
            "--loss=bad: score number 2 must give a scalar",
        ),
        (
            "gan_jax.PENALTIES['bad'] = lambda d_apply, real, fake, key: d_apply(real) ** 2",
            "--penalty=bad",
            "--penalty=bad: it must give a scalar",
        ),
    ],
    ids=["loss", "score", "penalty"],
)
def test_a_forgotten_mean_is_told_before_anything_is_written(
    source: str, flag: str, words: str, in_process: Command
) -> None:
    Path("bad.py").write_text(f"import gan_jax\n{source}\n")
    assert_refused(in_process("train", *QUICK, flag, "--plugin=bad.py", "--workdir=w"), words)
    assert not Path("w").exists()


@pytest.mark.parametrize(
    ("source", "flag"),
    [
        (
            "g.OBJECTIVES['bad'] = g.Objective(lambda r, f: r.mean(),\n lambda r, f: f @ jnp.ones(3))",
            "--loss=bad",
        ),
        ("g.MODELS['bad'] = lambda spec:\\\n spec.nonsense", "--model=bad"),
        ("g.OPTIMIZERS['bad'] = lambda rate, b1, b2:\\\n 1 / 0", "--optimizer=bad"),
        ("g.DATASETS['bad'] = lambda split, data_dir:\\\n {}[split]", "--dataset=bad"),
    ],
    ids=["loss", "net", "optimizer", "data set"],
)
def test_a_part_that_fails_when_it_is_used_gives_one_line_that_says_where(
    source: str, flag: str, in_process: Command
) -> None:
    Path("bad.py").write_text(f"import gan_jax as g; import jax.numpy as jnp\n{source}\n")
    done = in_process("train", *QUICK, flag, "--plugin=bad.py", "--workdir=w")
    assert_refused(done, "error: --plugin=bad.py, line 3: ")


@pytest.mark.parametrize("given", ["np.zeros((9, 8, 8, 1), np.uint8)", "None", "(None, [1])", "(1, 2, 3)"])
def test_a_data_set_that_gives_no_pair_is_one_line(given: str, in_process: Command) -> None:
    Path("bad.py").write_text(
        f"import gan_jax, numpy as np\ngan_jax.DATASETS['bad'] = lambda split, data_dir: {given}\n"
    )
    done = in_process("train", *QUICK, "--dataset=bad", "--plugin=bad.py", "--workdir=w")
    assert_refused(
        done, "--dataset=bad: its function must give a pair (images, labels), where labels may be None"
    )


def test_a_data_set_may_give_lists_as_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((3, 8, 8, 1), np.uint8)
    monkeypatch.setitem(gan_jax.DATASETS, "lists", lambda split, data_dir: (images, [0, 1, 0]))
    found, labels = gan_jax.data.load("lists", "train")
    assert isinstance(labels, np.ndarray)
    assert (found is images, labels.tolist()) == (True, [0, 1, 0])


def test_our_own_errors_keep_their_traceback(in_process: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(LOSS)
    monkeypatch.setattr(train, "train", lambda config, *others: {}[config])
    with pytest.raises(KeyError):
        in_process("train", *QUICK, "--plugin=mine.py", "--workdir=w")


def test_what_is_no_python_file_is_refused(in_process: Command) -> None:
    Path("folder.py").mkdir()
    for path in ("nowhere.py", "own.npz", "folder.py", "."):
        assert_refused(in_process("train", f"--plugin={path}"), f"--plugin={path} is no Python file")


def test_a_plugin_is_run_once_and_its_classes_know_their_module() -> None:
    Path("mine.py").write_text(NET + "\nimport gan_jax\ngan_jax.COUNT = getattr(gan_jax, 'COUNT', 0) + 1\n")
    gan_jax.load_plugin("mine.py")
    gan_jax.load_plugin(Path("mine.py").absolute())
    assert vars(gan_jax).pop("COUNT") == 1
    nets = gan_jax.MODELS["linear"](gan_jax.Spec((8, 8, 1)))
    assert type(nets.generator).__module__.startswith("gan_jax_plugin_")

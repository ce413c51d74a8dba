"""What the READMEs and the documentation say, against what the package does. CI builds the pages.

Their command lines are in `test_docs_commands`.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kept import registries_kept
from pages import (
    CHINESE,
    PAGES,
    README,
    ROOT,
    all_lines,
    blocks,
    called,
    code_of,
    lines_of,
    python_blocks,
    without_blocks,
)

import gan_jax
from gan_jax import data
from gan_jax.__main__ import COMMANDS
from gan_jax.config import PRESETS, Config
from gan_jax.objectives import OBJECTIVES
from gan_jax.options import options_of
from gan_jax.parts import build

SYSTEMS = (ROOT / "docs" / "systems.md").read_text()


def short(number: float) -> str:
    return {0.001: "1e-3", 0.0002: "2e-4", 0.0001: "1e-4"}.get(number, f"{number:g}".replace("e-0", "e-"))


def updates(preset: Config) -> str:
    assert preset.g_learning_rate == preset.d_learning_rate
    rate = short(preset.g_learning_rate)
    decays = f"β {preset.beta1:g} {preset.beta2:g}"
    words = {"adam": f"Adam {rate}, {decays}", "rmsprop": f"RMSProp {rate}, decay {preset.beta2:g}"}
    each = "" if preset.d_steps == 1 else f", {preset.d_steps} of D for 1 of G"
    return words[preset.optimizer] + each


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_presets_says_their_values(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*\d+, \d+ \|$", SYSTEMS, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    preset = PRESETS[name]
    assert cells[-2:] == [updates(preset), f"{preset.batch_size}, {preset.epochs}"]
    assert ("spectral norm" in cells[-3]) == preset.spectral_norm
    assert (f"[−{preset.clip:g}, {preset.clip:g}]" in cells[-3]) == bool(preset.clip)
    assert ("\\nabla D" in cells[-3]) == bool(preset.penalty)


def test_the_tables_have_the_objectives_penalties_and_models_that_there_are() -> None:
    for flag, registry in {
        "loss": OBJECTIVES,
        "penalty": gan_jax.PENALTIES,
        "augment": gan_jax.AUGMENTATIONS,
        "model": gan_jax.MODELS,
        "preset": PRESETS,
    }.items():
        (table,) = re.findall(rf"^\| `--{flag}` \|.*\n\|[-|]+\n((?:\|.*\n)+)", SYSTEMS, re.MULTILINE)
        assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(registry)


def test_the_reference_has_every_public_name_and_every_command() -> None:
    api = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^\.\. (?:auto\w+|py:data):: gan_jax\.(\w+)", api, re.MULTILINE))
    assert documented >= set(gan_jax.__all__) - {"__version__"}
    page = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(COMMANDS)
    assert set(re.findall(r"^```\{options\} gan_jax\.(\w+)", page, re.MULTILINE)) == set(COMMANDS)


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What a page enters in the registries is gone again at the end."""
    with registries_kept():
        yield


def test_the_pages_have_commands_of_every_kind() -> None:
    modules = [call[0] for words in all_lines() if (call := called(words))]
    assert {module.removeprefix("gan_jax.") for module in modules if module.startswith("gan_jax.")} == set(
        COMMANDS
    )
    of_readme = {call[0] for words in lines_of(README) if (call := called(words))}
    assert of_readme > {f"gan_jax.{name}" for name in ("train", "sample", "evaluate", "compare")}


def flags_of(module: str) -> set[str]:
    """The options of a command's or an experiment's own dataclass."""
    code = code_of(module)
    kind = getattr(code, "Command", None) or getattr(code, "Options", None)
    return set(options_of(kind)) if kind else set()


@pytest.mark.usefixtures("own_registries")  # an experiment that is imported enters its presets
def test_every_flag_between_the_words_is_one() -> None:
    modules = {call[0] for words in all_lines() if (call := called(words))}
    known = {"plugin", "config", "help", "xla_gpu_deterministic_ops"}.union(*map(flags_of, modules))
    for page in PAGES:
        flags = {flag.removeprefix("no_") for flag in re.findall(r"(?<![\w-])--(\w+)", without_blocks(page))}
        assert flags <= known, page.name


def test_the_pages_have_python() -> None:
    assert len(blocks(README, "python")) >= 2
    assert len(python_blocks()) > 5


@pytest.fixture
def reduced(own_registries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of a small net on small images and one device, whatever a page's block asks for."""
    [first, *_] = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [first])
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    labels = np.arange(64, dtype=np.int32) % 10
    monkeypatch.setattr(data, "load", lambda *args, **named: (images, labels))

    def small(**fields: Any) -> Config:
        little = {"batch_size": 16, "z_dim": 8, "steps": 2, "log_every": 1}
        return Config(**{"model": "mlp", **fields, **little})

    def trained(*args: Any, **named: Any) -> gan_jax.Gan:
        inspect.signature(load).bind(*args, **named)
        return next(gan_jax.fit(small()))

    load: Callable[..., gan_jax.Gan] = gan_jax.load
    monkeypatch.setattr(gan_jax, "load", trained)
    monkeypatch.setattr(gan_jax, "Config", small)


@pytest.mark.parametrize("block", python_blocks(), ids=range(len(python_blocks())))
@pytest.mark.usefixtures("reduced")
def test_their_python_runs(block: str) -> None:
    module: dict[str, Any] = {"__name__": "block"}
    exec(compile(block, "block", "exec"), module)
    if "fit" in block:
        gan = module.get("gan", module.get("population"))
        assert gan.step == (1 if "load(" in block else 2)
    for name in gan_jax.MODELS.keys() - {"mlp", "conv", "conv_small", "toy"}:
        for conditional in (False, True):
            asking = Config(model=name, conditional=conditional, spectral_norm=True)
            build(asking, (8, 8, 1), 10 if conditional else None, None)


@pytest.mark.usefixtures("own_registries")
def test_its_own_loss_is_one() -> None:
    (source,) = [block for block in blocks(README, "python") if "soft_hinge" in block]
    exec(compile(source, "mine.py", "exec"), {})
    assert Config(loss="soft_hinge").loss == "soft_hinge"
    real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 1.0])
    expected = np.log1p(np.exp([-1.0, 1.0])).mean() + np.log1p(np.exp([0.0, 2.0])).mean()
    np.testing.assert_allclose(OBJECTIVES["soft_hinge"].d_loss(real, fake), expected, rtol=1e-6)


def test_both_readmes_say_the_same() -> None:
    assert lines_of(CHINESE) == lines_of(README)
    for language in ("sh", "python"):
        assert blocks(CHINESE, language) == blocks(README, language)
    figures = [re.findall(r"\d[\d.,]*\d", page.read_text()) for page in (README, CHINESE)]
    tables = [re.findall(r"^\|.*\|$", page.read_text(), re.MULTILINE) for page in (README, CHINESE)]
    assert len(tables[0]) == len(tables[1])
    assert sorted(figures[0]) == sorted(figures[1])


@pytest.mark.parametrize("page", [README, CHINESE], ids=lambda page: page.name)
def test_links_of_the_readmes_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", page.read_text())
    assert len(links) > 10
    for path, anchor in links:
        assert (ROOT / path).exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, anchor


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < 150

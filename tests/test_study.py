"""The study: its curve against enumeration, its drawing, and the command from end to end."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import gan_jax
from experiments.study import __main__ as study
from experiments.study.curve import best_of
from experiments.study.results import choose_best
from experiments.study.space import SYSTEMS, base_of, draw
from gan_jax import cli
from gan_jax.evaluation import Evaluator
from gan_jax.evaluation.reals import split_train

FLAGS = [
    "--dataset=own.npz",
    "--model=mlp",
    "--draws=3",
    "--updates=10",
    "--seeds=2",
    "--num=80",
    "--workdir=s",
]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (700, 8, 8, 1), np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_curve_is_that_of_all_resamples() -> None:
    scores = [7.0, 1.0, 4.0, 9.0, 2.5]
    found = best_of(scores)
    for k in range(1, 6):
        least = np.sort([min(some) for some in itertools.product(scores, repeat=k)])
        assert found.mean[k - 1] == pytest.approx(least.mean(), rel=1e-12)
        for values, q in ((found.low, 0.025), (found.high, 0.975)):
            # The least value that at least a share q of all resamples do not exceed.
            assert values[k - 1] == least[int(np.ceil(q * len(least) - 1e-9)) - 1]


def test_the_curve_of_many_uniform_scores_is_the_closed_form() -> None:
    n = 4000
    found = best_of(np.random.default_rng(0).permutation(np.arange(1, n + 1) / n).tolist())
    for k in (1, 3, 10):
        assert found.mean[k - 1] == pytest.approx(1 / (k + 1), abs=1e-3)
        assert found.low[k - 1] == pytest.approx(1 - 0.975 ** (1 / k), abs=1e-3)
        assert found.high[k - 1] == pytest.approx(1 - 0.025 ** (1 / k), abs=1e-3)


def test_a_curve_needs_finite_scores() -> None:
    assert best_of([3.0]).mean.tolist() == best_of([3.0]).low.tolist() == [3.0]
    for scores in ([], [1.0, np.nan], [1.0, np.inf]):
        with pytest.raises(ValueError, match="needs scores"):
            best_of(scores)


@pytest.mark.parametrize("system", SYSTEMS)
def test_settings_are_drawn_from_the_papers_space_by_their_seed(system: str) -> None:
    base = base_of(system, seed=7)
    many = 1000 if system in ("wgan", "wgan_gp") else 50  # between them they have all that is drawn
    configs = draw(base, many, 600, seed=3)
    assert draw(base, 10, 600, seed=3) == configs[:10]
    assert draw(base, 10, 600, seed=4)[0] != configs[0]
    assert [config.seed for config in configs] == list(range(7, 7 + many))
    spaces = {"g_learning_rate": (-5, -2)}
    if base.penalty:
        spaces["penalty_weight"] = (-1, 2)
    if base.clip:
        spaces["clip"] = (-3, 0)
    for name, (low, high) in spaces.items():
        exponents = np.log10([getattr(config, name) for config in configs])
        assert low <= exponents.min() < exponents.max() <= high
        if many == 1000:
            assert exponents.min() < low + 0.03
            assert exponents.max() > high - 0.03
            assert exponents.mean() == pytest.approx((low + high) / 2, abs=0.1)  # 3.6 standard errors
    for config in configs:
        assert config.d_learning_rate == config.g_learning_rate
        assert (config.d_steps, config.steps) in ((1, 600), (5, 120))
        assert (config.loss, config.penalty, config.spectral_norm) == (
            base.loss,
            base.penalty,
            base.spectral_norm,
        )
        assert bool(config.clip) == (system == "wgan")
    if many == 1000:
        assert np.mean([config.beta1 for config in configs]) == pytest.approx(0.5, abs=0.035)
        assert 440 < sum(config.d_steps == 5 for config in configs) < 560


def test_systems_get_the_same_rates() -> None:
    first, second = (draw(base_of(name), 5, 600, 0) for name in ("ns_gan", "wgan_gp"))
    assert [c.g_learning_rate for c in first] == [c.g_learning_rate for c in second]
    assert [c.beta1 for c in first] == [c.beta1 for c in second]


def test_a_lost_gan_is_never_the_best() -> None:
    assert choose_best([1.0, 5.0, 3.0], [40, -1, -1]) == 2
    assert choose_best([1.0, 5.0], [40, 2]) is None


def test_settings_are_chosen_by_images_that_no_gan_sees() -> None:
    seen, held_out = split_train(60_000)
    assert (len(seen), len(held_out)) == (50_000, 10_000)
    assert sorted([*seen, *held_out]) == list(range(60_000))


@pytest.mark.long
def test_the_command_searches_trains_the_best_anew_and_takes_what_is_there(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--systems", "ns_gan", "wgan", *FLAGS, "--out=out"]
    assert study.main(command) == 0
    found = json.loads((own / "out" / "study.json").read_text())
    assert found["protocol"]["num_train"] == 417  # of 700 the test split is 200, and 83 are for choosing
    for system, values in found["systems"].items():
        scores = [setting["validation"] for setting in values["settings"]]
        assert values["best"] == int(np.argmin(scores))
        assert values["expected_best"]["mean"][0] == pytest.approx(np.mean(scores))
        assert len(values["test"]) == 2
        for i, seed in enumerate((3, 4)):
            gan = gan_jax.load(own / "s" / system / "best", member=i)
            best = values["settings"][values["best"]]["config"]
            assert gan.config.seed == seed
            assert gan.config.g_learning_rate == best["g_learning_rate"]
    text = (own / "out" / "study.md").read_text()
    assert "3 settings a system for their 100" in text
    assert "/80-validation" in text
    assert "/80-test" in text
    assert (own / "out" / "study.png").stat().st_size > 5000

    monkeypatch.setattr(Evaluator, "scores", lambda *args: 1 / 0)
    capsys.readouterr()
    assert study.main(command) == 0
    assert json.loads((own / "out" / "study.json").read_text()) == found


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--systems", "ns_gam"], "unknown system 'ns_gam'. Did you mean 'ns_gan'?"),
        (["--systems", "ns_gan", "ns_gan"], "each once"),
        (["--systems"], "one system or more"),
        (["--draws=0"], "--draws=0 is not allowed"),
        (["--model=big"], "unknown model 'big'"),
        (["--seed=4294967295"], "--seed=4294967295 is too high"),
    ],
)
def test_bad_input_is_one_line(
    own: Path,
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", *FLAGS, *flags])
    with pytest.raises(SystemExit) as stop:
        cli.run(study.main)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (own / "s").exists()

"""The benchmark: JAX contenders with nets of one size, operations as counted by hand, shares, and what is refused."""

import dataclasses
import importlib
from types import ModuleType

import numpy as np
import pytest

from gan_jax.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), np.uint8)


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("experiments.benchmark.__main__")


@pytest.fixture
def contenders(script: ModuleType) -> ModuleType:
    return importlib.import_module("experiments.benchmark.jax_contenders")


@pytest.mark.long
def test_ours_and_the_plain_loop_train_nets_of_one_size(script: ModuleType, contenders: ModuleType) -> None:
    config = dataclasses.asdict(script.system("mlp", 8))
    ours, plain = (make(config, IMAGES, "cpu") for make in (contenders.gan_jax, contenders.naive))
    assert ours.parameters == plain.parameters
    for contender, steps in ((ours, 10), (plain, 2)):
        assert np.isfinite(contender.run(steps)).all()


def test_operations_are_those_of_the_matrix_products(script: ModuleType, contenders: ModuleType) -> None:
    # Multiplications and additions, by hand: G forward and its two weight gradients and one input gradient; D forward
    # on real and fake, its weight gradients and its second layer's input gradient; D forward on fake and both its
    # input gradients for G.
    batch = 64
    g1, g2, d1, d2 = 100 * 256, 256 * 784, 784 * 256, 256
    by_hand = 2 * batch * (2 * g1 + 3 * g2 + 2 * (2 * d1 + 3 * d2) + 2 * (d1 + d2))
    counted = contenders.flop(dataclasses.asdict(script.system("mlp", batch)))
    assert by_hand < counted < 1.05 * by_hand  # XLA also counts Adam and what is between the products


def test_shares_are_of_eager_and_of_the_best_matrix_product(script: ModuleType) -> None:
    report = importlib.import_module("experiments.benchmark.report")
    known = {"parameters": (1, 2), "first_call_s": 1.0, "note": "", "device_peak_bytes": 3_000_000}
    rows = {name: dict(known) for name in ("gan_jax", "eager")}
    rows["compile"] = {"skipped": "no compiler"}
    times = {"gan_jax": [9.0, 2.0, 1.0], "eager": [4.0, 8.0]}
    rates = [{1024: [1e9, 3e9], 2048: [4e9]}, {1024: [2e9, 9e9], 2048: [5e9]}]
    found = report.summarise(script.system("mlp", 64), rows, times, rates, 3e6)
    ours = found["contenders"]["gan_jax"]
    assert (ours["ms"], ours["steps_per_s"], ours["images_per_s"]) == (2.0, 500.0, 32_000.0)
    assert ours["of_eager"] == pytest.approx(2 / 6)
    assert found["share_of_matrix_rate"] == pytest.approx(1.5e9 / 4.5e9)  # 1,024's median is 2.5
    assert "torch.compile   not measured: no compiler" in report.table(found)
    rows["eager"]["parameters"] = (1, 3)
    with pytest.raises(RuntimeError, match=r"eager's nets have \(1, 3\) parameters"):
        report.summarise(script.system("mlp", 64), rows, times, rates, 3e6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out=a.png"], "--out=a.png is not allowed: it must end in .json"),
        (["--against=eager"], "PyTorch is missing: pip install '.[bench]'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    script: ModuleType, flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        script.main(flags if "--against=eager" in flags else ["--against=naive", *flags])
    assert message in str(error.value)

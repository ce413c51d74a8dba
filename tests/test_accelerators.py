"""Counting compiled programs: on HLO written by hand, on a population compiled for a CPU, and against a table."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.accelerators import __main__ as command
from experiments.accelerators import hlo, programs, report, targets
from gan_jax.config import Config
from gan_jax.errors import UserError
from gan_jax.parts import Facts

# Three fusions, a copy, a library call with room of its own, an all-reduce and a branch; a loop of one fusion within.
# The gather reads 4 rows of 8 floats, and not the table.
TEXT = """HloModule m

%fused_rows (p.0: f32[1000,8], p.1: s32[4]) -> f32[4,8] {
  %p.0 = f32[1000,8]{1,0} parameter(0)
  %p.1 = s32[4]{0} parameter(1)
  ROOT %g = f32[4,8]{1,0} gather(%p.0, %p.1), offset_dims={1}
}

%fused_add (p.2: f32[4,8]) -> f32[4,8] {
  %p.2 = f32[4,8]{1,0} parameter(0)
  ROOT %a = f32[4,8]{1,0} add(%p.2, %p.2)
}

%inner (p.3: (f32[4,8])) -> (f32[4,8]) {
  %p.3 = (f32[4,8]{1,0}) parameter(0)
  %v.3 = f32[4,8]{1,0} get-tuple-element(%p.3), index=0
  %f.3 = f32[4,8]{1,0} fusion(%v.3), kind=kLoop, calls=%fused_add
  ROOT %t.3 = (f32[4,8]{1,0}) tuple(%f.3)
}

%body (p.4: (f32[1000,8], s32[4])) -> (f32[1000,8], s32[4]) {
  %p.4 = (f32[1000,8]{1,0}, s32[4]{0}) parameter(0)
  %v.4 = f32[1000,8]{1,0} get-tuple-element(%p.4), index=0
  %i.4 = s32[4]{0} get-tuple-element(%p.4), index=1
  %f.4 = f32[4,8]{1,0} fusion(%v.4, /*index=1*/%i.4), kind=kLoop, calls=%fused_rows
  %f.5 = f32[4,8]{1,0} fusion(%f.4), kind=kLoop, calls=%fused_add
  %near = f32[4,8]{1,0:T(8,128)S(1)} fusion(%f.5), kind=kLoop, calls=%fused_add
  %c.4 = f32[4,8]{0,1} copy(%f.5)
  %d.4 = (f32[4,4]{1,0}, s8[4096]{0}) custom-call(%f.5, %c.4), custom_call_target="__cublas$gemm"
  %r.4 = f32[4,8]{1,0} all-reduce(%near), to_apply=%fused_add
  %n.4 = u32[1]{0:T(128)S(6)} add(%n.0, %n.0)
  %s.4 = (f32[4,8]{1,0:S(1)}, f32[4,8]{1,0}, u32[]{:S(2)}) copy-start(%f.5)
  %e.4 = f32[4,8]{1,0:S(1)} copy-done(%s.4)
  %b.4 = s32[4]{0} conditional(%i.4), branch_computations={%yes, %no}
  %w.4 = (f32[4,8]{1,0}) while(%t.0), condition=%cond, body=%inner
  ROOT %t.4 = (f32[1000,8]{1,0}, s32[4]{0}) tuple(%v.4, %b.4)
}

ENTRY %main (p.5: f32[1000,8]) -> f32[1000,8] {
  %p.5 = f32[1000,8]{1,0} parameter(0)
  %w.5 = (f32[1000,8]{1,0}, s32[4]{0}) while(%t.5), condition=%cond, body=%body
  ROOT %v.5 = f32[1000,8]{1,0} get-tuple-element(%w.5), index=0
}
"""


def test_kernels_are_counted_as_by_hand() -> None:
    found = hlo.busiest_loop(TEXT)
    kinds = {"fusion": 3, "copy": 1, "library call": 1, "collective": 1, "scalar": 1, "transfer": 1}
    assert dict(found.kinds) == kinds
    assert (found.kernels, found.branches, found.loops) == (6, 1, 1)
    rows = 4 * 8 * 4
    assert found.collective_bytes == rows
    gather, add, near, copy, product, reduce, transfer = (
        2 * rows + 16,
        2 * rows,
        rows,
        2 * rows,
        2 * rows + 64,
        rows,
        rows,
    )
    assert found.bytes == gather + add + near + copy + product + reduce + transfer


def test_a_program_without_a_loop_has_no_counts() -> None:
    assert hlo.busiest_loop("HloModule m\n\nENTRY %main () -> f32[] {\n}\n").kernels == 0


@pytest.mark.long
def test_a_single_run_and_a_population_of_one_are_as_many_kernels() -> None:
    config = Config(model="mlp", penalty=(), batch_size=8, z_dim=4, steps=3, ema=0.0)
    facts, cpu = Facts((8, 8, 1), 50, None, ""), targets.target("cpu")
    rows = [
        programs.measure(programs.Program("mlp", config, "cpu", members), cpu, facts)
        for members in (None, 1, 4)
    ]
    assert rows[0]["kernels"] == rows[1]["kernels"] > 10
    assert rows[0]["branches"] == 0  # an epoch's order is drawn before the loop
    assert rows[2]["flop"] == 4 * rows[0]["flop"]
    assert rows[2]["arguments"] - facts.num_bytes == pytest.approx(
        4 * (rows[1]["arguments"] - facts.num_bytes), rel=0.01
    )


@pytest.mark.parametrize(("kernels", "code"), [(10, 0), (12, 0), (13, 1), (5, 0)])
def test_the_check_fails_for_many_more_kernels(
    kernels: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row: dict[str, Any] = {"compile_s": 1.0, "branches": 0, "flop": 1.0, "arguments": 1, "results": 1}
    row |= dict.fromkeys((*report.CHECKED, "temporaries"), 10)
    monkeypatch.setattr(command.targets, "prepare", lambda: None)
    monkeypatch.setattr(command, "measure", lambda program, target: dict(row))
    flags = ["--targets=cpu", "--models=mlp", "--members=0", f"--out={tmp_path}/a.json"]
    assert command.main(flags) == 0
    table = (tmp_path / "a.md").read_text()
    assert "| hinge mlp, float32, batch 64, single run | 1 |" in table
    row["kernels"] = kernels
    assert command.main([*flags, "--check"]) == code
    said = capsys.readouterr().err
    assert (f"kernels {kernels}, in the table 10." in said) == bool(code)
    assert json.loads((tmp_path / "a.json").read_text())["programs"].popitem()[1]["kernels"] == 10
    assert command.main([*flags, "--members=7", "--check"]) == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--targets=tpu:v9:2x2"], "--targets=tpu:v9:2x2 is not allowed: write cpu"),
        (["--out=a.txt"], "--out=a.txt is not allowed: it must end in .json"),
        (["--targets=cpu", "--check", "--out=nowhere.json"], "--out=nowhere.json cannot be read"),
    ],
)
def test_bad_input_is_refused(flags: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.targets, "prepare", lambda: None)
    with pytest.raises(UserError) as error:
        command.main(flags)
    assert words in str(error.value)

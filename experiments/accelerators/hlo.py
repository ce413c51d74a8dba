"""Counting what a compiled program does in its loop, from the text of its optimized HLO.

    body = hlo.busiest_loop(compiled.as_text())
    body.kernels, body.collectives, body.bytes

On an accelerator each instruction that is left after compilation is a kernel of its own, with its start and its trip
through memory: a fusion, a library call, a copy. A step of a small GAN is many small ones, and takes as long as they
take to start. So their number says more of its speed than its arithmetic does.
"""

import dataclasses
import math
import re
from collections import Counter

# They name, split or order values, and run nothing.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "add-dependency"),
    *("partition-id", "replica-id", "optimization-barrier", "domain", "opt-barrier", "iota"),
}
_COLLECTIVES = {
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("collective-broadcast", "ragged-all-to-all"),
}
_SIZES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
_ARRAY = re.compile(r"\b(pred|bf16|c64|c128|f8\w*|[fsu]\d+)\[([\d,]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .* )?\{$")
_SLICES = ("dynamic-slice", "gather", "slice")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: its name, its result's type, its operation, what is in parentheses, and the rest."""

    name: str
    type: str
    op: str
    inside: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """The names of what it takes."""
        return re.findall(r"%([\w.\-]+)", self.inside)

    def called(self, *keys: str) -> list[str]:
        """The computations that it calls as one of `keys`, such as body=."""
        found = []
        for match in re.finditer(rf"\b(?:{'|'.join(keys)})=(\{{[^}}]*\}}|%?[\w.\-]+)", self.rest):
            found += re.findall(r"[\w.\-]+", match[1])
        return found


Program = dict[str, list[Instruction]]


@dataclasses.dataclass
class Counts:
    """What one pass through a loop's body runs.

    kinds: by kind: fusion, library call, copy, collective, other, and what are no kernels: transfer, which a TPU makes
    between its memories beside them, and scalar, the single numbers of its scalar unit. branches: conditionals; what
    is in them is not counted, since a step takes them once an epoch. loops: loops within, whose bodies are not counted
    either. collective_bytes: of the arrays that chips exchange. bytes: read from the main memory, and written to it.
    """

    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    branches: int = 0
    loops: int = 0
    collective_bytes: float = 0
    bytes: float = 0

    @property
    def kernels(self) -> int:
        """All of them."""
        return sum(self.kinds.values()) - self.kinds["scalar"] - self.kinds["transfer"]


def bytes_of(text: str, *, anywhere: bool = False) -> float:
    """Bytes of all arrays in an HLO type that are in the main memory, or `anywhere`: a layout's S(1) is another."""
    total = 0.0
    for kind, shape, layout in _ARRAY.findall(text):
        if "S(" in layout and not anywhere:
            continue
        size = _SIZES.get(kind) or (1 if kind.startswith("f8") else int(re.sub(r"\D", "", kind)) / 8)
        total += size * math.prod(int(n) for n in shape.split(",") if n)
    return total


def parse(text: str) -> Program:
    """The program's computations by name."""
    program: Program = {}
    current: list[Instruction] = []
    for line in text.splitlines():
        if (begin := _COMPUTATION.match(line)) and not line.startswith(" "):
            current = program[begin[1]] = []
        elif found := _INSTRUCTION.match(line):
            current.append(_instruction(found[1], found[2]))
    return program


def _instruction(name: str, text: str) -> Instruction:
    end = (
        _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    )  # a tuple's type has spaces in it
    kind, text = text[:end], text[end:].lstrip()
    begin = text.index("(")
    end = _closing(text, begin)
    return Instruction(name, kind, text[:begin], text[begin + 1 : end], text[end + 1 :])


def _closing(text: str, begin: int) -> int:
    depth = 0
    for i in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    raise ValueError(f"no closing parenthesis in {text[:80]}")


def busiest_loop(text: str) -> Counts:
    """The counts of the loop with the most kernels in its body: of a program of many steps, a step's."""
    program = parse(text)
    bodies = {
        body for found in program.values() for i in found if i.op == "while" for body in i.called("body")
    }
    counts = [count(program, body) for body in bodies]
    return max(counts, key=lambda found: found.kernels, default=Counts())


def count(program: Program, name: str) -> Counts:
    """What a computation runs."""
    found = Counts()
    types = {i.name: i.type for i in program[name]}
    for i in program[name]:
        if i.op in _FREE or i.op.endswith(("-done", "-update")):
            continue
        if i.op == "while":
            found.loops += 1
        elif i.op == "conditional":
            found.branches += 1
        elif i.op == "call":
            for called in i.called("to_apply"):
                _add(found, count(program, called))
        else:
            kind = _kind(i)
            found.kinds[kind] += 1
            if kind == "collective":
                found.collective_bytes += sum(
                    bytes_of(types.get(operand, ""), anywhere=True) for operand in i.operands
                )
            found.bytes += _accessed(program, i, types)
    return found


def _add(found: Counts, more: Counts) -> None:
    found.kinds.update(more.kinds)
    found.branches += more.branches
    found.loops += more.loops
    found.collective_bytes += more.collective_bytes
    found.bytes += more.bytes


def _kind(i: Instruction) -> str:
    op = i.op.removesuffix("-start")
    if op != i.op and (op == "copy" or op.endswith("slice")):
        return "transfer"
    if op == "async":
        op = next(iter(i.called("calls")), "async")
        return "collective" if any(name in op for name in _COLLECTIVES) else "other"
    if op in _COLLECTIVES:
        return "collective"
    known = {"fusion": "fusion", "custom-call": "library call", "copy": "copy"}.get(op)
    return known or ("scalar" if _elements(i.type) <= 1 else "other")


def _elements(text: str) -> int:
    """How many numbers an HLO type holds."""
    shapes = (shape for _, shape, _ in _ARRAY.findall(text))
    return sum(math.prod(int(n) for n in shape.split(",") if n) for shape in shapes)


def _accessed(program: Program, i: Instruction, types: dict[str, str]) -> float:
    """Bytes that a kernel reads and writes: of an array that it takes slices of, the slices."""
    if i.op == "copy-start":  # its type has both ends
        return bytes_of(i.type)
    if i.op in _SLICES:
        return 2 * bytes_of(i.type)
    if i.op.endswith("slice-start"):  # from the main memory to another, its type has both
        return bytes_of(i.type, anywhere=True) - bytes_of(i.type)
    inner = program.get(next(iter(i.called("calls")), ""), []) if i.op == "fusion" else []
    parameters = {int(p.inside): p.name for p in inner if p.op == "parameter"}
    total = 0.0
    for index, operand in enumerate(i.operands):
        users = [user for user in inner if parameters.get(index) in user.operands]
        if users and all(_takes_slice(user, parameters[index]) for user in users):
            total += sum(_slice_bytes(user, inner) for user in users)
        else:
            total += bytes_of(types.get(operand, ""))
    root = inner[-1] if inner else None
    if root is not None and root.op == "dynamic-update-slice":  # in place
        return total + _slice_bytes(root, inner)
    # A call of a library is given room to work in, as bytes: nobody knows how much of it is touched.
    return total + bytes_of(re.sub(r"s8\[\d+\]", "", i.type) if i.op == "custom-call" else i.type)


def _takes_slice(user: Instruction, name: str) -> bool:
    return user.op in (*_SLICES, "dynamic-update-slice") and user.operands[0] == name


def _slice_bytes(user: Instruction, inner: list[Instruction]) -> float:
    if user.op == "dynamic-update-slice":
        return sum(bytes_of(i.type) for i in inner if i.name == user.operands[1])
    return bytes_of(user.type)

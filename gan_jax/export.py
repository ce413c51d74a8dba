"""Export a trained generator as an ONNX file, which many programs and languages run without JAX.

    pip install 'gan_jax[onnx]'
    python -m gan_jax.export --workdir=runs/mnist-hinge --out=generator.onnx

Its inputs are `z` float32 [N, z_dim] and, of a conditional run, `labels` int64 [N]; its output `images` is float32
[N, H, W, C] in [−1, 1]. The noise is the run's: Gaussian, or with --z_distribution=uniform between −1 and 1.
"""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax import cli, data, plain_layers, report, workdir
from gan_jax.errors import UserError
from gan_jax.gan import Gan
from gan_jax.generator_options import Generator
from gan_jax.loading import load
from gan_jax.options import PATH, REQUIRED, check, option
from gan_jax.storage import expanded, target, write_atomically

ENDINGS = {".onnx": "a generator"}
OPSET, IR_VERSION = 17, 8  # of 2022: older runtimes know them, and these layers need nothing later


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Generator):
    """Where the file goes."""

    out: str = option(REQUIRED, "File to write, ending in .onnx.", PATH)

    def __post_init__(self) -> None:
        """Check every field. Raises `UserError`."""
        check(self)
        target(self.out, ENDINGS)


def onnx_bytes(gan: Gan) -> bytes:
    """The generator as the content of an ONNX file. Raises `UserError` for nets other than mlp, conv, conv_small."""
    if importlib.util.find_spec("onnx") is None:
        raise UserError("gan_jax.export needs onnx: pip install 'gan_jax[onnx]'.")
    import onnx  # optional, as above
    from onnx import TensorProto, helper

    value, shape = helper.make_tensor_value_info, gan.parts.image_shape
    inputs = [value("z", TensorProto.FLOAT, ["N", gan.parts.z_dim])]
    if gan.parts.num_classes is not None:
        inputs.append(value("labels", TensorProto.INT64, ["N"]))
    output = value("images", TensorProto.FLOAT, ["N", *shape])
    graph = _Graph()
    _draw(graph, plain_layers.of_generator(gan), shape)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "generator", inputs, [output], graph.weights),
        producer_name="gan_jax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and weights, as ONNX has them, each known by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name or f"x{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])


def _draw(graph: _Graph, layers: Sequence[plain_layers.Layer], shape: Sequence[int]) -> None:
    """The nodes that make `images` of `z` and `labels`."""
    weight, node = graph.weight, graph.node
    x, wide = "z", False  # wide: x is [N, C, H, W], as ONNX has images
    around: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    for kind, (kernel, biases, gains), slope, height, width in layers:
        if kind == "dense":
            x = node("MatMul", x, weight(kernel))
        else:
            if not wide:
                x = node("Reshape", x, weight(np.array([-1, height, width, kernel.shape[2]])))
                x, wide = node("Transpose", x, perm=[0, 3, 1, 2]), True
            x = node("ConvTranspose", x, weight(kernel.transpose(2, 3, 0, 1)), **around)
        for operation, table in (("Mul", gains), ("Add", biases)):
            if table is not None:
                rows = table[..., None, None] if wide else table
                row = weight(rows[0]) if len(rows) == 1 else node("Gather", weight(rows), "labels")
                x = node(operation, x, row)
        if slope != plain_layers.LINEAR:
            x = node("LeakyRelu", x, alpha=slope)
    x = (
        node("Transpose", x, perm=[0, 2, 3, 1])
        if wide
        else node("Reshape", x, weight(np.array([-1, *shape])))
    )
    node("Tanh", x, name="images")


def main(args: Sequence[str]) -> None:
    """The command."""
    options = cli.parse(Options, args, prog="python -m gan_jax.export", description=__doc__ or "")
    folder, path = expanded(options.workdir), target(options.out, ENDINGS)
    if data.are_points(workdir.read(folder).facts.image_shape):
        raise UserError(f"{folder} makes points, and gan_jax.export is for images.")
    gan = load(folder, options.checkpoint, member=options.member, warn=report.warn)
    content = onnx_bytes(gan)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"--out={options.out} cannot be written ({error.strerror}).") from error
    print(f"The generator of step {gan.step} in {path}, {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)

"""The PyTorch contenders: the tutorial's loop, and a whole tuned step as one compiled function.

The same nets, losses, optimizer and batches as gan_jax's. `eager` is the loop that tutorials teach: a forward pass of
G for each update, `backward()` and `torch.optim.Adam` as they come. `compile` does less work: one forward pass of G
serves both updates, and D's weights get no gradients from G's loss. On a GPU float32 products may round to TF32, as
gan_jax's do, cuDNN chooses its kernels by trial, and the compiled step is a CUDA graph (mode="reduce-overhead"). Data
and batches are on the device, and nothing waits for it within a round.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from experiments.benchmark.contender import Contender

Step = Callable[[Tensor], tuple[Tensor, Tensor]]


def machine(device: str) -> dict[str, Any]:
    """What PyTorch runs on: "cpu" or "cuda". Sets float32's precision there."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"PyTorch {torch.__version__} finds no GPU: install its CUDA build")
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    precision = torch.get_float32_matmul_precision()
    return {
        "torch": torch.__version__,
        "torch_device": name,
        "torch_threads": torch.get_num_threads(),
        "torch_float32_matmul_precision": precision,
    }


def device_peak() -> int | None:
    """The most bytes that tensors held on the GPU; None without one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None


class Program(NamedTuple):
    """What both contenders train: nets, real batches on the device, the size of z, and Adam's numbers."""

    g: nn.Module
    d: nn.Module
    batches: Iterator[Tensor]
    z_shape: tuple[int, int]
    learning_rate: float
    betas: tuple[float, float]
    device: torch.device


def program(config: dict[str, Any], images: np.ndarray, device: str) -> Program:
    """The program that gan_jax's `config` describes; images uint8 [N, 28, 28, 1]."""
    g, d = (net.to(device) for net in nets(config["model"]))
    shape = (-1, 784) if config["model"] == "mlp" else (-1, 1, 28, 28)
    x = (torch.from_numpy(images).to(device).float() / 127.5 - 1).reshape(shape)
    batch = config["batch_size"]

    def batches() -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(x), device=device)
            for index in order[: len(x) // batch * batch].split(batch):
                yield x[index]

    rate, betas = config["g_learning_rate"], (config["beta1"], config["beta2"])
    return Program(g, d, batches(), (batch, config["z_dim"]), rate, betas, torch.device(device))


def nets(model: str) -> tuple[nn.Module, nn.Module]:
    """G and D of gan_jax/models.py."""
    if model == "mlp":
        g = nn.Sequential(nn.Linear(100, 256), nn.LeakyReLU(0.2), nn.Linear(256, 784), nn.Tanh())
        return g, nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))
    shrink = {"conv": 1, "conv_small": 4}[model]
    dense, wide, narrow = 1024 // shrink, 128 // shrink, 64 // shrink
    linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
    g = nn.Sequential(
        *(linear(100, dense), nn.BatchNorm1d(dense), nn.ReLU()),
        *(linear(dense, 49 * wide), nn.BatchNorm1d(49 * wide), nn.ReLU(), nn.Unflatten(1, (wide, 7, 7))),
        *(nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()),
        *(nn.ConvTranspose2d(narrow, 1, 4, 2, 1), nn.Tanh()),
    )
    d = nn.Sequential(
        *(nn.Conv2d(1, narrow, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten()),
        *(nn.Linear(49 * wide, dense), nn.LeakyReLU(0.2), nn.Linear(dense, 1)),
    )
    for parameter in (p for p in g.parameters() if p.dim() > 1):
        nn.init.normal_(parameter, 0.0, 0.02)
    for parameter in (p for p in d.parameters() if p.dim() > 1):
        nn.init.kaiming_normal_(parameter)
    return g, d


def eager(config: dict[str, Any], images: np.ndarray, device: str) -> Contender:
    """The loop as one writes it."""
    made = program(config, images, device)
    return _contender(made, eager_step(made))


def compile(config: dict[str, Any], images: np.ndarray, device: str) -> Contender:
    """The same, compiled."""
    made = program(config, images, device)
    return _contender(made, compiled_step(made))


def _contender(made: Program, step: Step) -> Contender:
    def run(steps: int) -> tuple[float, float]:
        for _ in range(steps):
            d_loss, g_loss = step(next(made.batches))
        if made.device.type == "cuda":
            torch.cuda.synchronize()
        return float(d_loss), float(g_loss)

    def note() -> str:
        skipped = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
        return "not as a CUDA graph, which torch.compile refused" if skipped else ""

    count = lambda net: sum(parameter.numel() for parameter in net.parameters())
    return Contender(run, 1, (count(made.g), count(made.d)), note)


def eager_step(made: Program) -> Step:
    """`step(real) -> (d_loss, g_loss)`."""
    g, d = made.g, made.d
    g_opt, d_opt = (torch.optim.Adam(net.parameters(), made.learning_rate, made.betas) for net in (g, d))
    ones = torch.ones(made.z_shape[0], 1, device=made.device)
    zeros = torch.zeros_like(ones)

    def step(real: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.randn(made.z_shape, device=made.device)
        d_loss = 0.5 * (cross_entropy(d(real), ones) + cross_entropy(d(g(z).detach()), zeros))
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        g_loss = cross_entropy(d(g(z)), ones)
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        return d_loss.detach(), g_loss.detach()

    return step


def compiled_step(made: Program) -> Step:
    """`step(real) -> (d_loss, g_loss)`, noise and both updates in one graph. Raises where PyTorch cannot.

    torch.compile breaks its graph at an optimizer's `step`, and on this program such pieces were slower, so Adam is
    written out.
    """
    # Autograd inside the graph is off by default.
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        raise RuntimeError(f"PyTorch {torch.__version__} cannot compile a step with its gradients")
    torch._dynamo.config.trace_autograd_ops = True
    g, d = made.g, made.d
    g_parameters, d_parameters = list(g.parameters()), list(d.parameters())
    g_state, d_state = _adam_state(g_parameters), _adam_state(d_parameters)
    ones = torch.ones(made.z_shape[0], 1, device=made.device)
    zeros = torch.zeros_like(ones)

    def step(real: Tensor) -> tuple[Tensor, Tensor]:
        fake = g(torch.randn(made.z_shape, device=made.device))
        d_loss = 0.5 * (cross_entropy(d(real), ones) + cross_entropy(d(fake.detach()), zeros))
        _adam(made, d_parameters, torch.autograd.grad(d_loss, d_parameters), d_state)
        g_loss = cross_entropy(d(fake), ones)
        _adam(made, g_parameters, torch.autograd.grad(g_loss, g_parameters), g_state)
        return d_loss.detach(), g_loss.detach()

    if made.device.type == "cpu":
        compiled: Step = torch.compile(step, fullgraph=True)
        return compiled
    graph = torch.compile(step, fullgraph=True, mode="reduce-overhead")

    def marked(real: Tensor) -> tuple[Tensor, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()  # the last step's losses may be written over
        return graph(real)

    return marked


class _AdamState(NamedTuple):
    mean: list[Tensor]
    square: list[Tensor]
    step: Tensor


def _adam_state(parameters: list[nn.Parameter]) -> _AdamState:
    zeros = lambda: [torch.zeros_like(p, requires_grad=False) for p in parameters]
    made = _AdamState(zeros(), zeros(), torch.zeros((), device=parameters[0].device))
    for tensor in (*made.mean, *made.square, made.step):
        # A CUDA graph may write to these where they are; others it would copy in and refuse to change.
        torch._dynamo.mark_static_address(tensor)
    return made


@torch.no_grad()
def _adam(made: Program, parameters: list[Any], gradients: Any, state: _AdamState) -> None:
    """Kingma & Ba 2015, algorithm 1 in its last, more efficient order; epsilon as PyTorch's."""
    beta1, beta2 = made.betas
    state.step.add_(1)
    correction = torch.sqrt(1 - beta2**state.step)
    torch._foreach_lerp_(state.mean, gradients, 1 - beta1)
    torch._foreach_mul_(state.square, beta2)
    torch._foreach_addcmul_(state.square, gradients, gradients, 1 - beta2)
    scale = torch._foreach_sqrt(state.square)
    torch._foreach_add_(scale, 1e-8 * correction)
    updates: Any = torch._foreach_div(state.mean, scale)
    torch._foreach_mul_(updates, made.learning_rate * correction / (1 - beta1**state.step))
    torch._foreach_sub_(parameters, updates)

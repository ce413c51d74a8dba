"""The commands in one place: `gan-jax train --loss=hinge`, or `python -m gan_jax train --loss=hinge`."""

import importlib
import signal
import sys

from gan_jax import __version__
from gan_jax.errors import nearest

COMMANDS = {
    "train": "train a GAN, or go on training",
    "sample": "draw images from a run",
    "film": "make a film of a run's training",
    "explore": "a page with sliders over a run's generator",
    "export": "a generator as an ONNX file",
    "evaluate": "judge a run's samples, or any program's",
    "compare": "compare systems over seeds, with their spread",
    "take_out": "make a run of its own of a population's member",
    "human_eval": "have people judge a run's samples",
    "train_classifier": "train the classifier whose features judge a data set",
}


def main() -> None:
    """Run the command that the first argument names; without one, list them all."""
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else "__help"
    name = "__help" if name == "_h" else name
    if name in COMMANDS:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `python -m gan_jax.NAME`: no traceback of imports
        from gan_jax import cli

        package = importlib.import_module(f"gan_jax.{name}")
        module = (
            importlib.import_module(f"gan_jax.{name}.__main__") if hasattr(package, "__path__") else package
        )
        sys.argv = [f"gan-jax {sys.argv[1]}", *sys.argv[2:]]
        cli.run(module.main)
    elif name in ("__help", "__version"):  # --help and --version
        print(f"gan_jax {__version__}")
        if name == "__help":
            print("\nusage: gan-jax COMMAND [--FLAG=VALUE ...], or python -m gan_jax.COMMAND\n")
            print("\n".join(f"  {command:18}{text}" for command, text in COMMANDS.items()))
            print("\ngan-jax COMMAND --help lists a command's options.")
    else:
        near = nearest(name, COMMANDS)
        hint = f" Did you mean {near}?" if near else ""
        print(
            f"error: unknown command '{sys.argv[1]}'.{hint} Allowed: {', '.join(COMMANDS)}.", file=sys.stderr
        )
        sys.exit(2)


if __name__ == "__main__":
    main()

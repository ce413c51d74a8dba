"""How fast training is, against PyTorch and a plain Flax loop: `python -m experiments.benchmark`."""

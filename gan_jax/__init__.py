"""gan_jax: GANs in JAX, Flax and Optax on MNIST-sized images."""

__version__ = "0.1.0"

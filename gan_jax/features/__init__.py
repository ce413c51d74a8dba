"""Feature networks: what turns images into the vectors and class probabilities that the metrics compare.

network = features.choose_network(train_images, train_labels, "mine")  # its classifier, or random features
vectors, probabilities = network.apply(images)
"""

from gan_jax.features.choice import choose_network
from gan_jax.features.classifier import Classifier, load_classifier, load_stacked_classifier
from gan_jax.features.inception_weights import load_inception
from gan_jax.features.network import FeatureNetwork
from gan_jax.features.random_net import random_network

__all__ = [
    "Classifier",
    "FeatureNetwork",
    "choose_network",
    "load_classifier",
    "load_inception",
    "load_stacked_classifier",
    "random_network",
]

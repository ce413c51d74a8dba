"""The samples by which a run is judged: of a conditional GAN in the shares of real labels."""

from collections.abc import Callable

import numpy as np
import pytest

import gan_jax
from gan_jax.config import Config
from gan_jax.evaluation.samples import classes_like, samples_like

Small = Callable[..., Config]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
LABELS = np.repeat([0, 1, 2], [30, 8, 2])


@pytest.fixture
def gans(small: Small) -> tuple[gan_jax.Gan, gan_jax.Gan]:
    """Without labels and with them."""
    configs = (small(steps=1), small(steps=1, conditional=True))
    plain, conditional = (next(iter(gan_jax.fit(config, IMAGES, LABELS))) for config in configs)
    return plain, conditional


def test_classes_have_the_shares_of_the_labels(gans: tuple[gan_jax.Gan, gan_jax.Gan]) -> None:
    plain, conditional = gans
    assert classes_like(plain, 20, LABELS) is None
    for num, counts in ((40, [30, 8, 2]), (20, [15, 4, 1]), (400, [300, 80, 20])):
        found = classes_like(conditional, num, LABELS)
        assert found is not None
        assert np.bincount(found, minlength=3).tolist() == counts
    few = classes_like(conditional, 400, np.random.default_rng(1).permutation(LABELS))
    assert few is not None
    np.testing.assert_array_equal(few, found)  # whatever the order of the labels
    np.testing.assert_allclose(np.bincount(few[:100]), [75, 20, 5], atol=8)  # mixed
    in_turn = classes_like(conditional, 6, None)
    assert in_turn is not None
    assert in_turn.tolist() == [0, 1, 2, 0, 1, 2]


def test_samples_are_those_that_sample_draws_of_these_classes(gans: tuple[gan_jax.Gan, gan_jax.Gan]) -> None:
    plain, conditional = gans
    np.testing.assert_array_equal(samples_like(plain, 9, 5, LABELS), plain.sample(9, 5))
    np.testing.assert_array_equal(samples_like(conditional, 9, 5, None), conditional.sample(9, 5))
    found, classes = samples_like(conditional, 9, 5, LABELS), classes_like(conditional, 9, LABELS)
    for label in np.unique(classes):
        alike = conditional.sample(9, 5, int(label))
        np.testing.assert_array_equal(found[classes == label], alike[classes == label])

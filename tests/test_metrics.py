"""Metrics against golden values (SciPy, prdc, torch-fidelity), closed forms, naive programs, properties."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax import metrics
from gan_jax.errors import UserError

GOLDEN = Path(os.environ.get("GAN_JAX_GOLDEN") or Path(__file__).parent / "golden")

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics.npz") as arrays:
        return dict(arrays)


def sets(seed, n=60, m=50, d=5):
    """Two correlated Gaussian sets that overlap in part."""
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, d)), 0.5 + 0.8 * rng.normal(size=(m, d))
    return real @ rng.normal(size=(d, d)), fake @ rng.normal(size=(d, d))


def lattice(seed, n=40, d=3):
    """Small integers: many duplicates, many equal distances, and no rounding anywhere."""
    return np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(np.float64)


def test_frechet_distance_golden(golden):
    score = metrics.frechet_distance(golden["real_features"], golden["fake_features"])
    assert score == pytest.approx(float(golden["frechet_distance"]), rel=1e-6)


def test_kernel_distance_golden(golden):
    score = metrics.kernel_distance(golden["real_features"], golden["fake_features"])
    assert score == pytest.approx(float(golden["kernel_distance_unbiased"]), rel=1e-6)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_golden(golden, splits):
    mean, _ = metrics.inception_score(golden["probabilities"], splits)
    assert mean == pytest.approx(float(golden[f"inception_score_{splits}"]), rel=1e-6)


@pytest.mark.parametrize("k", [3, 5])
def test_manifold_metrics_golden(golden, k):
    features = golden["real_features"], golden["fake_features"]
    assert metrics.precision_recall(*features, k) == (golden[f"precision_k{k}"], golden[f"recall_k{k}"])
    assert metrics.density_coverage(*features, k) == (golden[f"density_k{k}"], golden[f"coverage_k{k}"])


def test_all_give_python_floats(golden):
    real, fake = golden["real_features"], golden["fake_features"]
    scores = [
        metrics.frechet_distance(real, fake),
        metrics.kernel_distance(real, fake),
        *metrics.kernel_distance_subsets(real, fake),
        *metrics.inception_score(golden["probabilities"]),
        *metrics.precision_recall(real, fake),
        *metrics.density_coverage(real, fake),
        metrics.class_balance(np.arange(10), np.arange(10)),
    ]
    assert {type(score) for score in scores} == {float}


# Fréchet distance


@quick
@given(seeds)
def test_frechet_distance_of_a_set_to_itself_is_zero(seed):
    real, _ = sets(seed)
    assert abs(metrics.frechet_distance(real, real)) <= 1e-12 * real.var(axis=0).sum()


@quick
@given(seeds, st.floats(-5, 5), st.floats(0.1, 5))
def test_frechet_distance_in_one_dimension(seed, shift, scale):
    """(μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    real, fake = sets(seed, d=1)
    fake = scale * fake + shift
    expected = (real.mean() - fake.mean()) ** 2 + (real.std(ddof=1) - fake.std(ddof=1)) ** 2
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_frechet_distance_of_commuting_gaussians():
    """|μ₁ − μ₂|² + |σ₁ − σ₂|² where both covariances are diagonal, 14 orders of magnitude apart in size."""
    first, second = np.array([1e-7, 1.0, 1e3, 1e7]), np.array([1e-3, 4.0, 1e3, 1e7])
    real = metrics.Moments(np.zeros(4), np.diag(first**2))
    fake = metrics.Moments(np.ones(4), np.diag(second**2))
    assert metrics.frechet_from_moments(real, fake) == pytest.approx(
        4 + ((first - second) ** 2).sum(), abs=0.1
    )


def test_frechet_distance_of_singular_covariances():
    """Dead features are common in classifiers; the matrix root that others take is complex or NaN here."""
    real, fake = sets(0)
    dead = np.zeros((1, 3))
    real_dead = np.concatenate([real, dead.repeat(len(real), 0)], axis=1)
    fake_dead = np.concatenate([fake, dead.repeat(len(fake), 0)], axis=1)
    assert metrics.frechet_distance(real_dead, fake_dead) == pytest.approx(
        metrics.frechet_distance(real, fake)
    )


def test_covariance_is_unbiased():
    real, _ = sets(1)
    assert metrics.moments(real).covariance == pytest.approx(np.cov(real.T, ddof=1))


@quick
@given(seeds)
def test_distances_are_symmetric(seed):
    real, fake = sets(seed)
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        assert distance(real, fake) == pytest.approx(distance(fake, real), rel=1e-9)


# Kernel distance


@quick
@given(seeds)
def test_kernel_distance_against_the_definition(seed):
    real, fake = sets(seed, 7, 5, 3)
    k = lambda a, b: (a @ b / 3 + 1) ** 3
    within = [
        np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in (real, fake)
    ]
    expected = sum(within) - 2 * np.mean([k(a, b) for a in real for b in fake])
    assert metrics.kernel_distance(real, fake) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    scores = [
        metrics.kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(30, 4))) for _ in range(2000)
    ]
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(len(scores))


def test_kernel_distance_subsets_agree_with_the_whole():
    real, fake = sets(3, 4000, 3000, 8)
    mean, error = metrics.kernel_distance_subsets(real, fake)
    assert abs(mean - metrics.kernel_distance(real, fake)) < 3 * error
    assert (mean, error) == metrics.kernel_distance_subsets(real, fake)
    assert (mean, error) != metrics.kernel_distance_subsets(real, fake, seed=1)


# Inception score


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_bounds(splits):
    balanced = np.eye(10)[np.arange(1000) % 10]
    assert metrics.inception_score(balanced, splits) == pytest.approx((10, 0))
    assert metrics.inception_score(np.full((1000, 10), 0.1), splits) == pytest.approx((1, 0))
    assert metrics.inception_score(np.eye(10)[np.zeros(1000, int)], splits) == pytest.approx((1, 0))


@quick
@given(seeds)
def test_inception_score_of_one_split_ignores_order(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(10, 0.2), 100)
    score = metrics.inception_score(probabilities, 1)
    assert metrics.inception_score(rng.permutation(probabilities), 1) == pytest.approx(score, rel=1e-12)
    assert 1 <= score[0] <= 10


# Manifolds


def naive_balls(points, centres, k):
    """For each point and centre: is the point in the centre's ball? Directly from the definition."""
    squared = lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1)
    radii = np.sort(squared(centres, centres), axis=1)[:, k]  # the centre itself is the 0th
    distances = squared(points, centres)
    return (distances < radii) | (distances == 0)


@quick
@given(seeds, st.integers(1, 6))
def test_manifold_metrics_against_the_definition(seed, k):
    """Exactly, among duplicates and equal distances."""
    real, fake = lattice(seed), lattice(seed + 1, 30)
    in_real, in_fake = naive_balls(fake, real, k), naive_balls(real, fake, k)
    expected = in_real.any(1).mean(), in_fake.any(1).mean()
    assert metrics.precision_recall(real, fake, k) == expected
    density, coverage = metrics.density_coverage(real, fake, k)
    assert density == pytest.approx(in_real.sum() / k / len(fake))
    assert coverage == in_real.any(0).mean()


@quick
@given(seeds, st.booleans())
def test_manifolds_of_identical_sets(seed, ties):
    real = lattice(seed) if ties else sets(seed)[0]
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.density_coverage(real, real)[1] == 1
    if not ties:
        assert metrics.density_coverage(real, real)[0] == pytest.approx(1)


def test_a_collapsed_set_equals_itself():
    """Every radius is 0, and a program with strict balls alone gives 0 here."""
    point = np.full((20, 4), 0.1)
    assert metrics.precision_recall(point, point) == (1, 1)
    assert metrics.density_coverage(point, point)[1] == 1


@quick
@given(seeds)
def test_precision_and_recall_swap_with_the_arguments(seed):
    real, fake = sets(seed)
    assert metrics.precision_recall(real, fake) == metrics.precision_recall(fake, real)[::-1]


def test_precision_is_of_the_fakes():
    """Fakes within one of the reals' two clusters: all are good, and half of the reals are missed."""
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(size=(200, 2)), 100 + rng.normal(size=(200, 2))])
    precision, recall = metrics.precision_recall(real, 0.5 * rng.normal(size=(200, 2)))
    assert precision > 0.95
    assert recall < 0.5


@quick
@given(seeds)
def test_manifolds_far_from_the_origin(seed):
    """|a|² + |b|² − 2a·b in float32 has no digit left here; moving both sets must not change a thing."""
    real, fake = ((x * 256).round() / 256 for x in sets(seed))
    far = [(x + 4096).astype(np.float32) for x in (real, fake)]
    assert metrics.precision_recall(*far) == metrics.precision_recall(real, fake)
    assert metrics.density_coverage(*far) == metrics.density_coverage(real, fake)


def test_manifolds_of_more_samples_than_a_block():
    real, fake = sets(0, 1300, 1101, 2)
    in_real = naive_balls(fake, real, 3)
    assert metrics.precision_recall(real, fake)[0] == in_real.any(1).mean()
    assert metrics.density_coverage(real, fake, 3)[1] == in_real.any(0).mean()


# All that take features


def scores_of(real, fake):
    return [
        metrics.frechet_distance(real, fake),
        metrics.kernel_distance(real, fake),
        *metrics.precision_recall(real, fake),
        *metrics.density_coverage(real, fake),
    ]


@quick
@given(seeds)
def test_scores_ignore_order(seed):
    real, fake = sets(seed)
    rng = np.random.default_rng(seed)
    shuffled = scores_of(rng.permutation(real), rng.permutation(fake))
    assert shuffled == pytest.approx(scores_of(real, fake), rel=1e-9)


@quick
@given(seeds)
def test_scores_ignore_rotation(seed):
    real, fake = sets(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))
    assert scores_of(real @ rotation, fake @ rotation) == pytest.approx(scores_of(real, fake), rel=1e-9)


# name: (function of two sets, samples needed with five features)
OF_FEATURES = {
    "frechet_distance": (metrics.frechet_distance, 6),
    "kernel_distance": (metrics.kernel_distance, 2),
    "kernel_distance_subsets": (partial(metrics.kernel_distance_subsets, subsets=4), 8),
    "precision_recall": (metrics.precision_recall, 4),
    "density_coverage": (metrics.density_coverage, 6),
}


@pytest.mark.parametrize("name", OF_FEATURES)
class TestRefusals:
    def test_too_few_samples(self, name):
        metric, needed = OF_FEATURES[name]
        enough, other = sets(0, needed, 30)
        metric(enough, other)
        for pair in ((enough[1:], other), (other, enough[1:])):
            with pytest.raises(UserError, match=f"holds {needed - 1} samples; at least {needed} are needed"):
                metric(*pair)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite(self, name, value):
        real, fake = sets(0)
        fake[3, 1] = value
        with pytest.raises(UserError, match="fake has NaN or infinite values in 1 of 50"):
            OF_FEATURES[name][0](real, fake)

    def test_widths_that_differ(self, name):
        real, fake = sets(0)
        with pytest.raises(UserError, match="real has 5 features and fake 4"):
            OF_FEATURES[name][0](real, fake[:, :4])

    @pytest.mark.parametrize("shape", [(50,), (50, 5, 1), (50, 0)])
    def test_shapes(self, name, shape):
        with pytest.raises(UserError, match="must have shape"):
            OF_FEATURES[name][0](np.ones(shape), np.ones((50, 5)))


@pytest.mark.parametrize("metric", [metrics.precision_recall, metrics.density_coverage])
def test_no_neighbours_refused(metric):
    with pytest.raises(UserError, match="k must be at least 1"):
        metric(*sets(0), k=0)


def test_moments_of_different_widths_refused():
    with pytest.raises(UserError, match="moments of 5 and 4 features"):
        metrics.frechet_from_moments(*(metrics.moments(sets(0, d=d)[0]) for d in (5, 4)))


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.full((9, 10), 0.1), "9 samples; at least 10"),
        (np.full((20, 10), 0.2), "were they logits"),
        (np.array([[1.5, -0.5]] * 20), "were they logits"),
        (np.full((20, 10), np.nan), "NaN"),
    ],
)
def test_inception_score_refusals(probabilities, message):
    with pytest.raises(UserError, match=message):
        metrics.inception_score(probabilities)


@pytest.mark.parametrize("call", [metrics.inception_score, metrics.kernel_distance_subsets])
def test_no_parts_refused(call):
    arguments = (np.full((20, 10), 0.1),) * (1 if call is metrics.inception_score else 2)
    with pytest.raises(UserError, match="must be at least"):
        call(*arguments, 0)


# Modes


def test_class_balance():
    real = np.arange(10).repeat(6)
    assert metrics.class_balance(real, real) == 0
    assert metrics.class_balance(real, np.zeros(60, int)) == pytest.approx(np.log(10))
    assert metrics.class_balance(np.zeros(60, int), real) == np.inf
    halves = metrics.class_balance(np.array([0, 1]), np.array([0, 0, 0, 1]), classes=2)
    assert halves == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


@quick
@given(seeds, st.integers(1, 200))
def test_class_balance_is_a_divergence(seed, n):
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(0, 3, 1000), rng.integers(0, 3, n)
    score = metrics.class_balance(real, fake, classes=3)
    assert score >= -1e-12
    assert score == pytest.approx(metrics.class_balance(real, rng.permutation(fake), classes=3))


def test_mode_count():
    assert metrics.mode_count(np.array([7, 999, 7, 0])) == 3
    assert metrics.mode_count(np.arange(1000)) == 1000


@pytest.mark.parametrize(
    "labels", [np.zeros(0, int), np.array([0.0]), np.array([[1]]), np.array([10]), np.array([-1])]
)
def test_labels_refused(labels):
    with pytest.raises(UserError, match="labels must be"):
        metrics.class_balance(np.arange(10), labels)


def test_what_concerns_one_set_alone_is_computed_once_for_the_same_content(monkeypatch):
    from gan_jax.metrics import memory

    calls = []
    monkeypatch.setattr(memory, "KEPT", 2)
    total = memory.remembered(lambda array, k: calls.append(k) or array.sum() + k)
    one, same, other = (
        np.arange(6.0).reshape(3, 2),
        np.arange(6.0).reshape(3, 2),
        np.arange(6.0).reshape(2, 3),
    )
    assert [total(one, 1), total(same, 1), total(one, 2), total(other, 1)] == [16, 16, 17, 16]
    assert calls == [1, 2, 1]  # another shape is another set
    total(one, 2)
    total(one, 1)  # the oldest was let go
    assert calls == [1, 2, 1, 1]

"""How samples are judged: the protocol, its scores, and what is written and drawn of them.

evaluator = evaluation.Evaluator(test_images, train_images)      # uint8 [N, H, W, C]
for score in evaluator.scores(samples):                          # uint8 [n, H, W, C]
    print(score.metric, score.value, score.floor, score.noise)
"""

from gan_jax.evaluation.named import evaluator_for
from gan_jax.evaluation.protocol import Evaluator
from gan_jax.evaluation.scores import FAMILIES, HIGHER, LOWER, Family, Measured, Score, Seen

__all__ = [
    "FAMILIES",
    "HIGHER",
    "LOWER",
    "Evaluator",
    "Family",
    "Measured",
    "Score",
    "Seen",
    "evaluator_for",
]

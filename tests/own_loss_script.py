"""An own loss on own images, from a notebook or as `python own_loss_script.py`; uint8 [N, 32, 32, 3] in own.npz."""

import numpy as np
from jax.nn import softplus

import gan_jax

images = np.load("own.npz")["images"]
d_loss = lambda real, fake: softplus(1 - real).mean() + softplus(1 + fake).mean()
gan_jax.OBJECTIVES["soft_hinge"] = gan_jax.Objective(d_loss, g_loss=lambda real, fake: -fake.mean())
for gan in gan_jax.fit(gan_jax.Config(loss="soft_hinge", model="mlp", steps=500), images[200:]):
    print(gan.step, gan.metrics)
gan.grid().save("grid.png")
evaluator = gan_jax.evaluation.Evaluator(images[:200], images[200:])
print("Fréchet distance:", evaluator.frechet(gan.sample(200)))

"""Systems on the same small convolutional nets: a plugin for the comparison that README.md shows.

    python -m gan_jax.compare --plugin=experiments/presets.py --seeds=5 --workdir=runs/presets \
        --systems best default wgan_gp gan_conv hinge dragan lsgan r3gan wgan_conv

The presets `gan` and `wgan` have the nets `mlp`. Here `gan_conv` is the loss of `gan` in the system of `hinge`, and
`wgan_conv` is `wgan` on `conv_small`, with rates and a clip that suit it.
"""

from gan_jax import PRESETS, Config

# The tutorial's loss. With nothing that bounds D the classes become uneven.
PRESETS["gan_conv"] = Config(loss="cross_entropy", spectral_norm=True, penalty=(), epochs=12)
# Clipping at 0.01 was made for a critic with BatchNorm, and leaves these nets grey.
PRESETS["wgan_conv"] = Config(
    preset="wgan", model="conv_small", clip=0.03, g_learning_rate=5e-4, d_learning_rate=5e-4
)

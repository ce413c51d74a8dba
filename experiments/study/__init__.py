"""A random search over the settings of several GANs, and what a budget of settings buys: Lucic 2018, in small."""

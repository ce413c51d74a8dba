"""Mode collapse, seen: systems of the literature on two mixtures of Gaussians."""

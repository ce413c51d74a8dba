"""Feature networks: what turns images into the vectors and probabilities that the metrics compare."""

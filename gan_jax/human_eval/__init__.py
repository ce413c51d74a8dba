"""People judging a run's images: the page, their answers, and what these add up to."""

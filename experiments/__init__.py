"""One script, or folder, for each claim of the README; `python -m experiments.NAME` from the repository's root."""

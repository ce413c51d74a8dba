"""What our programs are on accelerators that are not there: `python -m experiments.accelerators`."""

"""Hundreds of faults over short runs, each resumed to the end and compared to the bit with an undisturbed run."""

"""One change at a time from a base system, over seeds and data sets; see `__main__`."""

"""The tests that are left to CI, where each is run as users run it: compiled with all optimizations."""

import os

import pytest

long = pytest.mark.skipif(os.environ.get("OPTIMIZED") != "1", reason="long: OPTIMIZED=1 runs it, as CI does")

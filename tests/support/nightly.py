"""Whether this is the nightly run, which does at length what continuous integration does in short."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

TEST_LIMIT_S = 7_200
"""How long one nightly test may take; in the gate it is the `timeout` of pyproject.toml or the test's own mark."""

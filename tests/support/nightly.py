"""Whether this is the nightly run, which does at length what continuous integration does in short."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

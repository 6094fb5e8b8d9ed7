"""The whole suite's settings: how long Hypothesis searches.

`ci` is the default and derandomized, so that a run fails for what changed and not for its luck; `nightly` searches
longer and somewhere else each night. Choose with HYPOTHESIS_PROFILE. Neither has a deadline: nothing here is timed.
"""

import os

from hypothesis import HealthCheck, settings

from aether.system.environment import is_compiled

if "AETHER_COMPILED" in os.environ and is_compiled() != (os.environ["AETHER_COMPILED"] == "1"):
    raise RuntimeError(f"AETHER_COMPILED is {os.environ['AETHER_COMPILED']}, and what would be tested is not so")

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

"""`python -m workers module:model`: the same as `python -m aether.supervisor`."""

import sys

from aether.supervisor.__main__ import main

if __name__ == "__main__":
    # A model may import a package `workers` of the user's own, which must not be this one.
    sys.modules.pop("workers", None)
    sys.exit(main())

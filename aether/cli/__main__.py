"""`python -m aether.cli`: the same as the `aether` script."""

import sys

from aether.cli import main

if __name__ == "__main__":
    sys.exit(main())

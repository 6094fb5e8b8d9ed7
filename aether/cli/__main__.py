"""`python -m aether.cli`: the same as the `aether` script."""

from aether.cli import run

if __name__ == "__main__":
    run()

"""How a program of a peer, which runs in a Python of its own, tells what it measured: one line of JSON."""

import json
from dataclasses import asdict
from typing import Any

from benchmarks.figures import Measured


def tell(measured: Measured) -> None:
    """Print it."""
    print(json.dumps(asdict(measured)), flush=True)


def told(line: bytes) -> Measured:
    """What was printed."""
    found: dict[str, Any] = json.loads(line)
    return Measured(**found)

"""The pages of `docs/reference/` that are made from the code. `python -m scripts.reference` writes them.

Each page is a function without arguments that gives its text; `PAGES` has them by file name. What a setting, a counter
or an error means is read from the docstrings of the sources, so that it is said in one place.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.reference import (
    api_names,
    command_line,
    configuration,
    counters,
    errors,
    exit_codes,
    metrics,
    state_machines,
)

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": command_line.page,
    "configuration.md": configuration.page,
    "counters.md": counters.page,
    "errors.md": errors.page,
    "exit-codes.md": exit_codes.page,
    "metrics.md": metrics.page,
    "names.md": api_names.page,
    "state-machine-of-a-shard.svg": state_machines.shard_picture,
    "state-machine-of-an-actor.svg": state_machines.machine_picture,
    "state-machines.md": state_machines.page,
}


def outdated() -> list[str]:
    """The files that are not what the code gives now."""
    return [name for name, page in PAGES.items() if _stored(name) != page()]


def write() -> None:
    """Write every page that is outdated."""
    for name in outdated():
        (DIRECTORY / name).write_text(PAGES[name]())


def _stored(name: str) -> str:
    path = DIRECTORY / name
    return path.read_text() if path.exists() else ""

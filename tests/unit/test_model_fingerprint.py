"""A fingerprint changes with the state's shape and with the fold, and with nothing else."""

import subprocess
import sys
from pathlib import Path

SOURCE = """
from dataclasses import dataclass
from aether.model.actor import Actor
from aether.model.handlers import command, event, query
from aether.model.model import Model

@dataclass
class Moved:
    to: str

class Thing(Actor):
    {fields}
    @event
    def moved(self, e: Moved) -> None:
        {apply}
    @query
    def where(self) -> str:
        return {answer}

model = Model("things", actors=[Thing])
"""
FIRST = {"fields": 'at: str = ""', "apply": 'self.at = e.to if e.to in {"a", "b", "c"} else "d"', "answer": "self.at"}


def fingerprints(**changes: str) -> tuple[str, str]:
    """Of the kind and of the model."""
    names: dict[str, object] = {"__name__": "things"}
    exec(SOURCE.format(**{**FIRST, **changes}), names)  # noqa: S102 - the models differ in their text
    model = names["model"]
    return model.actor_type("thing").fingerprint, model.fingerprint  # type: ignore[attr-defined]  # a Model


def test_the_fold_has_another_fingerprint_when_state_or_events_change() -> None:
    kind, model = fingerprints()
    for changes in (
        {"fields": "at: str | None = None"},
        {"fields": 'at: str = ""\n    more: int = 0'},
        {"apply": 'self.at = e.to if e.to in {"a", "b"} else "d"'},
        {"apply": 'self.at = e.to + "!"'},
    ):
        changed = fingerprints(**changes)
        assert changed[0] != kind
        assert changed[1] != model


def test_comments_docstrings_and_handlers_leave_a_snapshot_valid() -> None:
    kind, _ = fingerprints()
    comment = f'"""What it does."""\n\n        # why\n        {FIRST["apply"]}'
    assert fingerprints(apply=comment)[0] == kind
    assert fingerprints(answer='"nowhere"')[0] == kind


def test_fingerprints_are_the_same_in_every_process() -> None:
    program = Path(__file__).read_text() + "\nprint(*fingerprints())"
    found = {
        subprocess.run(
            [sys.executable, "-c", program.replace("Path(__file__)", "None")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        for seed in ("1", "2")
    }
    assert found == {fingerprints()[0]}

"""What clients did and heard: one record a call, one line of JSON each. Knows nothing of how calls are made.

Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share, so that "before" means before.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class Act(StrEnum):
    """What a client asked for."""

    APPEND = "append"
    READ = "read"


class Outcome(StrEnum):
    """What a client knows afterwards.

    `reply`: it is done. `rejected`: the actor said no. `unavailable`: nobody did anything. `unknown`: it may have been
    done. `failed`: an answer that no fault explains.
    """

    REPLY = "reply"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A ledger's version, sum and digest, as an answer or a refusal had them."""

    version: int
    total: int
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of one client. `number` counts the client's appends to that actor from 1; a read has 0.

    `given` says that the caller gave the command id. `receipt` is the state that the answer told: after an append, at a
    read, at a refusal.
    """

    client: str
    actor: str
    act: Act
    number: int = 0
    amount: int = 0
    command_id: str
    given: bool = False
    started_s: float
    ended_s: float
    deadline_s: float = 60.0
    outcome: Outcome
    receipt: Receipt | None = None
    error: str = ""


class CallSink(Protocol):
    """What lines can be written to."""

    def write(self, line: str, /) -> object: ...


def write_call(call: Call, to: CallSink) -> None:
    """Append one line."""
    to.write(json.dumps(asdict(call), ensure_ascii=False) + "\n")


def read_call(line: str) -> Call:
    """The call of one line."""
    found: dict[str, Any] = json.loads(line)
    receipt = found.pop("receipt")
    return Call(
        **{
            **found,
            "act": Act(found["act"]),
            "outcome": Outcome(found["outcome"]),
            "receipt": None if receipt is None else Receipt(**receipt),
        }
    )


@dataclass
class CallLog:
    """Reads a growing log of calls: `calls` are those of its complete lines when `refresh` was last called."""

    path: Path
    calls: list[Call] = field(default_factory=list)
    _at: int = 0

    def refresh(self) -> list[Call]:
        """The calls that were not there before."""
        with self.path.open("rb") as log:
            log.seek(self._at)
            text = log.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._at += len(complete)
        fresh = [read_call(line) for line in complete.decode().splitlines()]
        self.calls += fresh
        return fresh

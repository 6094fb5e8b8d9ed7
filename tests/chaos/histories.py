"""The stream as bytes, read as what the documentation promises: CloudEvents by actor. Only the standard library.

Whatever is not of the promised shape is a finding; what can be read of it is still given on, so that one broken
attribute hides nothing else.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from tests.chaos.report import Finding, Violation

KIND = "ledger"
EVENT_TYPE = "Appended"
SYSTEM_PREFIX = "aether."
REFUSED = "aether.Refused"
"""A refusal that had to be stored: the error's body, and no reply."""

HANDLED = "aether.Handled"
"""A reply without events that had to be stored."""

WORKER_LOST = "aether.WorkerLost"
"""A command's handler has ended a worker. It says nothing of what becomes of the command, until there are two."""
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
_VERSION = re.compile(r"[1-9][0-9]*")


class Stored(NamedTuple):
    """One message of the stream."""

    sequence: int
    subject: str
    payload: bytes


class Append(NamedTuple):
    """What an event says was appended."""

    client: str
    number: int
    amount: int


class Refusal(NamedTuple):
    """What an event says of a command that was refused."""

    code: str
    details: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event of a history; None for what could not be read. System events change nothing and count as versions."""

    sequence: int
    actor: str
    version: int | None
    type: str
    command_id: str | None
    append: Append | None
    refusal: Refusal | None
    reply: str | None

    def __str__(self) -> str:
        return f"{self.actor} version {self.version} (message {self.sequence}, command {self.command_id})"


def read_histories(
    stored: Iterable[Stored], namespace: str, shards: int
) -> tuple[dict[str, list[Recorded]], list[Finding]]:
    """Every actor's events in stream order, and what has not the promised shape."""
    histories: dict[str, list[Recorded]] = {}
    findings: list[Finding] = []
    for message in stored:
        actor, faults = _actor_of(message.subject, namespace, shards)
        events, more = _events_of(message.payload)
        faults += more
        recorded = [_recorded(message.sequence, actor, event) for event in events]
        for event in events:
            faults += _faults_of(event, f"/{namespace}/{KIND}/{quote(actor, safe='')}")
        faults += _faults_of_replies(recorded)
        histories.setdefault(actor, []).extend(recorded)
        where = f"message {message.sequence} on {message.subject}"
        findings += [Finding(Violation.WRONG_SHAPE, f"{where}: {fault}") for fault in faults]
    return histories, findings


def _actor_of(subject: str, namespace: str, shards: int) -> tuple[str, list[str]]:
    """The key of the actor whose subject it is."""
    tokens = subject.split(".")
    if len(tokens) != 6 or tokens[:3] != ["aether", namespace, "evt"] or tokens[4] != KIND:
        return subject, ["not the subject of a ledger's commit"]
    raw = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), tokens[5].encode())
    key = raw.decode(errors="replace")
    shard = crc32(f"{KIND}/{key}".encode()) % shards
    return key, [] if tokens[3] == str(shard) else [f"the shard is {shard}"]


def _events_of(payload: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        batch = json.loads(payload)
    except ValueError:
        return [], ["the payload is no JSON"]
    if not isinstance(batch, list) or not batch:
        return [], ["the payload is no batch of events"]
    events = [event for event in batch if isinstance(event, dict)]
    return events, [] if len(events) == len(batch) else ["the batch holds what is no event"]


def _faults_of(event: dict[str, Any], source: str) -> list[str]:
    checks = {
        "specversion": event.get("specversion") == "1.0",
        "id": isinstance(event.get("id"), str) and _VERSION.fullmatch(event["id"]) is not None,
        "source": event.get("source") == source,
        "type": isinstance(event.get("type"), str) and event["type"] != "",
        "time": _is_instant(event.get("time")),
        "data": _has_data(event),
        "commandid": isinstance(event.get("commandid"), str) and event["commandid"] != "",
        "deadline": "deadline" not in event or _is_instant(event["deadline"]),
    }
    faults = [f"{name} is {event.get(name)!r}" for name, good in checks.items() if not good]
    for name, value in event.items():
        if _ATTRIBUTE.fullmatch(name) is None or (name != "data" and not isinstance(value, str | int | bool)):
            faults.append(f"the attribute {name!r} is not one of CloudEvents: {value!r}")
    return faults


def _faults_of_replies(events: Sequence[Recorded]) -> list[str]:
    """The last event of each command in a commit carries its reply, as JSON text; what is no success carries none."""
    last = {event.command_id: event for event in events if event.type not in (REFUSED, WORKER_LOST)}
    none = [event for event in events if event.type in (REFUSED, WORKER_LOST) and event.reply is not None]
    return [
        *(f"{event} has no reply" for event in last.values() if not _is_json(event.reply)),
        *(f"{event} has a reply" for event in none),
    ]


def _recorded(sequence: int, actor: str, event: dict[str, Any]) -> Recorded:
    version, command_id, reply = event.get("id"), event.get("commandid"), event.get("reply")
    return Recorded(
        sequence=sequence,
        actor=actor,
        version=int(version) if isinstance(version, str) and _VERSION.fullmatch(version) else None,
        type=str(event.get("type")),
        command_id=command_id if isinstance(command_id, str) else None,
        append=_append_of(event),
        refusal=_refusal_of(event),
        reply=reply if isinstance(reply, str) else None,
    )


def _has_data(event: dict[str, Any]) -> bool:
    """Whether the body is one of the type; a system event of another type is none that is promised."""
    body, type = event.get("data"), event.get("type")
    if type == HANDLED:
        return body == {}
    if type == WORKER_LOST:
        return isinstance(body, dict) and {"command", "cause", "worker"} == set(body)
    if type == REFUSED:
        return _refusal_of(event) is not None
    return _append_of(event) is not None


def _refusal_of(event: dict[str, Any]) -> Refusal | None:
    body = event.get("data")
    if event.get("type") != REFUSED or not isinstance(body, dict):
        return None
    code, message, details = body.get("code"), body.get("message"), body.get("details", {})
    if not isinstance(code, str) or not isinstance(message, str) or not isinstance(details, dict):
        return None
    return Refusal(code, json.dumps(details))


def _append_of(event: dict[str, Any]) -> Append | None:
    body = event.get("data")
    if str(event.get("type")).startswith(SYSTEM_PREFIX):
        return None
    if not isinstance(body, dict) or set(body) != {"client", "number", "amount"}:
        return None
    numbers = (body["number"], body["amount"])
    if not isinstance(body["client"], str) or any(type(number) is not int for number in numbers):
        return None
    return Append(body["client"], *numbers)


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_json(text: str | None) -> bool:
    try:
        json.loads(text or "")
    except ValueError:
        return False
    return True

"""What the floor puts into one publish, one message or one atomic batch. Pure.

Atomic batches are ADR-50 of NATS: every message carries the batch's id and its place, the last one the commit, and one
acknowledgement with the last sequence and the count answers all.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zlib import crc32

import orjson

BATCH_MAX = 1_000
"""Messages that a server takes in one atomic batch."""

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_ELSEWHERE = "Nats-Expected-Last-Subject-Sequence-Subject"

SHARDS = 256
"""As many as a namespace of Aether has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deposit that has come in."""

    account: str
    amount: int
    id: str
    reply: str

    @property
    def event(self) -> dict[str, object]:
        """What is stored of it."""
        return {"type": "Deposited", "data": {"amount": self.amount}, "id": self.id}

    @property
    def cloud_event(self) -> dict[str, object]:
        """As much of it as Aether stores: a CloudEvent that says which command it answered, and how."""
        now = datetime.now(UTC).isoformat()
        command_id = self.id.rjust(22, "0")
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/bench/account/{self.account}",
            "type": "Deposited",
            "time": now,
            "data": {"amount": self.amount},
            "commandid": command_id,
            "deadline": now,
            "correlationid": command_id,
            "causationid": command_id,
            "reply": str(self.amount),
        }


@dataclass(frozen=True, slots=True)
class Paired(Wanted):
    """A deposit that is told to the account `to`, or that was told by the message `tell` of the stream of tells."""

    to: str = ""
    tell: int = 0

    @property
    def event(self) -> dict[str, object]:
        """What is stored of it: the tell within, or which one it applies."""
        sent = {"tells": [{"to": self.to, "amount": self.amount}]} if self.to else {"tell": self.tell}
        return {"type": "Deposited", "data": {"amount": self.amount}, "id": self.id, **sent}


@dataclass(frozen=True, slots=True)
class Told:
    """A tell on its way: from which account, whose event at this position has it, to which one."""

    source: str
    position: int
    to: str
    amount: int

    @property
    def subject(self) -> str:
        """Where it is stored: by the shards of both accounts."""
        return f"floor.tell.{part_of(self.to, SHARDS)}.{part_of(self.source, SHARDS)}"

    @property
    def body(self) -> bytes:
        """What is stored of it."""
        return orjson.dumps({"to": self.to, "amount": self.amount, "source": self.source, "position": self.position})

    def headers(self, marks: Sequence[int]) -> dict[str, str]:
        """Refuse it when the mark of its source's shard is not the one that we wrote; `marks` are by shard."""
        shard = part_of(self.source, SHARDS)
        return {EXPECTED: str(marks[shard]), EXPECTED_ELSEWHERE: mark_of(shard)}


def mark_of(shard: int) -> str:
    """Where it is written who sends the tells of a shard."""
    return f"floor.mark.{shard}"


def delivered(reply: str) -> tuple[int, int]:
    """What a consumer says in the reply subject of a message: its sequence in the stream, and its number."""
    tokens = reply.split(".")
    return int(tokens[-4]), int(tokens[-3])


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; `balance` is the account's when it is stored."""

    wanted: Wanted
    body: bytes
    headers: dict[str, str]
    balance: int


def part_of(account: str, parts: int) -> int:
    """Which of several floor processes has the account."""
    return crc32(account.encode()) % parts


def next_batch(
    waiting: deque[Wanted],
    balances: Mapping[str, int],
    positions: Mapping[str, int],
    batch_id: str,
    most: int = BATCH_MAX,
    encode: Callable[[Wanted], bytes] = lambda wanted: orjson.dumps(wanted.event),
) -> list[Outgoing]:
    """Take what waits, at most `most`, and make it the messages of one batch.

    The expected sequence is on an account's first message only: the server refuses it on a later one. A single
    deposit is an ordinary publish, which costs the server less.
    """
    taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
    now: dict[str, int] = {}
    found = []
    for place, wanted in enumerate(taken, 1):
        headers = {}
        if len(taken) > 1:
            headers = {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(place)}
            headers |= {"Nats-Batch-Commit": "1"} if place == len(taken) else {}
        if wanted.account not in now:
            headers[EXPECTED] = str(positions.get(wanted.account, 0))
        now[wanted.account] = now.get(wanted.account, balances.get(wanted.account, 0)) + wanted.amount
        found.append(Outgoing(wanted, encode(wanted), headers, now[wanted.account]))
    return found


def batch_sequences(last: int, count: int) -> range:
    """The sequences of a batch's messages, given its acknowledgement: they follow each other."""
    return range(last - count + 1, last + 1)


def whole_turn(waiting: Sequence[Wanted]) -> bytes:
    """All that waits for one account as one message."""
    return orjson.dumps([wanted.event for wanted in waiting])


def last_sequence(acknowledgement: bytes) -> int:
    """The sequence that an acknowledgement gives. Raises RuntimeError for a refusal: the floor has no second try."""
    found = orjson.loads(acknowledgement)
    if "error" in found:
        raise RuntimeError(f"the floor was refused: {found['error']}")
    return int(found["seq"])

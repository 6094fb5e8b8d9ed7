"""given, when, then: what it runs is what a pool runs, and what it says of a wrong expectation helps."""

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from aether import (
    Actor,
    ActorFailed,
    Decider,
    InvalidCommand,
    ModelError,
    Rejected,
    StateChangedOutsideEvent,
    UnknownCommand,
    UnreadableEvent,
    command,
    connect,
    event,
    query,
)
from aether.testing import given, local_pool, local_runtime, started
from tests.support.actors import Account, Deposited, Notebook, Noted, Withdrawn


def test_what_a_command_does_is_compared() -> None:
    given(Account, Deposited(10)).when("deposit", 5).then(Deposited(5), reply=15)
    given(Account, Deposited(10)).when("withdraw", amount=4).then(Withdrawn(4), reply=6)
    given(Account).when("touch").then(reply=None)
    given(Account, Deposited(10)).when("statement").then(reply=10)
    given(Account).when("deposit_twice", 1, second=2).then(Deposited(1), Deposited(2), reply=3)
    given(Account, Deposited(1)).when(Account.deposit, 2).then(Deposited(2))


def test_a_refusal_is_compared() -> None:
    given(Account, Deposited(3)).when("withdraw", 5).then_rejected("insufficient", balance=3, asked=5)
    given(Account).when("deposit_then_reject", 5).then_rejected().when("statement").then(reply=0)
    given(Account).when("deposit", -1).then_failed(InvalidCommand)
    given(Account).when("deposit", "x").then_failed(InvalidCommand)
    given(Account).when("deposit").then_failed(InvalidCommand)
    given(Account).when("deposit_then_break", 1).then_failed(ZeroDivisionError)


def test_a_story_goes_on_from_what_happened() -> None:
    story = given(Account).when("deposit", 10).then(Deposited(10))
    story = story.when("withdraw", 20).then_rejected().when("withdraw", 4).then(Withdrawn(4))
    assert story.state == {"balance": 6, "deposits": 1}


def test_each_when_begins_from_what_was_given() -> None:
    actor = given(Notebook, Noted("one"))
    for _ in range(2):
        outcome = actor.when("note", "two")
        assert (outcome.reply, outcome.state) == (2, {"lines": ["one", "two"]})
    assert actor.state == {"lines": ["one"]}


WRONG: dict[str, tuple[Any, str]] = {
    "an event more": (
        lambda: given(Account).when("deposit", 5).then(),
        "emitted\n  Deposited(amount=5)\nand not\n  nothing",
    ),
    "an event less": (
        lambda: given(Account).when("touch").then(Deposited(1)),
        "nothing\nand not\n  Deposited(amount=1)",
    ),
    "another event": (lambda: given(Account).when("deposit", 5).then(Deposited(6)), "and not\n  Deposited(amount=6)"),
    "another order": (
        lambda: given(Account).when("deposit_twice", 1, 2).then(Deposited(2), Deposited(1)),
        "Deposited(amount=1)\n  Deposited(amount=2)\nand not",
    ),
    "another reply": (lambda: given(Account).when("deposit", 5).then(Deposited(5), reply=6), "replied 5, not 6"),
    "an error": (lambda: given(Account).when("withdraw", 5).then(), "withdraw raised Rejected: insufficient funds"),
    "no error": (lambda: given(Account).when("deposit", 5).then_rejected(), "succeeded, and did not raise Rejected"),
    "another error": (lambda: given(Account).when("deposit", -1).then_rejected(), "raised InvalidCommand"),
    "other words": (
        lambda: given(Account).when("withdraw", 5).then_rejected("poor"),
        "funds', not 'poor'",
    ),
    "other details": (lambda: given(Account).when("withdraw", 5).then_rejected(balance=1), "'balance': 0"),
    "a detail more": (lambda: given(Account).when("withdraw", 5).then_rejected(limit=None), "not {'limit': None}"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_expectation_says_what_happened(name: str) -> None:
    run, said = WRONG[name]
    with pytest.raises(AssertionError, match=re.escape(said)):
        run()


@dataclass(frozen=True, slots=True)
class Booked:
    """Booked at a time."""

    at: datetime


class Odd(Actor):
    """Everything else that a handler may do."""

    at: datetime | None = None
    seen: list[str] = field(default_factory=list)

    @command
    async def book(self) -> str:
        """Asynchronous, with the time and a resource."""
        await asyncio.sleep(0)
        self.emit(Booked(self.context.now))
        return f"{self.resources} for {self.context.caller} by {self.id.key} at {self.version}"

    @command
    def tell_without_a_key(self) -> None:
        """Tell an actor that cannot be."""
        self.tell(Odd.assign, "")

    @command
    def append(self) -> None:
        """Change a container in place."""
        self.seen.append("x")

    @command
    def assign(self) -> None:
        """Assign a field."""
        self.at = None

    @command
    def wrong_reply(self) -> int:
        """Not of its type."""
        return "x"  # type: ignore[return-value]

    @command
    def append_an_odd_one(self) -> None:
        """Change a container in place, to what has no JSON form."""
        self.seen.append(object())  # type: ignore[arg-type]

    @command
    def interrupt(self) -> None:
        """As if somebody had pressed Ctrl-C meanwhile."""
        raise KeyboardInterrupt

    @command
    def leave(self) -> None:
        """End the program, as it thinks."""
        raise SystemExit(3)

    @command
    async def leave_later(self) -> None:
        """End the event loop."""
        raise SystemExit(3)

    @command
    async def cancel_itself(self) -> None:
        """End as if its caller had gone."""
        raise asyncio.CancelledError

    @command
    def emit_in_spite(self) -> str:
        """Emit what cannot be applied, and go on."""
        with suppress(ValueError):
            self.emit(Booked(NEVER))
        return "booked"

    @query
    def emitting(self) -> None:
        """A query that breaks its word."""
        self.emit(Booked(self.context.now))

    @event
    def booked(self, e: Booked) -> None:
        """Keep it."""
        if e.at == NEVER:
            raise ValueError("never")
        self.at = e.at


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NEVER = datetime(1999, 1, 2, 12, tzinfo=UTC)


def test_a_handler_has_a_time_a_caller_a_key_and_resources() -> None:
    actor = given(Odd, Booked(NOON), key="k", now=NOON, caller="me", resources="a pool")
    actor.when("book").then(Booked(NOON), reply="a pool for me by k at 2")


async def test_an_asynchronous_handler_runs_in_an_asynchronous_test_too() -> None:
    given(Odd, now=NOON, resources="r").when("book").then(Booked(NOON))
    given(Odd, now=NOON).when("book").then_failed(RuntimeError)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("append", StateChangedOutsideEvent),
        ("append_an_odd_one", StateChangedOutsideEvent),
        ("assign", StateChangedOutsideEvent),
        ("cancel_itself", asyncio.CancelledError),
        ("emit_in_spite", ValueError),
        ("emitting", ActorFailed),
        ("leave", SystemExit),
        ("leave_later", SystemExit),
        ("tell_without_a_key", InvalidCommand),
        ("wrong_reply", ActorFailed),
    ],
)
def test_what_a_pool_refuses_is_refused(name: str, error: type[BaseException]) -> None:
    given(Odd).when(name).then_failed(error)


def test_an_outcome_is_shown_with_what_came() -> None:
    assert repr(given(Account).when("deposit", 5)).startswith("<Outcome of deposit: events [")
    assert repr(given(Account).when("deposit", "x")).startswith("<Outcome of deposit: InvalidCommand: ")


async def test_what_is_no_model_or_no_call_of_a_task_is_named() -> None:
    wrong = cast(Any, Account)
    for made in (local_pool, local_runtime):
        with pytest.raises(TypeError, match=r"a model is wanted, like Model\(.*\), not <class .*Account'>"):
            async with made(wrong):
                pass
    with pytest.raises(TypeError, match="a model is wanted"):
        connect(model=wrong)
    with pytest.raises(TypeError, match=r"started takes a call of a task, like charge\(5\)"):
        started(wrong)


def test_ctrl_c_ends_the_test_and_is_no_failure_of_the_handler() -> None:
    with pytest.raises(KeyboardInterrupt):
        given(Odd).when("interrupt")


def test_what_was_given_is_checked() -> None:
    with pytest.raises(ActorFailed, match="takes no event"):
        given(Account, Noted("x"))
    with pytest.raises(ActorFailed, match=r"emits an event and not the class of one: `Noted\(\.\.\.\)`"):
        given(Account, Noted)
    with pytest.raises(UnknownCommand, match="it has: "):
        given(Account).when("desposit", 1)

    class Wrong(Actor):
        balance: int  # without a default

    with pytest.raises(ModelError):
        given(Wrong)


@dataclass(frozen=True)
class Add:
    """Add to the sum."""

    amount: int


@dataclass(frozen=True)
class Added:
    """Was added."""

    amount: int


def decide(state: int, command: Add) -> list[Added]:
    """Positive amounts only."""
    if command.amount <= 0:
        raise Rejected("too little")
    return [Added(command.amount)]


def evolve(state: int, event: Added) -> int:
    """The sum."""
    return state + event.amount


def test_a_decider_is_tested_in_the_same_way() -> None:
    adder = Decider(0, decide, evolve, kind="adder")
    given(adder, Added(2)).when("add", 3).then(Added(3)).when("add", 0).then_rejected("too little")
    assert given(adder, Added(2), Added(3)).state == {"value": 5}


def test_a_stored_history_is_replayed_before_what_is_given(tmp_path: Path) -> None:
    history: list[dict[str, Any]] = [
        {"type": "Deposited", "data": {"amount": 10}},
        {"type": "aether.Handled", "data": None, "reply": "null"},
        {"type": "Withdrawn", "data": {"amount": 3}},
    ]
    story = given(Account, Deposited(1), stored=history)
    assert story.state == {"balance": 8, "deposits": 2}
    story.when("withdraw", 8).then(Withdrawn(8), reply=0).when("statement").then(reply=0)
    assert story.when("whoami").reply["version"] == "4"


@dataclass(frozen=True)
class Named:
    """Has a name of two parts since its second version."""

    schema_version: ClassVar[int] = 2
    first: str
    last: str

    @staticmethod
    def upcast(fields: dict[str, Any], schema_version: int) -> dict[str, Any]:
        """Take the one name apart."""
        first, _, last = fields["name"].partition(" ")
        return {"first": first, "last": last}


class Guest(Actor):
    """Knows its key and its names."""

    names: list[str] = []  # noqa: RUF012 - copied for each actor

    @command
    def spoil(self) -> None:
        """Change the state beside its events."""
        self.names.append("spoilt")

    @event
    def named(self, e: Named) -> None:
        """Remember it."""
        self.names.append(f"{self.id.key}: {e.first} {e.last}")


LINES: list[dict[str, Any]] = [
    {"specversion": "1.0", "id": "1", "source": "/inn/guest/a%2F1", "type": "Named", "time": "2026-01-01T00:00:00Z",
     "data": {"name": "Ada Lovelace"}},
    {"specversion": "1.0", "id": "2", "source": "/inn/guest/a%2F1", "type": "Named", "time": "2026-01-01T00:00:00Z",
     "schemaversion": 2, "data": {"first": "Ada", "last": "King"}},
]  # fmt: skip


@pytest.mark.parametrize("text", ["\n".join(map(json.dumps, LINES)) + "\n\n", json.dumps(LINES)])
def test_a_file_is_upcast_and_names_the_actor(text: str, tmp_path: Path) -> None:
    file = tmp_path / "guest.jsonl"
    file.write_text(text)
    names = ["a/1: Ada Lovelace", "a/1: Ada King"]
    assert given(Guest, stored=file).state == given(Guest, stored=str(file)).state == {"names": names}
    assert given(Guest, stored=file, key="b").state["names"][0] == "b: Ada Lovelace"


def test_each_run_replays_the_stored_history_anew() -> None:
    guest = given(Guest, stored=LINES)
    guest.when("spoil").then_failed(StateChangedOutsideEvent)
    assert guest.state["names"] == ["a/1: Ada Lovelace", "a/1: Ada King"]


def test_a_stored_event_that_the_model_cannot_read_says_why() -> None:
    with pytest.raises(UnreadableEvent, match=r"version 1 of guest/test cannot be read: Named: .* KeyError\('name'\)"):
        given(Guest, stored=[{"type": "Named", "data": {"nmae": "Ada"}}])
    with pytest.raises(UnreadableEvent, match="no event type 'Renamed' in the model; its guest takes: Named"):
        given(Guest, stored=[{"type": "Renamed", "data": {}}])
    with pytest.raises(UnreadableEvent, match="schema version 3, this model knows 2"):
        given(Guest, stored=[{"type": "Named", "schemaversion": 3, "data": {}}])


NO_HISTORIES: dict[str, tuple[str, str]] = {
    "no json": ("{", r"h.jsonl:1 is no CloudEvent"),
    "no array": ("[{", "is no JSON array of CloudEvents"),
    "no data": ('{"type": "Named"}', "missing required field `data`"),
    "a part": ('\n{"type": "Named", "id": "7", "data": {}}', "h.jsonl:2 has version 7 where 1 comes next"),
    "another kind": ('{"type": "Named", "source": "/inn/room/1", "data": {}}', "of /inn/room/1, and not of a guest"),
    "two actors": (
        '{"type": "A", "source": "/inn/guest/1", "data": {}}\n{"type": "A", "source": "/inn/guest/2", "data": {}}',
        "h.jsonl:2 is of another actor",
    ),
}


@pytest.mark.parametrize("name", NO_HISTORIES)
def test_what_is_no_history_of_one_actor_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, message = NO_HISTORIES[name]
    file = tmp_path / "h.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        given(Guest, stored=file)


def test_now_has_a_time_zone() -> None:
    with pytest.raises(ValueError, match=r"now=.* has no time zone"):
        given(Account, now=datetime(2026, 1, 2))  # noqa: DTZ001 - what is refused

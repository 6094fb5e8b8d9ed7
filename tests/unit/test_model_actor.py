"""What an `Actor` class means: its state, its handlers, the guard, and undoing."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import pytest
from msgspec import Meta, Struct

from aether.errors import ActorFailed, InvalidCommand, Rejected, StateChangedOutsideEvent, UnknownActor
from aether.ids import ActorId
from aether.model.actor import Actor
from aether.model.definition import ActorType
from aether.model.handlers import command, event, query
from aether.model.model import Model
from tests.support.scopes import Turn


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


class Withdrawn(Struct, frozen=True):
    """Money went out."""

    amount: int


class Holder(Actor, kind="holder"):
    """A base class with state and a handler of its own."""

    LIMIT: ClassVar[int] = 100
    balance: int = 0

    @event
    def moved(self, e: Deposited | Withdrawn) -> None:
        """One handler of two events."""
        self.balance += e.amount if isinstance(e, Deposited) else -e.amount

    @query
    def statement(self) -> int:
        """The balance."""
        return self.balance


class HTTPAccount(Holder):
    """Every way to use an actor."""

    owner: str = field(default="nobody")
    rate: float = 0

    @command
    def deposit(self, amount: Annotated[int, Meta(gt=0)], note: str = "none", /, *, twice: bool = False) -> int:
        """Positional, defaulted and by name."""
        self.emit(Deposited(amount))
        if twice:
            self.emit(Deposited(amount))
        return self.balance

    @command
    def withdraw(self, amount: int) -> None:
        """May be rejected."""
        if amount > self.balance:
            raise Rejected("insufficient funds")
        self.emit(Withdrawn(amount))

    @command
    def mutable_default(self, items: list[int] = [1]) -> list[int]:  # noqa: B006 - that it is copied is the point
        """Changes its argument."""
        items.append(2)
        return items

    @command
    def answer_wrong(self) -> Decimal:
        """Not what it says."""
        return "no number"  # type: ignore[return-value]  # the fault is the point

    @command
    def assign(self) -> None:
        """The guard's case."""
        self.balance = 7

    @command
    def apply_by_hand(self) -> None:
        """The guard's other case."""
        self.moved(Deposited(1))

    @command
    def emit_unknown(self) -> None:
        """No handler takes it."""
        undeclared = Opened()
        self.emit(undeclared)

    @command
    def emit_wrong(self) -> None:
        """Not of its type."""
        self.emit(Deposited(True))

    @query
    def who(self) -> tuple[str, str, int, str]:
        """All that a handler knows."""
        return self.id.kind, self.id.key, self.version, self.context.command_id


@dataclass
class Opened:
    """An event that no actor takes."""


@dataclass
class Tagged:
    """An event with a container."""

    tag: str
    seen: list[str] = field(default_factory=list)


class Tags(Actor):
    """State in containers, and every forbidden thing within an event handler."""

    tags: list[str] = []  # noqa: RUF012 - copied for each actor
    seen: dict[str, list[str]] = field(default_factory=dict)

    @event
    def tagged(self, e: Tagged) -> None:
        """Do what the tag says."""
        if e.tag == "undeclared":
            self.other = 1
        elif e.tag == "delete":
            del self.tags
        elif e.tag == "emit":
            self.emit(e)
        elif e.tag == "context":
            self.tags.append(self.context.command_id)
        self.tags.append(e.tag)
        self.seen[e.tag] = e.seen


class Empty(Actor):
    """No state at all."""

    @event
    def tagged(self, e: Tagged) -> None:
        """Nothing to change."""


model = Model("bank", actors=[HTTPAccount, Holder, Tags, Empty])
ACCOUNT, TAGS = model.actor_type(HTTPAccount), model.actor_type(Tags)
ALICE = ActorId("http_account", "alice")


def test_kinds_are_the_class_name_in_snake_case_or_as_given() -> None:
    assert set(model.actor_types) == {"http_account", "holder", "tags", "empty"}
    assert model.actor_type("holder") is model.actor_type(Holder)
    for unknown in ("nobody", Actor, Deposited):
        with pytest.raises(UnknownActor):
            model.actor_type(unknown)


def test_state_is_every_annotated_name_inherited_ones_first() -> None:
    raw = ACCOUNT.encode_state(ACCOUNT.initial(ALICE))
    assert raw == b'{"balance":0,"owner":"nobody","rate":0.0}'
    assert ACCOUNT.state_values(ACCOUNT.decode_state(raw, ALICE)) == {"balance": 0, "owner": "nobody", "rate": 0.0}


def test_a_command_emits_and_answers() -> None:
    turn = Turn(ACCOUNT)
    assert turn.run("deposit", 5, "note", twice=True) == 10
    assert turn.run("withdraw", amount=3) is None
    assert turn.run("statement") == 7
    assert turn.run("who") == ("http_account", "alice", 3, "c1")
    assert turn.events == [("Deposited", b'{"amount":5}')] * 2 + [("Withdrawn", b'{"amount":3}')]
    with pytest.raises(Rejected, match="insufficient"):
        turn.run("withdraw", 100)


def test_a_mutable_default_argument_is_fresh_for_each_call() -> None:
    turn = Turn(ACCOUNT)
    assert turn.run("mutable_default") == turn.run("mutable_default") == [1, 2]


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((), {}, "amount"),
        ((0,), {}, "amount"),
        (("5",), {}, "amount"),
        ((True,), {}, "amount"),
        ((2**64,), {}, "amount"),
        ((1, "x", True), {}, "[2]"),
        ((1,), {"amount": 1}, "amount"),
        ((1,), {"extra": 1}, "extra"),
        ((1, "\ud800"), {}, "note"),
        ((1,), {"twice": object()}, "twice"),
    ],
)
def test_wrong_arguments_are_invalid_with_their_path(args: tuple[Any, ...], kwargs: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        ACCOUNT.commands["deposit"].encode_args(args, kwargs)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"{}", "amount"), (b'{"amount":0}', "amount"), (b'{"amount":1,"more":1}', "more"), (b"[]", ""), (b"{", "")],
)
def test_wrong_arguments_on_the_wire_are_invalid_with_their_path(raw: bytes, path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        ACCOUNT.commands["deposit"].decode_args(raw)
    assert refused.value.path == path


@pytest.mark.parametrize("name", ["assign", "apply_by_hand"])
def test_only_events_change_state(name: str) -> None:
    turn = Turn(ACCOUNT)
    with pytest.raises(StateChangedOutsideEvent) as refused:
        turn.run(name)
    assert (refused.value.actor, refused.value.field) == ("http_account/alice", "balance")
    assert turn.run("statement") == 0
    with pytest.raises(StateChangedOutsideEvent):
        del turn.state.balance
    with pytest.raises(StateChangedOutsideEvent):
        turn.state.other = 1


@pytest.mark.parametrize(
    ("tag", "error"),
    [
        ("undeclared", StateChangedOutsideEvent),
        ("delete", StateChangedOutsideEvent),
        ("emit", ActorFailed),
        ("context", ActorFailed),
    ],
)
def test_an_event_handler_has_its_event_and_declared_fields_only(tag: str, error: type[Exception]) -> None:
    turn = Turn(TAGS)
    with pytest.raises(error):
        turn.emit(Tagged(tag))
    with pytest.raises(StateChangedOutsideEvent):
        turn.state.tags = []


@pytest.mark.parametrize(("name", "path"), [("answer_wrong", ""), ("emit_wrong", "amount"), ("emit_unknown", None)])
def test_a_handler_that_breaks_its_types_has_failed(name: str, path: str | None) -> None:
    turn = Turn(ACCOUNT)
    with pytest.raises(ActorFailed) as failed:
        turn.run(name)
    assert failed.value.details.get("path") == path
    assert turn.events == []


def test_what_is_applied_is_what_was_stored_not_what_was_emitted() -> None:
    turn = Turn(TAGS)
    mine = Tagged("a", ["x"])
    turn.emit(mine)
    mine.seen.append("y")
    assert turn.state.seen == {"a": ["x"]}


def test_mutable_defaults_are_copied_for_each_actor() -> None:
    first, second = Turn(TAGS), Turn(TAGS)
    first.emit(Tagged("a"))
    assert (first.state.tags, second.state.tags, Tags.tags) == (["a"], [], [])
    assert second.state.seen == {}


def test_scalar_state_is_undone_from_a_checkpoint_and_containers_are_not() -> None:
    turn = Turn(ACCOUNT)
    turn.run("deposit", 5)
    checkpoint = ACCOUNT.checkpoint(turn.state)
    turn.run("deposit", 6)
    restored = ACCOUNT.restore(turn.state, checkpoint)
    assert ACCOUNT.encode_state(restored) == b'{"balance":5,"owner":"nobody","rate":0.0}'
    assert TAGS.checkpoint(TAGS.initial(ActorId("tags", "x"))) is None
    empty = model.actor_type(Empty)
    state = empty.initial(ActorId("empty", "x"))
    checkpoint = empty.checkpoint(state)
    assert checkpoint is not None
    assert empty.encode_state(empty.restore(state, checkpoint)) == b"{}"


def test_a_state_goes_through_its_snapshot() -> None:
    turn = Turn(ACCOUNT)
    turn.run("deposit", 5)
    raw = ACCOUNT.encode_state(turn.state)
    state = ACCOUNT.decode_state(raw, ALICE)
    assert ACCOUNT.encode_state(state) == raw
    for garbage in (b"{}", b"[", b'{"balance":"x","owner":"","rate":1}', b'{"balance":1,"owner":"","rate":1,"x":1}'):
        with pytest.raises(ValueError, match=r"."):
            ACCOUNT.decode_state(garbage, ALICE)


def test_a_state_that_is_not_of_its_types_is_not_encoded() -> None:
    turn = Turn(TAGS)
    turn.emit(Tagged("a"))
    turn.state.tags.append(1)
    with pytest.raises(ValueError, match=r"tags\[1\]"):
        TAGS.encode_state(turn.state)


def test_a_folded_state_says_that_no_turn_is_open() -> None:
    state = ACCOUNT.initial(ALICE)
    assert state.id == ALICE
    with pytest.raises(RuntimeError, match="only folded"):
        state.emit(Deposited(1))
    for name in ("context", "version"):
        with pytest.raises(RuntimeError, match="only folded"):
            getattr(state, name)
    with pytest.raises(TypeError, match="not made by calling"):
        HTTPAccount()


async def test_an_asynchronous_handler_gives_an_awaitable() -> None:
    class Slow(Holder):
        @command
        async def later(self, amount: int) -> int:
            self.emit(Deposited(amount))
            return self.balance

    slow = Model("bank", actors=[Slow]).actor_type(Slow)
    turn = Turn(slow)
    later = slow.commands["later"]
    assert await later.invoke(turn.state, turn, later.decode_args(b'{"amount":3}')) == 3


def test_classes_within_functions_resolve_their_string_annotations() -> None:
    @dataclass
    class Local:
        amount: int

    class Inner(Actor):
        @dataclass
        class Nested:
            amount: int

        last: Local = Local(0)

        @event
        def happened(self, e: Local | Nested) -> None:
            self.last = Local(e.amount)

        @command
        def happen(self, what: Local) -> Local:
            self.emit(what)
            return self.last

    inner = Model("local", actors=[Inner]).actor_type(Inner)
    assert Turn(inner).run("happen", Local(3)) == Local(3)
    assert set(inner.events) == {"Local", "Nested"}


def versions(schema_version: int) -> ActorType:
    """An actor whose event has had two shapes."""
    if schema_version == 1:

        @dataclass
        class Renamed:
            name: str
    else:

        @dataclass
        class Renamed:  # type: ignore[no-redef]  # its second shape
            schema_version: ClassVar[int] = 2
            first: str
            last: str

            @staticmethod
            def upcast(fields: dict[str, Any], schema_version: int) -> dict[str, Any]:
                first, _, last = fields["name"].partition(" ")
                return {"first": first, "last": last}

    class Person(Actor):
        name: str = ""

        @event
        def renamed(self, e: Renamed) -> None:
            self.name = str(e)

    return Model("people", actors=[Person]).actor_type(Person)


def test_an_older_event_is_upcast_and_a_newer_one_is_refused() -> None:
    old, new = versions(1).events["Renamed"], versions(2).events["Renamed"]
    raw = b'{"name":"Ada Lovelace"}'
    assert vars(new.decode(raw, 1)) == {"first": "Ada", "last": "Lovelace"}
    assert (old.schema_version, new.schema_version) == (1, 2)
    with pytest.raises(ValueError, match="version 2"):
        old.decode(b'{"first":"Ada","last":"L"}', 2)
    with pytest.raises(ValueError, match="upcast"):
        new.decode(b"{}", 1)


def test_an_actor_without_events_is_an_actor_that_only_answers() -> None:
    class Echo(Actor):
        @command
        def say(self, text: str) -> str:
            return text

    echo = Model("echo", actors=[Echo]).actor_type("echo")
    assert list(echo.commands) == ["say"]
    assert not echo.events
    assert echo.encode_state(echo.initial(ActorId("echo", "a"))) == b"{}"

"""A `Decider` is an actor like any other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest
from msgspec import Meta, Struct, field

from aether.errors import ActorFailed, InvalidCommand, Rejected
from aether.ids import ActorId
from aether.model.decider import Decider, Decision
from aether.model.model import Model
from tests.support.scopes import Turn


@dataclass(frozen=True)
class Deposit:
    """Put money in."""

    amount: Annotated[int, Meta(gt=0)]
    note: str = ""


class WithdrawAll(Struct, frozen=True):
    """Take everything, in parts."""

    part: int = field(name="partSize", default=10)


@dataclass(frozen=True)
class Moved:
    """Money moved."""

    amount: int


@dataclass(frozen=True)
class Balance:
    """The state."""

    amount: int = 0


def decide(state: Balance, command: Deposit | WithdrawAll) -> Iterator[Moved] | Decision[Moved]:
    """Both ways to answer."""
    if isinstance(command, Deposit):
        if command.note == "no":
            raise Rejected("no")
        return Decision([Moved(command.amount)], reply=state.amount + command.amount)
    return withdrawals(state, command.part)


def withdrawals(state: Balance, part: int) -> Iterator[Moved]:
    """Lazy: all of it is decided on the state before."""
    left = state.amount
    while left > 0:
        yield Moved(-min(part, left))
        left = left - part if state.amount else 0


def evolve(state: Balance, event: Moved) -> Balance:
    """The next state."""
    return Balance(state.amount + event.amount)


def doubled(state: Balance, times: int = 2) -> int:
    """A query."""
    return state.amount * times


ACCOUNT = Decider(Balance, decide, evolve, kind="account", replies={Deposit: int}, queries=[doubled])
model = Model("bank", actors=[ACCOUNT])
TYPE = model.actor_type(ACCOUNT)


def test_commands_decide_on_the_state_before_and_answer() -> None:
    turn = Turn(TYPE)
    assert turn.run("deposit", 25, note="x") == 25
    assert turn.run("doubled") == 50
    assert turn.run("withdraw_all") is None
    assert turn.state == Balance(0)
    assert turn.events == [("Moved", b'{"amount":%d}' % amount) for amount in (25, -10, -10, -5)]
    with pytest.raises(Rejected):
        turn.run("deposit", 1, "no")


def test_arguments_are_the_fields_by_their_names_on_the_wire() -> None:
    withdraw = TYPE.commands["withdraw_all"]
    assert withdraw.encode_args((5,), {}) == withdraw.encode_args((), {"part": 5}) == b'{"partSize":5}'
    for raw, path in [(b'{"part":5}', "part"), (b'{"partSize":"x"}', "partSize"), (b"[]", "")]:
        with pytest.raises(InvalidCommand) as refused:
            withdraw.decode_args(raw)
        assert refused.value.path == path
    with pytest.raises(InvalidCommand) as refused:
        TYPE.commands["deposit"].encode_args((0,), {})
    assert refused.value.path == "amount"


def test_the_state_is_its_own_checkpoint_and_goes_through_a_snapshot() -> None:
    turn = Turn(TYPE)
    checkpoint = TYPE.checkpoint(turn.state)
    turn.run("deposit", 25)
    raw = TYPE.encode_state(turn.state)
    assert TYPE.decode_state(raw, ActorId("account", "a")) == Balance(25)
    assert TYPE.state_values(Balance(25)) == {"amount": 25}
    assert TYPE.restore(turn.state, checkpoint) == Balance(0)


def test_a_state_without_fields_is_shown_as_a_value_and_may_be_none() -> None:
    def decided(state, command):  # type: ignore[no-untyped-def]  # its types are given below
        return None if command.amount == 1 else [Moved(command.amount)]

    def evolved(state, event):  # type: ignore[no-untyped-def]  # its types are given below
        return (state or 0) + event.amount

    bare = Decider(None, decided, evolved, kind="bare", commands=[Deposit], events=[Moved], state=int | None)
    kind = Model("bank", actors=[bare]).actor_type("bare")
    turn = Turn(kind)
    checkpoint = kind.checkpoint(turn.state)
    turn.run("deposit", 5)
    assert kind.state_values(turn.state) == {"value": 5}
    assert kind.restore(turn.state, checkpoint) is None
    with pytest.raises(ActorFailed, match="neither events nor a Decision"):
        turn.run("deposit", 1)


def test_a_mutable_initial_state_is_fresh_for_each_actor() -> None:
    def evolved(state: dict[str, int], event: Moved) -> dict[str, int]:
        state["amount"] = event.amount
        return state

    def decided(state: dict[str, int], command: Deposit) -> list[Moved]:
        return [Moved(command.amount)]

    kind = Model("bank", actors=[Decider({}, decided, evolved, kind="loose")]).actor_type("loose")
    first, second = Turn(kind), Turn(kind)
    first.run("deposit", 5)
    assert kind.state_values(first.state) == {"amount": 5}
    assert second.state == {}


async def test_decide_may_be_asynchronous() -> None:
    async def decided(state: Balance, command: Deposit) -> Decision[Moved]:
        return Decision([Moved(command.amount)], reply="done")

    slow = Decider(Balance(), decided, evolve, kind="slow", replies={Deposit: str})
    kind = Model("bank", actors=[slow]).actor_type(slow)
    turn = Turn(kind)
    deposit = kind.commands["deposit"]
    assert await deposit.invoke(turn.state, turn, deposit.decode_args(b'{"amount":3}')) == "done"
    assert turn.state == Balance(3)

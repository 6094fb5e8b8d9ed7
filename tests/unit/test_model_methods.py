"""Commands and queries as attributes: on the class, on a proxy, on a copy of the state, and in a handler."""

import copy
import inspect
import pickle
import pydoc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from msgspec import Meta, Raw

from aether.errors import ActorFailed, StateChangedOutsideEvent
from aether.ids import ActorId, Position
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.handlers import command, event, query
from aether.model.methods import Command, Query
from aether.model.model import Model
from aether.model.proxy import proxy_of
from aether.model.reached import reached_text
from aether.runtime.state_query import decode_state_reply, encode_state_reply
from aether.testing import local_runtime
from aether.wire import Answer

Cents = Annotated[int, Meta(gt=0)]
CENTS = inspect.formatannotation(Cents)


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    amount: int


def logged(handler: Callable[..., Any]) -> Any:
    """A decorator that does not say what it wraps."""

    def wrapper(self: Any, amount: int) -> int:
        result: int = handler(self, amount)
        return result

    return wrapper


class Account(Actor):
    """Calls itself in every way that it must not."""

    balance: int = 0

    @command
    def deposit(self, amount: Cents, /, note: str = "none", *, twice: bool = False) -> int:
        """Put money in."""
        self.emit(Deposited(amount))
        return self.balance

    @command
    @logged
    def wrapped(self, amount: int) -> int:
        """Named by its attribute."""
        return amount

    @command
    def call_itself(self) -> None:
        """From a plain handler."""
        self.emit(Deposited(1))
        self.deposit(1)  # type: ignore[unused-coroutine]  # the fault is the point

    @command
    async def await_itself(self) -> int:
        """From an asynchronous handler."""
        self.emit(Deposited(1))
        return await self.deposit(1)

    @command
    async def ask_itself(self) -> str:
        """A query."""
        return await self.statement()

    @command
    def call_the_class(self) -> None:
        """Past the instance."""
        Account.deposit(self, 1)

    @query
    async def statement(self) -> str:
        """What there is."""
        return f"{self.shown()} at {self.version}"

    def shown(self) -> str:
        """A plain method."""
        return f"{self.balance} cents"

    @property
    def is_empty(self) -> bool:
        """A plain property."""
        return not self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Add it."""
        self.balance += e.amount


class Savings(Account):
    """Declares one command anew, and calls that of its base class."""

    @command
    async def deposit(self, amount: int, /, note: str = "none", *, twice: bool = False) -> int:
        """Put money in, for long."""
        return await super().deposit(amount)


class Mixin:
    """Commands for several actors."""

    @command(blocking=True)
    def ping(self) -> None:
        """Nothing."""


class Pinged(Mixin, Actor):
    """Has them."""


@dataclass
class Add:
    """Add to it."""

    amount: int
    times: int = 1


@dataclass
class Count:
    """A state with a field."""

    total: int = 0


def decide(state: Count, command: Add) -> list[Deposited]:
    return [Deposited(command.amount * command.times)]


def evolve(state: Count, event: Deposited) -> Count:
    return Count(state.total + event.amount)


@query(blocking=True)
def doubled(state: Count, times: int = 2) -> int:
    """A query of a decider."""
    return state.total * times


COUNTER = Decider(Count, decide, evolve, kind="counter", queries=[doubled])
MODEL = Model("bank", actors=[Account, Savings, Pinged, COUNTER])


async def send(_actor_id: ActorId, _command: str, _args: bytes) -> Answer:
    return Answer(ok=True, value=Raw(b"1"))


def proxy(kind: Any = Account) -> Any:
    return proxy_of(MODEL, kind, "alice", send)


def test_a_command_is_itself_on_its_class() -> None:
    deposit = Account.deposit
    assert isinstance(deposit, Command)
    assert isinstance(Account.statement, Query)
    assert Account.deposit is deposit
    assert (deposit.name, deposit.kind, deposit.actor, deposit.blocking) == ("deposit", "account", Account, False)
    written = f"account.deposit(amount: {CENTS}, /, note: str = 'none', *, twice: bool = False) -> int"
    assert repr(deposit) == f"<command {written}>"
    assert repr(Account.statement) == "<query account.statement() -> str>"
    assert inspect.getdoc(deposit) == "Put money in."
    assert list(inspect.signature(deposit).parameters) == ["self", "amount", "note", "twice"]
    assert MODEL.actor_type(COUNTER).commands["doubled"].blocking
    assert (repr(doubled), doubled.kind) == ("<query doubled(times: int = 2) -> int>", "")


def test_an_inherited_command_is_of_the_class_that_it_is_read_from() -> None:
    inherited = Savings.statement
    assert (inherited.kind, inherited.actor) == ("savings", Savings)
    assert inherited == Savings.statement
    assert hash(inherited) == hash(Savings.statement)
    assert inherited != Account.statement
    assert Savings.deposit != Account.deposit
    assert (Mixin.ping.kind, Pinged.ping.kind, Pinged.ping.blocking) == ("", "pinged", True)
    assert repr(Mixin.ping) == "<command Mixin.ping() -> None>"


def test_a_command_can_be_copied_and_pickled() -> None:
    for one in (Account.deposit, Savings.statement):
        assert copy.deepcopy(one) == one
        assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own bytes
    assert copy.copy(doubled) == doubled


def test_a_command_is_named_by_its_attribute() -> None:
    assert Account.wrapped.name == "wrapped"
    assert "wrapped" in MODEL.actor_type(Account).commands


def test_a_proxys_method_has_the_handlers_signature_and_docstring() -> None:
    deposit = proxy().deposit
    assert inspect.signature(deposit) == inspect.signature(Account.deposit).replace(
        parameters=list(inspect.signature(Account.deposit).parameters.values())[1:]
    )
    assert inspect.iscoroutinefunction(deposit)
    shown = "".join(pydoc.plain(pydoc.render_doc(deposit)).split())  # Python 3.13 gives each parameter a line
    assert "".join(f"account.deposit(amount: {CENTS}, /, note: str = 'none'".split()) in shown
    assert inspect.getdoc(deposit) == "Put money in."
    assert str(inspect.signature(proxy().call_itself)) == "() -> None"
    assert str(inspect.signature(proxy(COUNTER).add)) == "(amount: int, times: int = 1) -> None"
    assert inspect.getdoc(proxy(COUNTER).add) == "Add to it."
    assert str(inspect.signature(proxy(COUNTER).doubled)) == "(times: int = 2) -> int"


def test_kinds_of_one_name_in_two_models_have_their_own_signatures() -> None:
    class Other(Actor, kind="account"):
        @command
        def deposit(self, other: str) -> str:
            return other

    other: Any = proxy_of(Model("other", actors=[Other]), "account", "a", send)
    assert str(inspect.signature(other.deposit)) == "(other: str) -> str"
    assert list(inspect.signature(proxy().deposit).parameters) == ["amount", "note", "twice"]


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [
        (Account, "balance", "a field of Account"),
        ("account", "balance", "a field of Account"),
        (Savings, "balance", "a field of Savings"),
        (Account, "id", "an attribute of Account"),
        (Account, "version", "an attribute of Account"),
        (Account, "kind", "an attribute of Account"),
        (Account, "context", "what a running command has"),
        (Account, "resources", "what a running command has"),
        (Account, "emit", "what a running command has"),
        (Account, "deposited", "an @event method of Account"),
        (Account, "shown", "a plain member of Account"),
        (Account, "is_empty", "a plain member of Account"),
        (COUNTER, "total", "a field of Count"),
    ],
)
def test_a_proxy_has_commands_and_queries_only(kind: Any, name: str, what: str) -> None:
    with pytest.raises(AttributeError, match=rf"^{name} is {what}.*client\.state\('\w+', 'alice'\)"):
        getattr(proxy(kind), name)
    assert not hasattr(proxy(kind), name)


@pytest.mark.parametrize(
    ("kind", "name", "method"),
    [
        (Account, "call_itself", "deposit"),
        (Account, "await_itself", "deposit"),
        (Account, "ask_itself", "statement"),
        (Account, "call_the_class", "deposit"),
        (Savings, "await_itself", "deposit"),
    ],
)
async def test_an_actor_cannot_call_its_own_commands(kind: type[Account], name: str, method: str) -> None:
    async with local_runtime(MODEL) as runtime:
        actor = runtime.actor(kind, "alice")
        with pytest.raises(ActorFailed, match=rf"self\.{method} .*cannot call itself.*plain method"):
            await getattr(actor, name)()
        assert await actor.statement() == "0 cents at 0"


async def test_a_command_that_is_declared_anew_cannot_call_that_of_its_base_class() -> None:
    async with local_runtime(MODEL) as runtime:
        with pytest.raises(ActorFailed, match="plain method"):
            await runtime.actor(Savings, "alice").deposit(1)


def state_of(kind: Any, raw: bytes) -> Any:
    actor_type = MODEL.actor_type(kind)
    actor_id = ActorId(actor_type.kind, "alice")
    return decode_state_reply(encode_state_reply(actor_id, 3, raw), Position(7), actor_type)


def test_a_state_that_was_read_is_a_read_only_copy() -> None:
    found = state_of(Account, b'{"balance":5}')
    account: Account = found.state
    assert type(account) is Account
    assert (found.id, found.version, found.position) == (ActorId("account", "alice"), 3, 7)
    assert (account.id, account.version, account.balance) == (found.id, 3, 5)
    assert (account.shown(), account.is_empty) == ("5 cents", False)
    assert found.as_dict() == {"balance": 5}
    assert repr(found) == "<state of account/alice at version 3: balance=5>"
    assert found == state_of(Account, b'{"balance":5}')
    assert found != state_of(Account, b'{"balance":6}')
    changes: list[Callable[[], object]] = [
        lambda: setattr(account, "balance", 6),
        lambda: delattr(account, "balance"),
        lambda: account.deposited(Deposited(1)),
    ]
    for change in changes:
        with pytest.raises(StateChangedOutsideEvent, match="is a copy of the state"):
            change()
    with pytest.raises(RuntimeError, match="is a copy of the state of account/alice"):
        account.emit(Deposited(1))
    with pytest.raises(RuntimeError, match="is a copy of the state of account/alice"):
        print(account.context)
    with pytest.raises(RuntimeError, match="is a copy of the state of account/alice"):
        print(account.resources)
    with pytest.raises(RuntimeError, match=r"`await client\.actor\(Account, 'alice'\)\.deposit\(\.\.\.\)`"):
        account.deposit(1)  # type: ignore[unused-coroutine]  # the fault is the point
    assert account.balance == 5


def test_the_copy_of_a_deciders_state_is_its_value() -> None:
    found = state_of(COUNTER, b'{"total":5}')
    assert found.state == Count(5)
    assert found.as_dict() == {"total": 5}


def test_a_command_is_not_called_on_its_class() -> None:
    advice = r"`await client\.actor\(Account, key\)\.deposit\(\.\.\.\)`.* `self\.tell\(Account\.deposit, key, \.\.\.\)`"
    with pytest.raises(RuntimeError, match=advice):
        Account.deposit(object(), 1)  # type: ignore[arg-type]  # the fault is the point


def test_a_command_whose_name_a_fold_mentions_is_told_as_its_function() -> None:
    class Named(Actor):
        total: int = 0

        @query
        def amount(self) -> int:
            return self.total

        @event
        def deposited(self, e: Deposited) -> None:
            self.total += e.amount

    told = reached_text(__name__, [Named.deposited], [], {}, members_of=Named)
    assert f"{Named.__qualname__}.amount = function {Named.__qualname__}.amount" in told.splitlines()

"""Policies: whenever an event is emitted, then what they tell is stored with it, or the command has failed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any

import pytest
from msgspec import Meta

from aether import (
    Actor,
    ActorFailed,
    After,
    Decider,
    Every,
    Model,
    PolicyContext,
    Rejected,
    Retry,
    StateChangedOutsideEvent,
    TaskFailed,
    command,
    event,
    policy,
    query,
    task,
)
from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.testing import given, local_pool, told
from aether.testing.pool import LocalPool
from aether.wire import Event
from tests.support.scopes import Turn


@dataclass(frozen=True, slots=True)
class Paid:
    """Money came in."""

    cents: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It is off."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something was confirmed."""

    what: str


class Room(Actor):
    """Is told by policies."""

    notes: tuple[str, ...] = ()

    @command
    def confirm(self, what: Annotated[str, Meta(min_length=1)]) -> None:
        self.emit(Noted(what))

    @command
    def release(self, what: str) -> None:
        self.emit(Noted(f"not {what}"))

    @event
    def noted(self, e: Noted) -> None:
        self.notes = (*self.notes, e.what)

    @query
    def read(self) -> list[str]:
        return list(self.notes)


class Booking(Actor):
    """Emits what the policies react to. `room` is where their tells go."""

    room: str = "12"
    paid: int = 0
    list_of_payments: list[int] = field(default_factory=list[int])

    @command
    def pay(self, cents: int) -> int:
        self.emit(Paid(cents))
        return self.paid

    @command
    def pay_and_fail(self, cents: int) -> None:
        self.emit(Paid(cents))
        raise Rejected("after all not")

    @command
    def pay_whatever_comes(self, cents: int) -> None:
        try:
            self.emit(Paid(cents))
        except Exception:
            return

    @command(blocking=True)
    def pay_in_a_thread(self, cents: int) -> int:
        self.emit(Paid(cents))
        return self.paid

    @command
    async def pay_later(self, cents: int) -> int:
        await asyncio.sleep(0)
        self.emit(Paid(cents))
        await asyncio.sleep(0)
        self.emit(Paid(cents))
        return self.paid

    @command
    def pay_and_tell(self, cents: int) -> None:
        self.emit(Paid(cents))
        self.tell(Room.confirm, self.room, "by the handler")
        self.emit(Cancelled())

    @command
    def cancel(self) -> None:
        self.emit(Cancelled())

    @event
    def was_paid(self, e: Paid) -> None:
        self.paid += e.cents
        self.list_of_payments = [*self.list_of_payments, e.cents]

    @event
    def cancelled(self, e: Cancelled) -> None:
        """Nothing."""


seen: list[Any] = []


@policy
def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
    """Confirm the room."""
    seen.append((context.id, context.version, context.command_id, context.correlation_id, context.caller, context.now))
    context.tell(Room.confirm, context.state.room, f"{context.id.key} {event.cents} of {context.state.paid}")


@policy(tells=(Room.release,))
def on_cancelled(event: Cancelled, context: PolicyContext[Booking]) -> None:
    """Release the room."""
    context.tell(Room.release, context.state.room, context.id.key)


MODEL = Model("hotel", actors=[Booking, Room], policies=[on_paid, on_cancelled])


async def noted(pool: LocalPool, key: str, count: int) -> list[str]:
    """What a room has noted, once it is so many notes."""
    async with asyncio.timeout(10):
        while len(found := await pool.client.actor(Room, key).read()) < count:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)
    return found


async def history(pool: LocalPool, kind: str, key: str) -> list[Event]:
    return [one async for one, _ in pool.client.untyped.history(ActorId(kind, key))]


@asynccontextmanager
async def pool_with(reaction: Any) -> AsyncIterator[LocalPool]:
    """A pool in which one policy reacts to payments."""
    async with local_pool(Model("hotel", actors=[Booking, Room], policies=[reaction])) as pool:
        yield pool


@pytest.mark.parametrize("how", ["pay", "pay_in_a_thread"])
async def test_what_a_policy_tells_is_stored_with_the_event_and_arrives(how: str) -> None:
    async with local_pool(MODEL) as pool:
        booking = pool.client.actor("booking", "b1")
        assert [await getattr(booking, how)(5), await getattr(booking, how)(7)] == [5, 12]
        assert await noted(pool, "12", 2) == ["b1 5 of 5", "b1 7 of 12"]
        stored = await history(pool, "booking", "b1")
        assert [(one.type, bool(one.sends)) for one in stored] == [("Paid", True), ("Paid", True)]


async def test_a_policy_runs_for_each_event_of_an_asynchronous_handler() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.actor(Booking, "b1").pay_later(5)
        assert await noted(pool, "12", 2) == ["b1 5 of 5", "b1 5 of 10"]
        assert [bool(one.sends) for one in await history(pool, "booking", "b1")] == [False, True]


async def test_a_policy_knows_the_command_and_the_state_after_the_event() -> None:
    seen.clear()
    async with local_pool(MODEL) as pool:
        await pool.client.actor(Booking, "b1", command_id="c-1").pay(5)
        [stored] = await history(pool, "booking", "b1")
        assert seen == [(ActorId("booking", "b1"), 1, "c-1", "c-1", "", stored.time)]
        await noted(pool, "12", 1)
        [told_event] = await history(pool, "room", "12")
        assert (told_event.causationid, told_event.correlationid) == ("c-1", "c-1")


async def test_a_policy_does_not_run_again_when_a_history_is_replayed() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.actor(Booking, "b1").pay(5)
        await noted(pool, "12", 1)
        seen.clear()
        await pool.crash(pool.worker_of(Booking, "b1"))
        await pool.client.actor(Booking, "b1").cancel()
        assert await noted(pool, "12", 2) == ["b1 5 of 5", "not b1"]
        assert seen == []


async def test_a_command_that_fails_after_the_policy_has_told_nothing() -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(Rejected):
            await pool.client.actor(Booking, "b1").pay_and_fail(5)
        await pool.client.actor(Booking, "b1").pay(1)
        assert await noted(pool, "12", 1) == ["b1 1 of 1"]


@pytest.mark.parametrize("how", ["pay", "pay_in_a_thread", "pay_later", "pay_whatever_comes"])
async def test_an_error_in_a_policy_is_the_failure_of_the_command(how: str) -> None:
    @policy
    def broken(event: Paid, context: PolicyContext[Booking]) -> None:
        context.tell(Room.confirm, "12", "before the error")
        if event.cents == 13:
            raise KeyError("no such room")

    async with pool_with(broken) as pool:
        booking = pool.client.actor("booking", "b1")
        with pytest.raises(ActorFailed, match=f"{how} failed: the policy broken failed: KeyError: 'no such room'"):
            await getattr(booking, how)(13)
        await booking.pay(1)
        assert await noted(pool, "12", 1) == ["before the error"]
        assert [one.type for one in await history(pool, "booking", "b1")] == ["Paid"]


def rejects(event: Paid, context: PolicyContext[Booking]) -> None:
    raise Rejected("too late")


def gives_wrong_arguments(event: Paid, context: PolicyContext[Booking]) -> None:
    context.tell(Room.confirm, "12", "")


def emits(event: Paid, context: PolicyContext[Booking]) -> None:
    context.state.emit(Cancelled())


def asks(event: Paid, context: PolicyContext[Booking]) -> None:
    context.state.ask(Room, "12")


def assigns(event: Paid, context: PolicyContext[Booking]) -> None:
    context.state.paid = 0


def changes_inside(event: Paid, context: PolicyContext[Booking]) -> None:
    context.state.list_of_payments.append(0)


def gives_something(event: Paid, context: PolicyContext[Booking]) -> None:
    return 5  # type: ignore[return-value]  # what is tested


def gives_a_coroutine(event: Paid, context: PolicyContext[Booking]) -> None:
    return asyncio.sleep(0)  # type: ignore[return-value]  # what is tested


def tells_a_query(event: Paid, context: PolicyContext[Booking]) -> None:
    context.tell(Room.read, "12")  # type: ignore[arg-type]  # what is tested


def exits(event: Paid, context: PolicyContext[Booking]) -> None:
    raise SystemExit(2)


class Unspeakable(Exception):
    """Cannot say what it is, and nor can its class."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


def raises_what_has_no_words(event: Paid, context: PolicyContext[Booking]) -> None:
    raise Unspeakable


def gives_what_has_no_words(event: Paid, context: PolicyContext[Booking]) -> None:
    return Unspeakable()  # type: ignore[return-value]  # what is tested


def gives_much(event: Paid, context: PolicyContext[Booking]) -> None:
    return ["x" * 100_000]  # type: ignore[return-value]  # what is tested


def starts_what_is_no_call(event: Paid, context: PolicyContext[Booking]) -> None:
    context.start_task(starts_what_is_no_call)  # type: ignore[arg-type]  # what is tested


WRONG = [
    (raises_what_has_no_words, ActorFailed, r"policy raises_what_has_no_words failed: Unspeakable: \(its text cannot"),
    (gives_what_has_no_words, ActorFailed, r"policy gives_what_has_no_words returned a value of <class .*Unspeakable"),
    (gives_much, ActorFailed, r"policy gives_much returned \['x{198}; a policy returns nothing"),
    (starts_what_is_no_call, ActorFailed, "failed: InvalidCommand: call: context.start_task takes a call of a task"),
    (exits, ActorFailed, "policy exits failed: SystemExit: 2"),
    (rejects, ActorFailed, "policy rejects failed: Rejected: too late"),
    (gives_wrong_arguments, ActorFailed, "policy gives_wrong_arguments failed: InvalidCommand: .*length"),
    (emits, ActorFailed, "policy emits may tell, and neither emit nor ask"),
    (asks, ActorFailed, "policy asks may tell, and neither emit nor ask"),
    (assigns, StateChangedOutsideEvent, "paid was assigned outside an @event method"),
    (changes_inside, StateChangedOutsideEvent, "list_of_payments was changed"),
    (gives_something, ActorFailed, "policy gives_something returned 5; a policy returns nothing"),
    (gives_a_coroutine, ActorFailed, "returned <coroutine object sleep"),
    (tells_a_query, ActorFailed, "context.tell takes a command"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("how", ["pay", "pay_in_a_thread", "pay_later"])
async def test_what_a_policy_may_not_do_fails_its_command(
    wrong: Any, error: type[Exception], message: str, how: str
) -> None:
    async with pool_with(policy(wrong)) as pool:
        booking = pool.client.actor("booking", "b1")
        with pytest.raises(error, match=message):
            await getattr(booking, how)(5)
        assert (await pool.client.state(Booking, "b1")).version == 0
        await booking.cancel()
        assert [one.type for one in await history(pool, "booking", "b1")] == ["Cancelled"]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one[0].__name__)
def test_what_a_policy_may_not_do_fails_its_command_in_the_kit(wrong: tuple[Any, type[Exception], str]) -> None:
    model = Model("hotel", actors=[Booking, Room], policies=[policy(wrong[0])])
    given(Booking, model=model).when(Booking.pay, 5).then_failed(wrong[1])


class Cellar(Room):
    """Has the same commands."""


@pytest.mark.parametrize("listed", [(), (Cellar.confirm,)], ids=["nothing", "the same of another kind"])
def test_what_a_policy_does_not_list_it_may_not_tell(listed: tuple[Any, ...]) -> None:
    @policy(tells=listed)
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        context.tell(Room.confirm, "12", "b1")

    model = Model("hotel", actors=[Booking, Room, Cellar], policies=[on_paid])
    given(Booking, model=model).when(Booking.pay, 5).then_failed(ActorFailed)


@pytest.mark.parametrize("by_state", [False, True])
async def test_a_policy_tells_only_what_it_lists(by_state: bool) -> None:
    @policy(tells=[Room.release])
    def listed(event: Paid, context: PolicyContext[Booking]) -> None:
        tell = context.state.tell if by_state else context.tell
        tell(Room.release, "12", "b1")
        if event.cents == 13:
            tell(Room.confirm, "12", "b1")

    model = Model("hotel", actors=[Booking, Room], policies=[listed])
    async with local_pool(model) as pool:
        with pytest.raises(ActorFailed, match=r"listed failed: it told room.confirm, which is not in its `tells`"):
            await pool.client.actor(Booking, "b1").pay(13)
        await pool.client.actor(Booking, "b1").pay(1)
        assert await noted(pool, "12", 1) == ["not b1"]
    given(Booking, model=model).when(Booking.pay, 13).then_failed(ActorFailed)
    given(Booking, model=model).when(Booking.pay, 1).then(Paid(1), told=[told(Room.release, "12", "b1")])


async def test_a_handler_emits_and_tells_what_it_likes_after_a_policy() -> None:
    @policy(tells=[Room.release])
    def listed(event: Paid | Cancelled, context: PolicyContext[Booking]) -> None:
        context.tell(Room.release, context.state.room, type(event).__name__)

    model = Model("hotel", actors=[Booking, Room], policies=[listed])
    async with local_pool(model) as pool:
        await pool.client.actor(Booking, "b1").pay_and_tell(1)
        assert await noted(pool, "12", 3) == ["not Paid", "by the handler", "not Cancelled"]
    tells = [told(Room.release, "12", "Paid"), told(Room.confirm, "12", "by the handler")]
    outcome = given(Booking, model=model).when(Booking.pay_and_tell, 1)
    outcome.then(Paid(1), Cancelled(), told=[*tells, told(Room.release, "12", "Cancelled")])


async def test_policies_of_one_event_run_in_the_order_of_the_model() -> None:
    def named(name: str) -> Any:
        def reaction(event: Paid, context: PolicyContext[Booking]) -> None:
            context.tell(Room.confirm, "12", name)

        reaction.__name__ = name
        return policy(reaction)

    async with local_pool(Model("hotel", actors=[Booking, Room], policies=[named("z"), named("a")])) as pool:
        await pool.client.actor(Booking, "b1").pay(5)
        assert await noted(pool, "12", 2) == ["z", "a"]


# ------------------------------------------------------------------------------------------------ tasks


@task(retry=Retry(attempts=1))
def charge(cents: int) -> str:
    if cents == 13:
        raise ValueError("no such card")
    return f"receipt {cents}"


@dataclass(frozen=True, slots=True)
class Ordered:
    """Something is to be paid."""

    cents: int


@dataclass(frozen=True, slots=True)
class Over:
    """What the payment came to."""

    how: str


class Order(Actor):
    """Says that it was made, and hears what the payment came to."""

    tasks: tuple[str, ...] = ()

    @command
    def order(self, cents: int) -> None:
        self.emit(Ordered(cents))

    @command
    def paid(self, receipt: str) -> None:
        self.emit(Over(receipt))

    @command
    def failed(self, why: TaskFailed) -> None:
        self.emit(Over(why.message))

    @event
    def ordered(self, e: Ordered) -> None:
        """Nothing."""

    @event
    def over(self, e: Over) -> None:
        """Nothing."""


started: list[str] = []


@policy
def on_ordered(event: Ordered, context: PolicyContext[Order]) -> None:
    task_id = context.start_task(charge(event.cents), then=Order.paid, failed=Order.failed)
    started.append(task_id)
    if event.cents == 99:
        context.cancel_task(task_id)


async def test_a_policy_starts_and_cancels_tasks_whose_results_come_to_the_actor_of_the_event() -> None:
    model = Model("orders", actors=[Order], policies=[on_ordered], tasks=[charge])
    async with local_pool(model) as pool:
        client = pool.client.using(correlation_id="o-7")
        for key, cents in (("a", 5), ("b", 13), ("c", 99)):
            await client.actor(Order, key).order(cents)
        async with asyncio.timeout(10):
            found = (await client.trace("o-7")).steps
            while [one.how for one in found].count("result") < 2:
                await asyncio.sleep(0.005)
                found = (await client.trace("o-7")).steps
        assert [
            (one.depth, one.how, str(one.actor_id), one.name, [traced.data for traced in one.events]) for one in found
        ] == [
            (0, "call", "order/a", "", [{"cents": 5}]),
            (1, "task", "order/a", "charge", []),
            (2, "result", "order/a", "", [{"how": "receipt 5"}]),
            (0, "call", "order/b", "", [{"cents": 13}]),
            (1, "task", "order/b", "charge", []),
            (2, "result", "order/b", "", [{"how": "no such card"}]),
            (0, "call", "order/c", "", [{"cents": 99}]),
            (1, "task", "order/c", "charge", []),
            (1, "cancelled task", "order/c", started[-1], []),
        ]


# ------------------------------------------------------------------------------------------------ schedules


@policy(tells=[Room.confirm])
def remind(event: Paid | Cancelled, context: PolicyContext[Booking]) -> None:
    if isinstance(event, Cancelled):
        context.cancel_schedule("reminder")
        return
    context.schedule("reminder", Every(minutes=10), Room.confirm, context.state.room, f"{event.cents}")
    if event.cents == 13:
        context.schedule("unlisted", After(minutes=1), Room.release, context.state.room, "x")


async def test_a_policy_sets_and_cancels_schedules_of_the_actor_of_the_event() -> None:
    model = Model("hotel", actors=[Booking, Room], policies=[remind])
    async with local_pool(model) as pool:
        client = pool.client.using(correlation_id="b-1")
        await client.actor(Booking, "b1").pay(5)
        for count in (1, 2):
            await pool.clock.advance(minutes=10)
            assert await noted(pool, "12", count) == ["5"] * count
        await client.actor(Booking, "b1").cancel()
        await pool.clock.advance(minutes=30)
        with pytest.raises(ActorFailed, match=r"remind failed: it told room.release, which is not in its `tells`"):
            await client.actor(Booking, "b1").pay(13)
        assert await noted(pool, "12", 2) == ["5", "5"]
        shown = [
            (one.depth, one.how, str(one.actor_id), one.name)
            for one in (await client.trace("b-1", timedelta(days=1))).steps
        ]
        assert shown == [
            (0, "call", "booking/b1", ""),
            (1, "schedule", "booking/b1", "reminder"),
            (2, "tick", "booking/b1", "confirm"),
            (3, "tell", "room/12", "confirm"),
            (2, "tick", "booking/b1", "confirm"),
            (3, "tell", "room/12", "confirm"),
            (0, "call", "booking/b1", ""),
            (1, "cancelled schedule", "booking/b1", "reminder"),
        ]


# ------------------------------------------------------------------------------------------------ deciders


@dataclass(frozen=True)
class Cart:
    """The state of a decider."""

    items: int = 0


@dataclass(frozen=True)
class Buy:
    """Its command."""

    cents: int


def decide(state: Cart, command: Buy) -> Iterator[Paid]:
    yield Paid(command.cents)
    yield Paid(1)


def evolve(state: Cart, event: Paid) -> Cart:
    return replace(state, items=state.items + 1)


cart = Decider(Cart(), decide, evolve, kind="cart")


@policy
def on_bought(event: Paid, context: PolicyContext[Cart]) -> None:
    context.tell(Room.confirm, "12", f"{context.id.key} {event.cents} item {context.state.items}")


async def test_a_decider_tells_by_a_policy() -> None:
    async with local_pool(Model("shop", actors=[cart, Room, Booking], policies=[on_bought])) as pool:
        await pool.client.actor(Booking, "b1").pay(9)
        await pool.client.actor(cart, "c1").buy(5)
        assert await noted(pool, "12", 2) == ["c1 5 item 1", "c1 1 item 2"]


async def test_a_policy_of_no_kind_is_for_every_kind_that_has_the_event() -> None:
    @policy
    def whoever(event: Paid, context: PolicyContext[Any]) -> None:
        context.tell(Room.confirm, "12", f"{context.id} {event.cents}")

    async with local_pool(Model("shop", actors=[cart, Room, Booking], policies=[whoever])) as pool:
        await pool.client.actor(Booking, "b1").pay(9)
        assert await noted(pool, "12", 1) == ["booking/b1 9"]
        await pool.client.actor(cart, "c1").buy(5)
        assert await noted(pool, "12", 3) == ["booking/b1 9", "cart/c1 5", "cart/c1 1"]


class Marked(Actor):
    """What other kinds inherit from."""

    marks: int = 0

    @command
    def mark(self) -> None:
        self.emit(Cancelled())

    @event
    def marked(self, e: Cancelled) -> None:
        self.marks += 1


class Red(Marked):
    """One of them."""


class Blue(Marked):
    """Another one."""


async def test_a_policy_of_a_base_class_is_for_what_inherits_from_it() -> None:
    @policy
    def on_mark(event: Cancelled, context: PolicyContext[Marked]) -> None:
        context.tell(Room.confirm, "12", f"{context.id}")

    async with local_pool(Model("colours", actors=[Red, Blue, Room, Booking], policies=[on_mark])) as pool:
        await pool.client.actor(Booking, "x").cancel()
        for kind in (Red, Blue):
            await pool.client.actor(kind, "x").mark()
        assert sorted(await noted(pool, "12", 2)) == ["blue/x", "red/x"]


async def test_a_policy_of_two_kinds_and_two_events() -> None:
    @policy
    def on_either(event: Paid | Cancelled, context: PolicyContext[Booking | Red]) -> None:
        context.tell(Room.confirm, "12", f"{context.id.kind} {type(event).__name__}")

    async with local_pool(Model("colours", actors=[Red, Blue, Room, Booking], policies=[on_either])) as pool:
        await pool.client.actor(Booking, "x").pay(1)
        await pool.client.actor(Booking, "x").cancel()
        assert await noted(pool, "12", 2) == ["booking Paid", "booking Cancelled"]
        await pool.client.actor(Blue, "x").mark()
        await pool.client.actor(Red, "x").mark()
        assert await noted(pool, "12", 3) == ["booking Paid", "booking Cancelled", "red Cancelled"]


# ------------------------------------------------------------------------------------------------ the kit, the schema


def test_the_kit_shows_what_was_told() -> None:
    story = given(Booking, model=MODEL, key="b1").when(Booking.pay, 5)
    after = story.then(Paid(5), reply=5, told=[told(Room.confirm, "12", "b1 5 of 5")])
    after.when("cancel").then(Cancelled(), told=[told(Room.release, "12", "b1")])
    with pytest.raises(AssertionError, match=r"told\n  room/12: confirm\('b1 5 of 5'\)\nand not\n  nothing"):
        story.then(Paid(5), told=[])
    with pytest.raises(AssertionError, match=r"and not\n  room/13: confirm\('x'\)"):
        story.then(Paid(5), told=[told(Room.confirm, "13", "x")])
    given(Booking).when(Booking.pay, 5).then(Paid(5), told=[])


def test_the_kit_shows_what_a_decider_told() -> None:
    model = Model("shop", actors=[cart, Room], policies=[on_bought])
    tells = [told(Room.confirm, "12", "test 5 item 1"), told(Room.confirm, "12", "test 1 item 2")]
    given(cart, model=model).when("buy", 5).then(Paid(5), Paid(1), told=tells)


def test_a_policy_is_a_function_that_can_be_called() -> None:
    calls: list[Paid] = []

    @policy
    def counted(event: Paid, context: PolicyContext[Booking]) -> None:
        """Count."""
        calls.append(event)

    counted(Paid(1), None)  # type: ignore[arg-type]  # it does not look at it
    assert calls == [Paid(1)]
    assert (counted.name, counted.__doc__, repr(counted)) == ("counted", "Count.", "<policy counted>")


def test_the_schema_says_which_events_and_commands_a_policy_connects() -> None:
    schema = MODEL.schema()
    assert schema["policies"] == {
        "on_paid": {
            "description": "Confirm the room.",
            "events": [{"kind": "booking", "event": "Paid"}],
            "tells": None,
        },
        "on_cancelled": {
            "description": "Release the room.",
            "events": [{"kind": "booking", "event": "Cancelled"}],
            "tells": [{"kind": "room", "command": "release"}],
        },
    }


def test_a_model_without_policies_is_described_as_before() -> None:
    plain = Model("hotel", actors=[Booking, Room])
    assert "policies" not in plain.schema()
    assert plain.fingerprint != MODEL.fingerprint
    assert plain.actor_type("booking").fingerprint == MODEL.actor_type("booking").fingerprint


def test_two_models_share_a_class_and_not_its_policies() -> None:
    plain = Model("hotel", actors=[Booking, Room])
    assert [len(one.events["Paid"].policies) for one in (plain.actor_type("booking"), MODEL.actor_type("booking"))] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("use", "path"),
    [
        (lambda context: context.schedule("", After(hours=1), Room.confirm, "12", "x"), "name"),
        (lambda context: context.schedule("hold", timedelta(hours=1), Room.confirm, "12", "x"), "when"),
        (lambda context: context.cancel_schedule("n" * 101), "name"),
    ],
    ids=["name", "when", "cancelled name"],
)
def test_a_policy_schedules_under_a_name_and_at_a_time(use: Any, path: str) -> None:
    turn = Turn(Model("rooms", actors=[Room]).actor_type(Room))
    with pytest.raises(InvalidCommand) as refused:
        use(PolicyContext(ActorId("room", "12"), None, turn))
    assert refused.value.path == path


def test_a_policy_knows_of_which_command_the_event_is() -> None:
    turn = Turn(Model("rooms", actors=[Room]).actor_type(Room))
    turn.emit(Noted("x"))
    context = PolicyContext[Any](ActorId("room", "12"), turn.state, turn)
    told = (context.version, context.now, context.command_id, context.correlation_id, context.caller)
    assert told == (1, turn.context.now, "c1", "c0", "")
    assert repr(context) == "<policy context of room/12>"

"""Users' code that tries to end the process: it fails its own command, and neither the worker nor its neighbours.

Each place where users' code runs is tried with each exception that is no `Exception`.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import pydantic
import pytest
import uvloop

from aether import Actor, ActorFailed, ActorId, Model, Runtime, UnreadableEvent, command, event, query
from aether.errors import AetherError
from aether.system.main_loop import run_to_end
from tests.support.actors import Account
from tests.support.nodes import append_from_outside, history, node, send
from tests.support.nodes import command as made


class OwnEnd(BaseException):
    """An exception of users' own that is no `Exception`."""


class Mute(BaseException):
    """Leaves when somebody asks what it says."""

    def __str__(self) -> str:
        raise SystemExit(0)

    __repr__ = __str__


EXITS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "OwnEnd": OwnEnd,
    "Mute": Mute,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("together", [SystemExit(0), ValueError()]),
}
ARMED: list[str] = []
"""The exception that armed code raises; empty while such code behaves."""


def leave() -> NoReturn:
    make = EXITS[ARMED[0]]
    raise make()


def leave_if_armed() -> None:
    if ARMED:
        leave()


@pytest.fixture(params=EXITS)
def exits(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each exception in turn; disarmed afterwards."""
    yield str(request.param)
    ARMED.clear()


@dataclass(frozen=True, slots=True)
class Went:
    """Its handler leaves when it is armed."""


@dataclass(frozen=True)
class Compared:
    """Leaves when it is compared."""

    amount: float = 0

    def __eq__(self, other: object) -> bool:
        if self.amount:
            leave_if_armed()
        return isinstance(other, Compared) and self.amount == other.amount

    __hash__ = None  # type: ignore[assignment]  # it is never hashed


@dataclass(frozen=True)
class Upcast:
    """Leaves when an older one is read."""

    schema_version: ClassVar[int] = 2
    amount: int = 0

    @staticmethod
    def upcast(fields: dict[str, Any], version: int) -> dict[str, Any]:
        """To the current form."""
        leave()


class Checked(pydantic.BaseModel):
    """Leaves when it is made."""

    amount: int = 0

    @pydantic.field_validator("amount")
    @classmethod
    def checked(cls, amount: int) -> int:
        """Leave."""
        leave_if_armed()
        return amount


class Written(pydantic.BaseModel):
    """Leaves when it is written."""

    amount: int = 0

    @pydantic.field_serializer("amount")
    def written(self, amount: int) -> int:
        """Leave."""
        leave_if_armed()
        return amount


@dataclass
class Made:
    """Leaves when it is made."""

    amount: int = 0

    def __post_init__(self) -> None:
        leave_if_armed()


class LeavesWhenAwaited:
    """Neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, int]:
        leave()


class LeavesWhenAsked:
    """Whether it can be awaited nobody will know."""

    def __getattr__(self, name: str) -> NoReturn:
        leave()


class LeavesWhenShown(Exception):
    """An error whose text leaves."""

    def __str__(self) -> str:  # noqa: PLE0307 - it leaves
        leave()

    __repr__ = __str__


class LeavesWhenCollected:
    """A destructor."""

    def __del__(self) -> None:
        leave()


class Leaver(Actor):
    """Leaves wherever it can."""

    count: int = 0
    held: Written = field(default_factory=Written)

    @command
    def at_once(self) -> None:
        """Leave."""
        leave()

    @command
    def after_an_event(self) -> None:
        """Emit, then leave."""
        self.emit(Compared(0))
        leave()

    @command
    async def first_thing(self) -> None:
        """Leave before anything was awaited."""
        leave()

    @command
    async def later(self) -> None:
        """Emit, wait, and leave."""
        await asyncio.sleep(0)
        leave()

    @command
    async def in_a_task_it_waits_for(self) -> None:
        """Let a future bring it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(EXITS[ARMED[0]]())
        await future

    @command
    def when_awaited(self) -> int:
        """Give something that leaves when it is awaited."""
        return LeavesWhenAwaited()  # type: ignore[return-value]  # what a user may do

    @command
    def when_asked(self) -> int:
        """Give something that leaves when it is looked at."""
        return LeavesWhenAsked()  # type: ignore[return-value]  # what a user may do

    @command
    def in_an_event(self) -> None:
        """Emit what its handler leaves at."""
        self.emit(Went())

    @command
    def in_an_event_and_look_away(self) -> None:
        """The same, and look away."""
        try:
            self.emit(Went())
        except BaseException:
            return

    @command
    def when_compared(self) -> None:
        """Emit what leaves when it is compared."""
        self.emit(Compared(0.5))

    @command
    def in_the_reply(self) -> Written:
        """Reply with what leaves when it is written."""
        return Written(amount=1)

    @command
    def with_an_error_that_leaves(self) -> None:
        """Raise what leaves when it is shown."""
        raise LeavesWhenShown

    @command
    def as_an_argument(self, made: Made) -> int:
        """Is never called."""
        return made.amount

    @command
    def as_a_checked_argument(self, made: Checked) -> int:
        """Is never called."""
        return made.amount

    @query
    def a_query(self) -> int:
        """Leave."""
        leave()

    @query
    async def a_slow_query(self) -> int:
        """Leave later."""
        await asyncio.sleep(0)
        leave()

    @command
    def when_collected(self) -> int:
        """Leave something behind that leaves when it is collected."""
        LeavesWhenCollected()
        return self.count

    @command
    def touch(self) -> None:
        """Count one up in peace."""
        self.emit(Went())

    @command
    async def leave_behind(self, how: str) -> int:
        """Have the loop do it later."""
        loop = asyncio.get_running_loop()
        if how == "task":
            LEFT.append(asyncio.create_task(self.later_still()))
        elif how == "callback":
            loop.call_soon(leave)
        else:
            loop.call_later(0, leave)
        self.emit(Went())
        return self.count

    async def later_still(self) -> None:
        """Leave when the handler is over."""
        await asyncio.sleep(0)
        leave()

    @query
    def say(self) -> int:
        """How often."""
        return self.count

    @event
    def went(self, e: Went) -> None:
        """Change something, then leave, if armed."""
        self.count += 1
        leave_if_armed()

    @event
    def other(self, e: Compared | Upcast) -> None:
        """Count it."""
        self.count += 1


LEFT: list[asyncio.Task[None]] = []

model = Model("tests", actors=[Leaver, Account])
LEAVER = ActorId("leaver", "l")


async def goes_on(runtime: Runtime, count: int) -> None:
    """Both the actor and its neighbour answer, with the state of their histories, and nothing waits."""
    ARMED.clear()
    assert bytes((await send(runtime, LEAVER, made("say"))).value) == str(count).encode()
    assert len(await history(runtime, LEAVER)) == count
    assert await runtime.actor(Account, "neighbour").deposit(1) == 1
    assert (await runtime.create_vm(LEAVER)).idle


COMMANDS = [
    name
    for name, one in model.actor_type("leaver").commands.items()
    if name not in ("touch", "say", "when_collected", "leave_behind")
]


@pytest.mark.parametrize("name", COMMANDS)
async def test_its_command_fails_and_nothing_else(name: str, exits: str) -> None:
    async with node(model=model) as runtime:
        await send(runtime, LEAVER, made("touch"))
        args: dict[str, Any] = {"made": {"amount": 1}} if name.startswith("as_a") else {}
        ARMED.append(exits)
        with pytest.raises(ActorFailed):
            await asyncio.wait_for(send(runtime, LEAVER, made(name, **args)), 5)
        await goes_on(runtime, 1)


async def test_a_destructor_that_leaves_harms_nothing(exits: str) -> None:
    async with node(model=model) as runtime:
        ARMED.append(exits)
        assert bytes((await send(runtime, LEAVER, made("when_collected"))).value) == b"0"
        await goes_on(runtime, 0)


@pytest.mark.parametrize("stored", [Went(), Upcast()])
async def test_in_a_replay_it_fails_the_commands_that_wait(stored: object, exits: str) -> None:
    async with node(model=model) as runtime:
        leaver = model.actor_type("leaver")
        await append_from_outside(runtime, LEAVER, leaver, stored)
        ARMED.append(exits)
        for _ in range(2):
            with pytest.raises((ActorFailed, UnreadableEvent), match="version 1"):
                await asyncio.wait_for(send(runtime, LEAVER, made("say")), 5)
        with pytest.raises((ActorFailed, UnreadableEvent), match="version 1"):
            await asyncio.wait_for(send(runtime, LEAVER, made("aether.state", version=1)), 5)
        ARMED.clear()
        if isinstance(stored, Went):
            await goes_on(runtime, 1)


async def test_in_an_event_that_is_followed_it_fails_the_commands_that_come(exits: str) -> None:
    async with node(model=model) as runtime:
        await send(runtime, LEAVER, made("touch"))
        ARMED.append(exits)
        await append_from_outside(runtime, LEAVER, model.actor_type("leaver"), Went())
        with pytest.raises(ActorFailed, match="the handler of Went failed"):
            await asyncio.wait_for(send(runtime, LEAVER, made("say")), 5)
        await goes_on(runtime, 2)


async def test_in_a_factory_of_a_field_it_fails_the_commands_that_wait(
    exits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first() -> Written:
        leave_if_armed()
        return Written()

    class Fresh(Actor):
        """Has no first state when armed."""

        held: Written = field(default_factory=first)

        @query
        def say(self) -> int:
            """Nothing."""
            return 0

    async with node(model=Model("tests", actors=[Fresh, Account])) as runtime:
        fresh = ActorId("fresh", "f")
        ARMED.append(exits)
        for asked in (made("say"), made("aether.state", version=0)):
            with pytest.raises(ActorFailed):
                await asyncio.wait_for(send(runtime, fresh, asked), 5)
        ARMED.clear()
        assert bytes((await send(runtime, fresh, made("say"))).value) == b"0"
        assert await runtime.actor(Account, "neighbour").deposit(1) == 1


async def test_a_state_that_leaves_when_it_is_written_cannot_be_shown_or_snapshotted(exits: str) -> None:
    async with node(model=model) as runtime:
        await send(runtime, LEAVER, made("touch"))
        ARMED.append(exits)
        for asked in (made("aether.state"), made("aether.state", version=0)):
            with pytest.raises(ActorFailed):
                await asyncio.wait_for(send(runtime, LEAVER, asked), 5)
        await runtime.stop_vm(LEAVER)
        assert runtime.counters.snapshots_failed == 1
        await goes_on(runtime, 1)


async def test_a_snapshot_that_leaves_when_it_is_read_is_no_snapshot(exits: str) -> None:
    class Kept(Actor):
        """Leaves when its snapshot is read."""

        held: Checked = field(default_factory=Checked)

        @command
        def touch(self) -> int:
            """Emit, and say which version this is."""
            self.emit(Went())
            return self.version

        @event
        def went(self, e: Went) -> None:
            """Disarm: the history is read in peace."""
            ARMED.clear()

    async with node(model=Model("tests", actors=[Kept])) as runtime:
        kept = ActorId("kept", "k")
        await send(runtime, kept, made("touch"))
        await runtime.stop_vm(kept)
        assert await runtime.connection.snapshots.load(kept) is not None
        restored: list[bool] = []
        decode = Checked.model_validate_json

        def decoded(*args: Any, **options: Any) -> Checked:
            restored.append(True)
            ARMED.append(exits)
            try:
                return decode(*args, **options)
            finally:
                ARMED.clear()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checked, "model_validate_json", decoded)
            answer = await asyncio.wait_for(send(runtime, kept, made("touch")), 5)
        assert restored
        assert runtime.counters.snapshots_ignored == 1
        assert bytes(answer.value) == b"2"


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("how", ["task", "callback", "timer"])
def test_what_a_handler_left_behind_on_the_loop_ends_nothing(
    how: str, make_loop: Callable[[], asyncio.AbstractEventLoop], exits: str
) -> None:
    async def main() -> None:
        async with node(model=model) as runtime:
            armed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.02, armed.set_result, None)
            await left_behind(runtime)
            await armed
            await goes_on(runtime, 1)

    async def left_behind(runtime: Runtime) -> None:
        before = leave_if_armed.__code__
        leave_if_armed.__code__ = (lambda: None).__code__  # only what is left behind leaves
        ARMED.append(exits)
        try:
            assert bytes((await send(runtime, LEAVER, made("leave_behind", how=how))).value) == b"1"
        finally:
            leave_if_armed.__code__ = before

    LEFT.clear()
    run_to_end(make_loop, main())
    for task in LEFT:
        assert task.done()
        if not task.cancelled():
            task.exception()


async def test_the_error_says_what_was_raised() -> None:
    async with node(model=model) as runtime:
        ARMED.append("SystemExit")
        with pytest.raises(AetherError, match="SystemExit") as failed:
            await send(runtime, LEAVER, made("at_once"))
        ARMED.clear()
        assert failed.value.details["actor"] == "leaver/l"

"""`client.using`: options of calls and tells, and how the ids go on through asks, tells, policies and dead letters."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from aether import Actor, Context, InvalidCommand, Model, PolicyContext, Rejected, command, event, policy, query
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.wire import Event

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True)
class Passed:
    """The actor has done its part."""

    left: int


class Runner(Actor):
    """Hands something on to the next of its kind, in all the ways there are."""

    passes: int = 0

    @command
    def tell_on(self, left: int) -> None:
        self.emit(Passed(left))
        if left:
            self.tell(Runner.tell_on, str(left - 1), left - 1)

    @command
    async def ask_on(self, left: int) -> int:
        if left:
            await self.ask(Runner, f"asked {left - 1}").ask_on(left - 1)
        self.emit(Passed(left))
        return left

    @command
    def by_policy(self) -> None:
        self.emit(Passed(-1))

    @command
    def fail(self) -> None:
        raise ValueError("broken")

    @command
    def reject(self) -> None:
        raise Rejected("no")

    @command
    def do_nothing(self) -> None:
        """Emits nothing."""

    @command
    def tell_all(self) -> None:
        self.tell(Runner.fail, "failed")
        self.tell(Runner.reject, "rejected")
        self.tell(Runner.do_nothing, "idle")

    @query
    def who(self) -> list[str]:
        return shown(self.context)

    @event
    def passed(self, e: Passed) -> None:
        self.passes += 1


def shown(context: Context) -> list[str]:
    return [context.command_id, context.correlation_id, context.caller, context.traceparent]


@policy
def on_passed(event: Passed, context: PolicyContext[Runner]) -> None:
    if event.left < 0:
        context.tell(Runner.tell_on, "policy", 0)


MODEL = Model("runners", actors=[Runner], policies=[on_passed])
QUICK = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.02)


async def history(pool: LocalPool, key: str) -> list[Event]:
    """What the actor has stored, once that is anything."""
    async with asyncio.timeout(10):
        while True:
            found = [one async for one, _ in pool.client.untyped.history(ActorId("runner", key))]
            if found:
                return found
            await asyncio.sleep(0.005)


def ids(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(one.correlationid, one.causationid, one.traceparent) for one in events]


async def test_a_call_has_the_options_of_its_client() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(correlation_id="order 7", caller="shop", traceparent=PARENT)
        once = client.using(command_id="c-1", deadline_s=3)
        assert await once.actor(Runner, "a").who() == ["c-1", "order 7", "shop", PARENT]
        first, *others = await client.actor(Runner, "a").who()
        assert others == ["order 7", "shop", PARENT]
        assert first not in ("", "c-1")
        assert await client.actor(Runner, "a", command_id="c-2").who() == ["c-2", "order 7", "shop", PARENT]
        plain = await pool.client.actor(Runner, "a").who()
        assert plain[1:] == [plain[0], "", ""]


async def test_a_tell_has_the_options_of_its_client() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(correlation_id="order 7", caller="shop", traceparent=PARENT, command_id="c-1")
        receipt = await client.tell(Runner.tell_on, "a", 0)
        assert receipt.command_id == "c-1"
        [event] = await history(pool, "a")
        assert (event.commandid, *ids([event])[0]) == ("c-1", "order 7", "c-1", PARENT)
        plain = await pool.client.tell(Runner.tell_on, "b", 0)
        [event] = await history(pool, "b")
        assert (event.commandid, *ids([event])[0]) == (plain.command_id, plain.command_id, plain.command_id, "")


async def test_the_deadline_is_for_reads_too() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(deadline_s=0)
        with pytest.raises(InvalidCommand, match="deadline_s"):
            await client.state(Runner, "a")
        with pytest.raises(InvalidCommand, match="deadline_s"):
            await client.history(Runner, "a")
        with pytest.raises(InvalidCommand, match="deadline_s"):
            await client.actor(Runner, "a").who()
        with pytest.raises(InvalidCommand, match="deadline_s"):
            await client.tell(Runner.tell_on, "a", 0)
        assert (await client.state(Runner, "a", deadline_s=5)).version == 0


@pytest.mark.parametrize("option", ["command_id", "correlation_id"])
@pytest.mark.parametrize("text", ["", "x" * 129])
async def test_an_id_of_no_or_too_many_characters_is_refused(option: str, text: str) -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand, match=rf"{option}: an? (command )?id is 1-128 characters"):
            pool.client.using(**{option: text})  # type: ignore[arg-type]  # both are texts


@pytest.mark.parametrize("option", ["command_id", "correlation_id", "caller", "traceparent"])
@pytest.mark.parametrize("text", ["caf\udce9", 5])
async def test_what_is_no_text_is_refused_before_it_is_sent(option: str, text: object) -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand, match=rf"{option}: .* (is a text|lone surrogate)"):
            pool.client.using(**{option: text})  # type: ignore[arg-type]  # what is tried


@pytest.mark.parametrize(
    "text",
    [
        "trace",
        PARENT.upper(),
        f"{PARENT}\n",
        f"{PARENT}-",
        f"{PARENT}\r\nX-Correlation-Id: other",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "0" * 100_000,
    ],
)
async def test_a_trace_of_another_form_is_refused_before_it_is_sent(text: str) -> None:
    async with local_pool(MODEL) as pool:
        with pytest.raises(InvalidCommand, match=r"traceparent: a traceparent is like 00-.*, not .{,70}$"):
            pool.client.using(traceparent=text)


async def test_a_trace_can_be_taken_away() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(traceparent=PARENT).using(traceparent="")
        assert (await client.actor(Runner, "a").who())[3] == ""


async def test_a_caller_is_a_name_and_no_book() -> None:
    async with local_pool(MODEL) as pool:
        pool.client.using(caller="x" * 512)
        with pytest.raises(InvalidCommand, match=r"caller: .* is at most 512 characters, not 513"):
            pool.client.using(caller="x" * 513)


@pytest.mark.parametrize("taken", ["tell:7.0", "task:t1", "timer:s@2026", "retry:4"])
async def test_an_id_that_only_aether_makes_is_refused_however_it_is_given(taken: str) -> None:
    async with local_pool(MODEL) as pool:
        refused = pytest.raises(
            InvalidCommand, match=f"command_id: command ids that begin with '{taken.split(':', maxsplit=1)[0]}:'"
        )
        with refused:
            pool.client.using(command_id=taken)
        with refused:
            await pool.client.actor(Runner, "a", command_id=taken).who()
        with refused:
            await pool.client.untyped.call(ActorId("runner", "a"), "who", command_id=taken)
        with refused:
            await pool.client.untyped.tell(ActorId("runner", "a"), "who", command_id=taken)


async def test_tells_of_tells_belong_to_the_first_command() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(correlation_id="order 7", traceparent=PARENT, command_id="c-1")
        await client.actor(Runner, "start").tell_on(3)
        causes = ["c-1"]
        for key in ("start", "2", "1", "0"):
            [event] = await history(pool, key)
            assert ids([event]) == [("order 7", causes[-1], PARENT)]
            causes.append(event.commandid)
        assert len(set(causes[1:])) == 4


async def test_asks_of_asks_belong_to_the_first_command() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(correlation_id="order 7", traceparent=PARENT, command_id="c-1")
        await client.actor(Runner, "start").ask_on(2)
        cause = "c-1"
        for key in ("start", "asked 1", "asked 0"):
            [event] = await history(pool, key)
            assert ids([event]) == [("order 7", cause, PARENT)]
            cause = event.commandid


async def test_what_a_policy_tells_belongs_to_the_command() -> None:
    async with local_pool(MODEL) as pool:
        client = pool.client.using(correlation_id="order 7", traceparent=PARENT, command_id="c-1")
        await client.actor(Runner, "start").by_policy()
        assert ids(await history(pool, "policy")) == [("order 7", "c-1", PARENT)]


@pytest.mark.parametrize(
    ("key", "type_"), [("failed", "aether.DeadLettered"), ("rejected", "aether.Refused"), ("idle", "aether.Handled")]
)
async def test_a_tell_that_comes_to_nothing_belongs_to_the_command(key: str, type_: str) -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        client = pool.client.using(correlation_id="order 7", traceparent=PARENT, command_id="c-1")
        await client.actor(Runner, "start").tell_all()
        found = await history(pool, key)
        assert [one.type for one in found] == [type_]
        assert ids(found) == [("order 7", "c-1", PARENT)]

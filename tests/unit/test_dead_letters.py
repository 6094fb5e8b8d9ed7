"""Dead letters: found after every crash, sent again once, and dropped."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_config
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from aether import Actor, DeadLetter, InvalidCommand, Model, command, event, query
from aether.config import RuntimeConfig
from aether.dead_letters import DeadLetterRow, decode_row, encode_row, shorter
from aether.errors import ActorFailed, UnknownActor
from aether.ids import ActorId
from aether.memory.faults import Fault, FaultPoint, Faults, StoredUnknown
from aether.memory.server import PAYLOAD_BYTES_MAX
from aether.names import shard_of
from aether.runtime.dead_letter_rows import DeadLetterRows
from aether.tells import Tell, encode_tell
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from aether.waiting_tells import WaitingTells
from aether.wire import DEAD_LETTERED_EVENT, ErrorBody, instant

BROKEN: set[int] = set()


@dataclass(frozen=True, slots=True)
class Added:
    """So much more."""

    amount: int


class Jar(Actor):
    """What somebody has put aside."""

    total: int = 0

    @command
    def add(self, amount: int) -> int:
        if amount in BROKEN:
            raise ValueError("broken")
        self.emit(Added(amount))
        return self.total

    @command
    def pass_on(self, to: str, amount: int) -> None:
        self.tell(Jar.add, to, amount)

    @query
    def content(self) -> int:
        return self.total

    @event
    def added(self, e: Added) -> None:
        self.total += e.amount


class Lid(Actor):
    """Another kind."""

    @command
    def close(self) -> None:
        raise ValueError("broken")


MODEL = Model("jars", actors=[Jar, Lid])
QUICK = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.02)


@pytest.fixture(autouse=True)
def broken() -> None:
    BROKEN.clear()
    BROKEN.update((5, 6, 7))


async def dead(pool: LocalPool, count: int, kind: Any = None) -> list[DeadLetter]:
    async with asyncio.timeout(10):
        while len(found := [one async for one in pool.client.dead_letters(kind)]) != count:  # noqa: ASYNC110 - it progresses
            await asyncio.sleep(0.005)
    return found


async def failing(pool: LocalPool, failures: int) -> tuple[WaitingTells, int]:
    async with asyncio.timeout(10):
        while True:
            lines, left_out = await pool.client.untyped.waiting_tells()
            if lines and lines[0].failures >= failures:
                return lines[0], left_out
            await asyncio.sleep(0.005)


async def content(pool: LocalPool, key: str, wanted: int) -> None:
    async with asyncio.timeout(10):
        while await pool.client.actor(Jar, key).content() != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


async def given_up(pool: LocalPool, key: str) -> int:
    found = [one async for one, _ in pool.client.untyped.history(ActorId("jar", key))]
    return sum(one.type == DEAD_LETTERED_EVENT for one in found)


async def test_a_tell_that_was_given_up_is_listed_with_all_that_it_was() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.actor(Jar, "alice").pass_on("bob", 5)
        await dead(pool, 1)
        receipt = await pool.client.tell(Jar.add, "bob", 6)
        (first, second) = await dead(pool, 2)
        assert (first.actor_id, first.command, first.args) == (ActorId("jar", "bob"), "add", {"amount": 5})
        assert first.source == ActorId("jar", "alice")
        assert isinstance(first.error, ActorFailed)
        assert "broken" in first.error.message
        assert first.failures == 2
        assert not first.retrying
        assert (second.id, second.source, second.command_id) == (receipt.sequence, None, receipt.command_id)
        assert await pool.client.untyped.dead_letter(second.id) == second
        assert await given_up(pool, "bob") == 2


async def test_a_history_is_read_once_for_all_of_its_tells_whose_owner_has_not_said_that_they_are_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(self: DeadLetterRows, sequence: int, *, committed: bool) -> None:
        """As an owner that died before it could."""

    monkeypatch.setattr(DeadLetterRows, "over", silent)
    async with local_pool(MODEL, config=QUICK) as pool:
        ids = [(await pool.client.tell(Jar.add, key, 5)).sequence for key in ("bob", "alice") for _ in range(10)]
        async with asyncio.timeout(10):
            while await given_up(pool, "bob") + await given_up(pool, "alice") < 20:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        store, reads = pool.client.untyped._node.event_store, list[str]()
        read = store.read_batches

        def counted(actor_id: ActorId, *args: Any) -> Any:
            reads.append(actor_id.key)
            return read(actor_id, *args)

        monkeypatch.setattr(store, "read_batches", counted)
        assert [one.id async for one in pool.client.dead_letters()] == sorted(ids)
        assert sorted(reads) == ["alice", "bob"]


async def test_kinds_are_told_apart() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        await pool.client.tell(Lid.close, "bob")
        await dead(pool, 2)
        assert [one.command for one in await dead(pool, 1, Lid)] == ["close"]
        of_one = [one async for one in pool.client.untyped.dead_letters("jar", "bob")]
        assert [one.command for one in of_one] == ["add"]
        assert [one async for one in pool.client.untyped.dead_letters("jar", "alice")] == []
        with pytest.raises(InvalidCommand):
            await anext(pool.client.untyped.dead_letters("no kind!"))


STRANGE = [
    ('no"te', b'{"amount":1}', {"amount": 1}), ("a\\b", b"{}", {}), ("\0\n", b"{}", {}), ("", b"{}", {}),
    ("add", b'{"amount":1e400}', {}), ("add", b'{"amount":"\xff"}', {}), ("add", b'"text"', {}), ("add", b"[1]", {}),
    ("add", b'{"amount":' + b"[" * 900 + b"]" * 900 + b"}", None),
]  # fmt: skip


async def test_what_another_program_tells_leaves_the_history_and_the_list_readable() -> None:
    actor = ActorId("jar", "bob")
    shard = shard_of(actor, SHARDS)
    async with local_pool(MODEL, config=QUICK) as pool:
        inbox = pool.client.untyped._node.inbox
        for number, (name, args, _) in enumerate(STRANGE):
            tell = Tell(kind="jar", key="bob", command=name, args=Raw(args), id=f"strange {number}", source="none")
            await inbox.send(shard, encode_tell(tell), str(number))
        letters = await dead(pool, len(STRANGE))
        assert [(one.command, one.source) for one in letters] == [(name, None) for name, _, _ in STRANGE]
        for letter, (_, _, shown) in zip(letters, STRANGE, strict=True):
            assert shown is None or letter.args == shown
        await pool.client.tell(Jar.add, "bob", 1)
        await content(pool, "bob", 1)
        commits = pool.server.space(pool.namespace, SHARDS).commits
        stored = [event for one in commits if one.actor_id == actor for event in json.loads(one.payload)]
        given = [one["data"]["command"] for one in stored if one["type"] == DEAD_LETTERED_EVENT]
        assert given == [name for name, _, _ in STRANGE]


@pytest.mark.parametrize(
    "args", [b"", b"no json", b"[1]", b'"x"', b"null", b'{"a":', b'{"a":1}{"b":2}', b'{"a":"\xff"}']
)
async def test_what_is_no_object_of_json_is_told_to_no_actor(args: bytes) -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        with pytest.raises(InvalidCommand) as refused:
            await pool.client.untyped.tell(ActorId("jar", "bob"), "add", args)
        assert refused.value.path == "args"


async def test_a_tell_under_an_id_that_is_too_long_is_given_up_and_sent_again() -> None:
    actor = ActorId("jar", "bob")
    async with local_pool(MODEL, config=QUICK) as pool:
        tell = Tell(kind="jar", key="bob", command="add", args=Raw(b'{"amount":2}'), id="x" * 129)
        await pool.client.untyped._node.inbox.send(shard_of(actor, SHARDS), encode_tell(tell), "a")
        await pool.client.tell(Jar.add, "bob", 1)
        await content(pool, "bob", 1)
        (letter,) = await dead(pool, 1)
        assert isinstance(letter.error, InvalidCommand)
        await pool.client.retry_dead_letter(letter.id)
        await content(pool, "bob", 3)


@pytest.mark.parametrize("field", ["command", "id", "correlationid", "causationid", "traceparent", "caller"])
async def test_what_another_program_tells_is_over_in_the_end_however_long_its_texts_are(field: str) -> None:
    """They would be in the commit that gives it up, which has less room than a message of the inbox."""
    actor, long = ActorId("jar", "bob"), "x" * (PAYLOAD_BYTES_MAX - 300)
    async with local_pool(MODEL, config=QUICK) as pool:
        fields: dict[str, Any] = {"command": "add", "id": "a", field: long}
        tell = Tell(kind="jar", key="bob", args=Raw(b'{"amount":2}'), **fields)
        await pool.client.untyped._node.inbox.send(shard_of(actor, SHARDS), encode_tell(tell), "a")
        await pool.client.tell(Jar.add, "bob", 1)
        await content(pool, "bob", 1 if field in ("command", "id") else 3)
        assert await given_up(pool, "bob") == (1 if field in ("command", "id") else 0)


async def test_what_is_sent_again_is_run_once_though_two_ask_for_it() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        BROKEN.clear()
        receipts = await asyncio.gather(
            *(pool.client.retry_dead_letter(letter.id, by=f"operator {n}") for n in range(5)), return_exceptions=True
        )
        done = [one for one in receipts if not isinstance(one, BaseException)]
        assert {(one.actor_id, one.command_id) for one in done} == {(letter.actor_id, f"retry:{letter.id}")}
        assert len({one.sequence for one in done}) == 1
        assert all(isinstance(one, InvalidCommand) for one in receipts if one not in done)
        await content(pool, "bob", 6)
        assert await dead(pool, 0) == []
        with pytest.raises(InvalidCommand, match="sent again") as refused:
            await pool.client.retry_dead_letter(letter.id)
        assert refused.value.path == "id"
        events = [one async for one, _ in pool.client.untyped.history(ActorId("jar", "bob"))]
        (again,) = [one for one in events if one.type == "Added"]
        assert (again.commandid, again.correlationid) == (f"retry:{letter.id}", letter.correlation_id)
        assert again.causationid == letter.command_id
        assert again.idexpires is None, "it is known by its place"


async def test_the_name_of_an_operator_takes_its_room_from_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a large tell is as long as a message may be."""
    async with local_pool(MODEL, config=QUICK) as pool:
        for amount in (5, 6):
            await pool.client.tell(Jar.add, "bob", amount)
        (first, second) = await dead(pool, 2)
        inbox = pool.client.untyped._node.inbox
        found = await inbox.dead_letter(first.id)
        assert found is not None
        row = decode_row(found.payload)
        assert row is not None
        long = replace(row, error=ErrorBody("actor_failed", "e" * 2_000))
        assert await inbox.write_dead_letter(first.id, encode_row(long), found.sequence)
        write, most = inbox.write_dead_letter, len(encode_row(long))

        async def written(tell: int, payload: bytes, expected: int) -> int | None:
            if len(payload) > most:
                raise InvalidCommand("too large, for a test")
            return await write(tell, payload, expected)

        monkeypatch.setattr(inbox, "write_dead_letter", written)
        BROKEN.clear()
        await pool.client.retry_dead_letter(first.id, by="o" * 200)
        await content(pool, "bob", 5)
        most = 0
        with pytest.raises(InvalidCommand, match="too large"):
            await pool.client.retry_dead_letter(second.id, by="o" * 200)
        most = 600
        await pool.client.drop_dead_letter(second.id, by="o" * 200)
        assert await dead(pool, 0) == []


async def test_what_fails_again_is_another_dead_letter() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        receipt = await pool.client.retry_dead_letter(letter.id)
        async with asyncio.timeout(10):
            while [one.id for one in await dead(pool, 1)] != [receipt.sequence]:  # noqa: ASYNC110 - it progresses
                await asyncio.sleep(0.005)
        (other,) = await dead(pool, 1)
        assert other.command_id == f"retry:{letter.id}"
        BROKEN.clear()
        await pool.client.retry_dead_letter(other.id)
        await content(pool, "bob", 6)


async def test_what_is_dropped_is_gone_and_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aether.inbox")
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        await pool.client.drop_dead_letter(letter.id, by="eve")
        assert await dead(pool, 0) == []
        for again in (pool.client.drop_dead_letter, pool.client.retry_dead_letter):
            with pytest.raises(InvalidCommand, match="was dropped"):
                await again(letter.id)
        assert [(one.by, one.sequence) for one in caplog.records if "was dropped" in one.message] == [  # type: ignore[attr-defined]
            ("eve", letter.id)
        ]
        assert await given_up(pool, "bob") == 1


def losing(pool: LocalPool, lost: int) -> None:
    """The caller is not told that the nth thing that it stores is stored."""
    count = 0

    def decide(step: FaultPoint) -> Fault | None:
        nonlocal count
        count += step is FaultPoint.TELL
        return StoredUnknown() if step is FaultPoint.TELL and count == lost else None

    pool.client.untyped._node.inbox._link._faults = Faults(decide)  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_who_is_not_told_that_it_was_sent_again_hears_of_no_error(lost: int) -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        BROKEN.clear()
        losing(pool, lost)
        receipt = await pool.client.retry_dead_letter(letter.id, by="ada")
        assert (receipt.command_id, receipt.sequence > letter.id) == (f"retry:{letter.id}", True)
        await content(pool, "bob", 6)
        await dead(pool, 0)
        with pytest.raises(InvalidCommand, match="was sent again"):
            await pool.client.retry_dead_letter(letter.id, by="ada")


async def test_who_is_not_told_that_it_was_dropped_hears_of_no_error() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        losing(pool, 1)
        await pool.client.drop_dead_letter(letter.id, by="ada")
        await dead(pool, 0)
        for by in ("ada", "bea"):
            with pytest.raises(InvalidCommand, match="was dropped"):
                await pool.client.drop_dead_letter(letter.id, by=by)


async def test_what_is_no_dead_letter_is_refused() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        for id in (0, -1, 99, True, "1"):
            with pytest.raises(InvalidCommand) as refused:
                await pool.client.retry_dead_letter(id)  # type: ignore[arg-type]  # what is tested
            assert refused.value.path == "id"
        with pytest.raises(InvalidCommand) as too_long:
            await pool.client.drop_dead_letter(1, by="x" * 500)
        assert too_long.value.path == "by"


async def test_nothing_is_committed_before_the_row_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection has all handed over again, but for what waits for its row."""
    held: list[Callable[[], None]] = []
    monkeypatch.setattr(DeadLetterRows, "give_up", lambda *given: held.append(given[-1]))
    async with local_pool(MODEL, config=QUICK, workers=1) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        async with asyncio.timeout(10):
            while not held:  # noqa: ASYNC110 - it progresses
                await asyncio.sleep(0.005)
        for served in pool.workers[0].runtime._telling._serving.values():  # type: ignore[union-attr]
            served.inbox.connected()
        await pool.client.actor(Jar, "bob").content()
        assert await given_up(pool, "bob") == 0
        held[0]()
        async with asyncio.timeout(10):
            while not await given_up(pool, "bob"):  # noqa: ASYNC110 - it progresses
                await asyncio.sleep(0.005)


async def test_an_owner_that_lives_says_that_it_is_dead() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        inbox, row = pool.client.untyped._node.inbox, None
        async with asyncio.timeout(10):
            while row is None or row.state != "dead":
                found = await inbox.dead_letter(letter.id)
                assert found is not None
                row = decode_row(found.payload)
        assert row.failures == 2


async def test_a_dead_letter_says_one_time_however_late_its_owner_says_that_it_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late: list[Callable[[], None]] = []
    over = DeadLetterRows.over
    monkeypatch.setattr(
        DeadLetterRows,
        "over",
        lambda rows, sequence, *, committed: late.append(lambda: over(rows, sequence, committed=committed)),
    )
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        await pool.clock.advance(minutes=1)
        late[0]()
        inbox = pool.client.untyped._node.inbox
        async with asyncio.timeout(10):
            while decode_row((await inbox.dead_letter(letter.id)).payload).state != "dead":  # type: ignore[union-attr]
                pass
        assert await dead(pool, 1) == [letter]


async def test_a_row_comes_first_so_no_crash_hides_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner dies after its actor has committed, and before it could say so: the history says it."""
    monkeypatch.setattr(DeadLetterRows, "over", lambda *_, **__: None)
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        row = decode_row((await pool.client.untyped._node.inbox.dead_letter(letter.id)).payload)  # type: ignore[union-attr]
        assert row is not None
        assert row.state == "dying"
        await pool.crash(pool.worker_of(Jar, "bob"))
        assert await dead(pool, 1) == [letter]
        BROKEN.clear()
        await pool.client.retry_dead_letter(letter.id)
        await content(pool, "bob", 6)


async def test_a_tell_that_was_applied_after_all_is_no_dead_letter() -> None:
    """An owner wrote the row, and died; the next one had it applied."""
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "carol", 1)
        receipt = await pool.client.tell(Jar.add, "carol", 2)
        await content(pool, "carol", 3)
        tell = Tell(kind="jar", key="carol", command="add", id=receipt.command_id)
        row = DeadLetterRow(
            state="dying", sequence=receipt.sequence, tell=tell, failures=2, error=ErrorBody("x", "y"), at=instant(0.0)
        )
        inbox = pool.client.untyped._node.inbox
        assert await inbox.write_dead_letter(receipt.sequence, encode_row(row), 0)
        assert await inbox.write_dead_letter(receipt.sequence, encode_row(row), 0) is None
        assert await dead(pool, 0) == []
        with pytest.raises(InvalidCommand, match="applied after all"):
            await pool.client.retry_dead_letter(receipt.sequence)


async def test_a_row_of_a_tell_that_is_tried_yet_is_none() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        tell = Tell(kind="jar", key="nobody", command="add", id="x")
        row = DeadLetterRow(
            state="dying", sequence=77, tell=tell, failures=2, error=ErrorBody("x", "y"), at=instant(0.0)
        )
        await pool.client.untyped._node.inbox.write_dead_letter(77, encode_row(row), 0)
        assert await dead(pool, 0) == []
        with pytest.raises(InvalidCommand, match="not given up yet"):
            await pool.client.drop_dead_letter(77)


async def test_a_decision_that_was_half_carried_out_is_carried_out_by_the_next_one() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        (letter,) = await dead(pool, 1)
        inbox = pool.client.untyped._node.inbox
        send_again = inbox.send_again

        async def died(*_: object) -> int:
            raise KeyboardInterrupt

        inbox.send_again = died  # type: ignore[method-assign,assignment]
        with pytest.raises(KeyboardInterrupt):
            await pool.client.retry_dead_letter(letter.id, by="eve")
        inbox.send_again = send_again  # type: ignore[method-assign]
        assert [one.retrying for one in await dead(pool, 1)] == [True]
        with pytest.raises(InvalidCommand, match="being sent again"):
            await pool.client.drop_dead_letter(letter.id)
        BROKEN.clear()
        await pool.client.retry_dead_letter(letter.id)
        await content(pool, "bob", 6)
        assert await dead(pool, 0) == []


async def test_metrics_count_dead_letters_and_tells_that_wait() -> None:
    config = RuntimeConfig(tell_attempts_max=1)
    slow = RuntimeConfig(tell_attempts_max=50, tell_retry_first_s=30.0, tell_retry_max_s=30.0)
    async with local_pool(MODEL, config=config, workers=1) as pool:
        await pool.client.tell(Jar.add, "bob", 6)
        await dead(pool, 1)
        await pool.workers[0].runtime._telling._dead_count.read()  # type: ignore[union-attr]
        assert (await pool.client.metrics()).sum().value("aether_dead_letters") == 1
        (letter,) = await dead(pool, 1)
        await pool.client.drop_dead_letter(letter.id)
        await pool.workers[0].runtime._telling._dead_count.read()  # type: ignore[union-attr]
        assert (await pool.client.metrics()).sum().value("aether_dead_letters") == 0
    async with local_pool(MODEL, config=slow) as pool:
        first = await pool.client.tell(Jar.add, "bob", 6)
        await pool.client.tell(Jar.add, "bob", 7)
        line, left_out = await failing(pool, 1)
        assert (line.actor, line.count, line.first, line.command, line.failures) == (
            "jar/bob",
            2,
            first.sequence,
            "add",
            1,
        )
        assert line.error is not None
        assert "broken" in line.error.message
        assert line.member.startswith("local-")
        assert left_out == 0
        assert (await pool.client.metrics()).sum().value("aether_inbox_pending") == 2


async def test_a_tell_to_a_kind_that_no_worker_has_is_given_up() -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.untyped.tell(ActorId("vat", "x"), "fill")
        (letter,) = await dead(pool, 1)
        assert isinstance(letter.error, UnknownActor)
        assert letter.failures == 2
        lines, _ = await pool.client.untyped.waiting_tells()
        assert lines == []
        with pytest.raises(UnknownActor):
            await pool.workers[0].runtime.create_vm(ActorId("vat", "x"))


def without_add() -> Model:
    class Jar(Actor):
        total: int = 0

        @event
        def added(self, e: Added) -> None:
            self.total += e.amount

    return Model("jars", actors=[Jar])


@pytest.mark.parametrize("gone", [Model("jars", actors=[Lid]), without_add()], ids=["kind", "command"])
async def test_what_was_given_up_of_what_was_gone_is_sent_again_once_it_is_back(gone: Model) -> None:
    """Where the kind is gone its actors have events that no worker can read, and a snapshot, which is kept."""
    config = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=0.01, tell_retry_max_s=0.02)
    async with local_pool(MODEL, config=replace_config(config, snapshot_every_events=1), workers=1) as pool:
        await pool.client.actor(Jar, "bob").add(1)
        await pool.client.actor(Jar, "bob").add(2)
        snapshots = pool.server.space(pool.namespace, SHARDS).snapshots
        async with asyncio.timeout(10):
            while ActorId("jar", "bob") not in snapshots:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        pool.model = gone
        await pool.crash()
        before = snapshots[ActorId("jar", "bob")].now
        for amount in range(10, 40):
            await pool.client.untyped.tell(ActorId("jar", "bob"), "add", b'{"amount":%d}' % amount)
        letters = await dead(pool, 30)
        assert [one.args for one in letters] == [{"amount": amount} for amount in range(10, 40)]
        assert [one.failures for one in letters] == [3] + [1] * 29, "what is behind it is not waited for"
        assert "jar" in gone.actor_types or snapshots[ActorId("jar", "bob")].now == before
        pool.model = MODEL
        await pool.crash()
        await content(pool, "bob", 3)
        for one in letters:
            await pool.client.retry_dead_letter(one.id)
        await content(pool, "bob", 3 + sum(range(10, 40)))
        assert await dead(pool, 0) == []


def test_a_row_that_is_too_large_leaves_out_details_and_then_arguments() -> None:
    row = DeadLetterRow(
        state="dead", sequence=1, tell=Tell(kind="jar", key="bob", command="add"), failures=1,
        error=ErrorBody("x", "m" * 5000, {"much": "d" * 5000}), at=instant(0.0),
    )  # fmt: skip
    sizes = [len(one) for one in shorter(row)]
    assert sizes[0] > 10_000 > 1_000 > sizes[1]
    last = decode_row(list(shorter(row))[-1])
    assert last is not None
    assert last.args_left_out


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[" * 5000, b'{"state":"dead"}'])
def test_bytes_that_are_no_row_are_none(payload: bytes) -> None:
    assert decode_row(payload) is None

"""Starts of tasks over a connection by hand: what is asked of the server, and what is made of what it says."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.json import decode

from aether.errors import Unavailable
from aether.jetstream import tasks as tasks_module
from aether.jetstream.api import ApiRefused, Batch, Refusal, StoredMessage
from aether.jetstream.connection.headers import ERROR_STREAM_NOT_FOUND, STATUS
from aether.jetstream.connection.message import Message
from aether.jetstream.tasks import PULL_MAX, UNSENT_MAX, JetStreamTasks
from aether.names import Names, task_consumer
from aether.ports import Row, TaskBacklog, TaskClaim, TaskRow

NAMES = Names("ns", 4)
CLAIM = TaskClaim(7, b"x", 1, "$JS.ACK.token")


class Session:
    """One connection. `answer` says what comes back to each request."""

    def __init__(self) -> None:
        self.alive = True
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.published: list[tuple[str, bytes]] = []
        self.answer: Callable[[dict[str, Any]], None] = lambda _: None

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if not self.alive:
            raise Unavailable("no connection")
        self.published.append((subject, payload))
        if reply:
            self.answer(decode(payload))


class Connection:
    """Has one session, or none; `hear` hands over what the server sends to the worker's inbox."""

    def __init__(self) -> None:
        self.session: Session | None = Session()
        self.hear: Callable[[Any, Message], None] = lambda _, __: None
        self.connected: Callable[[Session | None], None] = lambda _: None
        self.subscribed = 0
        self.stopped = 0

    def listen(self, connected: Callable[[Session | None], None]) -> None:
        self.connected = connected

    async def subscribe(self, _inbox: str, hear: Callable[[Any, Message], None]) -> "Connection":
        self.subscribed += 1
        self.hear = hear
        return self

    async def stop(self) -> None:
        self.stopped += 1


class Side:
    """`Tasks` over them, opened for one task."""

    def __init__(self) -> None:
        self.connection = Connection()
        assert self.connection.session is not None
        self.session = self.connection.session
        connection: Any = self.connection
        self.tasks = JetStreamTasks(connection, NAMES)
        self.asked: list[dict[str, Any]] = []
        self.session.answer = self.asked.append

    def start(self, sequence: int, deliveries: int = 1) -> None:
        """A start comes."""
        reply = f"$JS.ACK.AETHER_ns_INBOX.task.{deliveries}.{sequence}.1.1.0"
        self.connection.hear(None, Message("aether.ns.task.charge", reply, b"start", None))

    def status(self, code: str, reply: str = "") -> None:
        """The server ends a request."""
        self.connection.hear(None, Message("_INBOX", reply, b"", None, {STATUS: code}))

    def answers(self, *answers: Callable[[], None]) -> None:
        """To each request one of these."""
        left = list(answers)

        def answer(request: dict[str, Any]) -> None:
            self.asked.append(request)
            left.pop(0)()

        self.session.answer = answer


@pytest.fixture
async def side(monkeypatch: pytest.MonkeyPatch) -> Side:
    made: list[dict[str, Any]] = []

    async def create(_connection: object, _subject: str, body: dict[str, Any]) -> None:
        made.append(body["config"])

    monkeypatch.setattr(tasks_module, "_consumer_create", create)
    side = Side()
    for _ in range(2):
        await side.tasks.open("charge", 15.0)
    assert side.connection.subscribed == 1
    assert made[0] == made[1]
    config = made[0]
    assert config["durable_name"] == config["name"]
    assert config["filter_subject"] == NAMES.task_starts("charge")
    assert (config["ack_wait"], config["max_deliver"], config["max_ack_pending"]) == (15_000_000_000, -1, -1)
    return side


async def test_it_asks_for_what_is_there_and_then_for_one(side: Side) -> None:
    side.answers(lambda: side.status("404"), lambda: side.start(9))
    claims = await side.tasks.take("charge", 1_000, 2.0)
    assert [(one.sequence, one.deliveries, one.payload) for one in claims] == [(9, 1, b"start")]
    assert side.asked == [{"batch": PULL_MAX, "no_wait": True}, {"batch": 1, "expires": 2_000_000_000}]


async def test_it_asks_for_no_more_than_is_wanted(side: Side) -> None:
    side.answers(lambda: side.status("404"), lambda: side.status("404"), lambda: side.status("408"))
    assert await side.tasks.take("charge", 3, 0.0) == []
    assert await side.tasks.take("charge", 1, 0.0) == []
    assert await side.tasks.take("charge", 1, 2.0) == []
    assert side.asked == [{"batch": 3, "no_wait": True}, {"batch": 1, "no_wait": True},
                          {"batch": 1, "expires": 2_000_000_000}]  # fmt: skip


async def test_a_request_is_over_when_all_have_come_or_the_server_says_so(side: Side) -> None:
    taking = asyncio.ensure_future(side.tasks.take("charge", 3, 0.0))
    for sequence in (1, 2):
        await asyncio.sleep(0)
        side.start(sequence)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not taking.done()
    side.start(3, deliveries=4)
    assert [(one.sequence, one.deliveries) for one in await taking] == [(1, 1), (2, 1), (3, 4)]
    taking = asyncio.ensure_future(side.tasks.take("charge", 3, 0.0))
    await asyncio.sleep(0)
    side.start(4)
    side.status("408", reply="another subject")
    assert [one.sequence for one in await taking] == [4]


async def test_what_came_unasked_is_given_out_before_anything_is_asked_for(side: Side) -> None:
    for sequence in (1, 2, 3):
        side.start(sequence)
    assert [one.sequence for one in await side.tasks.take("charge", 2, 2.0)] == [1, 2]
    assert side.asked == []
    assert [one.sequence for one in await side.tasks.leave("charge")] == [3]
    assert side.connection.stopped == 1
    assert await side.tasks.leave("charge") == []


async def leave(
    side: Side, wait_s: float, before: Callable[[], object] = lambda: None
) -> asyncio.Task[list[TaskClaim]]:
    """Leave while a request is under way, as far as that gets without an answer."""
    taking = asyncio.create_task(side.tasks.take("charge", 2 if wait_s == 0 else 1, wait_s))
    for _ in range(5):
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait((taking,))
    before()
    leaving = asyncio.create_task(side.tasks.leave("charge"))
    for _ in range(5):
        await asyncio.sleep(0)
    return leaving


async def test_who_leaves_hears_what_the_server_has_handed_out_to_it_first(side: Side) -> None:
    leaving = await leave(side, wait_s=0.0)
    assert side.connection.stopped < 1, "what is on its way comes to no worker"
    side.start(9)
    side.status("408")
    assert [one.sequence for one in await leaving] == [9]
    assert side.connection.stopped == 1


@pytest.mark.parametrize("end", ["the connection is lost", "no answer comes", "none can come", "it has come"])
async def test_who_leaves_waits_for_no_answer_that_does_not_come(
    side: Side, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "SETTLE_S", 0.0 if end == "no answer comes" else 60.0)
    before = (lambda: side.status("404")) if end == "it has come" else lambda: None
    leaving = await leave(side, 60.0 if end == "none can come" else 0.0, before)
    if end == "the connection is lost":
        side.session.ended.set_result(None)
    async with asyncio.timeout(10):
        assert await leaving == []
    assert side.connection.stopped == 1


@pytest.mark.parametrize(("code", "why"), [("503", "there is no such consumer"), ("409", "status 409")])
async def test_another_status_means_that_none_can_be_taken(side: Side, code: str, why: str) -> None:
    side.answers(lambda: side.status(code))
    with pytest.raises(Unavailable, match=why):
        await side.tasks.take("charge", 3, 0.0)


async def test_a_connection_that_is_lost_ends_a_request(side: Side) -> None:
    taking = asyncio.ensure_future(side.tasks.take("charge", 1, 60.0))
    await asyncio.sleep(0)
    side.session.alive = False
    side.session.ended.set_result(None)
    with pytest.raises(Unavailable, match="the connection was lost"):
        await taking


async def test_a_start_of_a_server_with_a_domain(side: Side) -> None:
    reply = "$JS.ACK.hub.hash.AETHER_ns_INBOX.task.2.9.1.1.0.x"
    side.connection.hear(None, Message("aether.ns.task.charge", reply, b"start", None))
    (one,) = await side.tasks.take("charge", 1, 2.0)
    assert (one.sequence, one.deliveries, one.token) == (9, 2, reply)


async def test_what_is_said_of_a_start(side: Side) -> None:
    side.tasks.keep(CLAIM)
    side.tasks.again(CLAIM, 1.5)
    side.tasks.again(CLAIM, 0.0)
    side.tasks.hurry("token")
    side.tasks.done(CLAIM)
    assert side.session.published == [
        (CLAIM.token, b"+WPI"), (CLAIM.token, b'-NAK {"delay": 1500000000}'), (CLAIM.token, b"-NAK"),
        ("token", b"-NAK"), (CLAIM.token, b"+ACK"),
    ]  # fmt: skip


@pytest.mark.parametrize("lost", [False, True], ids=["no connection", "a connection that is lost just now"])
async def test_what_cannot_be_said_now_is_said_once_to_the_next_connection(side: Side, lost: bool) -> None:
    if lost:
        side.session.alive = False
    else:
        side.connection.session = None
    side.tasks.keep(CLAIM)
    side.tasks.again(CLAIM, 0.0)
    side.tasks.done(CLAIM)
    for number in range(UNSENT_MAX + 10):
        side.tasks.done(CLAIM._replace(token=f"{number}"))
    session = side.connection.session = Session()
    for _ in range(2):
        side.connection.connected(None)
        side.connection.connected(session)
    assert session.published[:2] == [(CLAIM.token, b"+ACK"), ("0", b"+ACK")]
    assert len(session.published) == UNSENT_MAX


async def test_what_is_stored_is_read_to_its_end(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"$KV.{NAMES.tasks}.failed."
    asked: list[int] = []

    async def batch(_connection: object, _stream: str, _subject: str, sequence: int) -> Batch:
        asked.append(sequence)
        found = [
            StoredMessage(f"{prefix}t{n}", n, b"%d" % n, marker=False) for n in range(sequence, min(sequence + 2, 6))
        ]
        return Batch(found, last=found[-1].sequence, more=found[-1].sequence < 5)

    monkeypatch.setattr(tasks_module, "direct_batch", batch)
    assert await side.tasks.stored("charge") == [b"1", b"2", b"3", b"4", b"5"]
    assert await side.tasks.rows() == [TaskRow(f"t{n}", b"%d" % n) for n in range(1, 6)]
    assert asked == [1, 3, 5] * 2


async def test_the_backlog_is_in_the_order_of_names(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    async def consumers(_connection: object, _stream: str, body: dict[str, int]) -> Any:
        names = ["b", "a", "c"][body["offset"] :][:2]
        found = [SimpleNamespace(name=task_consumer(one), num_pending=1, num_ack_pending=2) for one in names]
        return SimpleNamespace(total=3, consumers=found)

    monkeypatch.setattr(tasks_module, "_consumer_list", consumers)
    assert await side.tasks.backlog() == [TaskBacklog(name, 1, 2) for name in "abc"]


async def test_what_is_written_down_is_kept_for_some_days_and_its_removal_for_a_minute(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[dict[str, str]] = []

    async def write(_connection: object, _subject: str, _payload: bytes, headers: dict[str, str]) -> int:
        heads.append(headers)
        return 1

    monkeypatch.setattr(tasks_module, "write", write)
    await side.tasks.write_row("t", b"x")
    await side.tasks.cancel("t", "actor")
    await side.tasks.end_cancelled("t", "actor")
    await side.tasks.drop_row("t")
    assert [one["Nats-TTL"] for one in heads] == ["604800s", "604800s", "600s", "60s"]


def test_a_cancellation_that_is_forgotten_has_no_reason() -> None:
    heard: list[tuple[str, str]] = []
    for value in (b"actor", None):
        tasks_module._hear_cancelled(lambda *row: heard.append(row), Row("t=2E1", value, 1))
    assert heard == [("t.1", "actor"), ("t.1", "")]


async def test_the_first_open_start_is_looked_for_over_all_pages(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = [NAMES.task_starts(one) for one in ("a", "b", "c")]
    total = 3

    async def info(_connection: object, _stream: str, body: dict[str, Any]) -> Any:
        page = dict.fromkeys(subjects[body["offset"] :][:2], 1)
        return SimpleNamespace(state=SimpleNamespace(subjects=page), total=total)

    async def following(_connection: object, _stream: str, subject: str, _sequence: int) -> StoredMessage:
        return StoredMessage(subject, 10 - subjects.index(subject), b"", marker=False)

    async def no_stream(_connection: object, _stream: str, _body: object) -> None:
        raise refused

    refused = ApiRefused(Refusal(404, ERROR_STREAM_NOT_FOUND), "the stream")
    monkeypatch.setattr(tasks_module, "stream_info", info)
    monkeypatch.setattr(tasks_module, "leader_next", following)
    monkeypatch.setattr(tasks_module, "_consumer_list", no_stream)
    assert await side.tasks.backlog() == []
    assert await side.tasks.first_open() == 8
    total = 4
    with pytest.raises(Unavailable, match="cannot be listed"):
        await side.tasks.first_open()

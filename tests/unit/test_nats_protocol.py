"""The protocol on a transport that is none: what it writes and when, what ends it, what it takes over."""

import asyncio
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.client import __version__ as nats_py_version
from nats.aio.transport import TcpTransport

import aether.jetstream.connection.protocol as protocol_module
from aether.errors import Unavailable
from aether.jetstream.connection.adopted_transport import (
    KNOWN_NATS_PY,
    AdoptedTransport,
    adopt_transport,
    is_known,
)
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.protocol import NatsProtocol, payload_bytes_believed

PAYLOAD_BYTES_MAX = 1024
NEVER_S = 3600.0
KNOWN = KNOWN_NATS_PY[-1] + ".0"
FALLBACK_LINE = "the connection uses nats-py's public methods, which are slower"


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.over = ""
        self.reading = True
        self.protocol: object = None

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def is_reading(self) -> bool:
        return self.reading

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return bool(self.over)

    def write(self, data: bytes) -> None:
        assert not self.over
        self.written.append(data)

    def close(self) -> None:
        self.over = self.over or "closed"

    def abort(self) -> None:
        self.over = self.over or "aborted"

    @property
    def transport(self) -> "Wire":
        return self


class Rig:
    """A protocol, its wire, and why it ended."""

    def __init__(self, ping_interval_s: float = NEVER_S) -> None:
        self.wire = Wire()
        self.reasons: list[str] = []
        self.forbidden: list[str] = []
        transport = cast("asyncio.Transport", self.wire)
        self.protocol = NatsProtocol(
            transport, PAYLOAD_BYTES_MAX, ping_interval_s, self.reasons.append, self.forbidden.append
        )


async def turn() -> None:
    """Let the event loop take what was called soon."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_one_write_for_a_turn_of_the_loop() -> None:
    rig = Rig()
    rig.protocol.publish("a", "", b"", b"1")
    rig.protocol.publish("b", "r", b"", b"")
    assert rig.wire.written == []
    await turn()
    assert rig.wire.written == [b"PUB a  1\r\n1\r\nPUB b r 0\r\n\r\n"]


async def test_it_begins_with_what_was_read_before() -> None:
    rig = Rig()
    rig.wire.reading = False
    rig.protocol.begin(b"PING\r\nPI")
    assert rig.wire.protocol is rig.protocol
    assert rig.wire.reading
    rig.protocol.data_received(b"NG\r\n")
    await turn()
    assert rig.wire.written == [b"PONG\r\nPONG\r\n"]


async def test_nothing_is_written_while_the_socket_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "UNSENT_BYTES_MAX", 100)
    rig = Rig()
    rig.protocol.publish("a", "", b"", b"1")
    rig.protocol.pause_writing()
    rig.protocol.publish("a", "", b"", b"2")
    await turn()
    assert rig.wire.written == []
    rig.protocol.resume_writing()
    assert rig.wire.written == [b"PUB a  1\r\n1\r\nPUB a  1\r\n2\r\n"]
    for _ in range(3):  # what was written counts no more
        rig.protocol.pause_writing()
        rig.protocol.publish("a", "", b"", b"x" * 60)
        rig.protocol.resume_writing()
    rig.protocol.pause_writing()
    rig.protocol.publish("a", "", b"", b"x" * 60)
    assert rig.protocol.alive
    with pytest.raises(Unavailable, match="takes nothing"):
        rig.protocol.publish("a", "", b"", b"x" * 60)
    assert (rig.reasons, rig.wire.over) == (["the server takes nothing"], "aborted")


async def test_what_was_unsent_before_the_pause_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "UNSENT_BYTES_MAX", 100)
    rig = Rig()
    rig.protocol.publish("a", "", b"", b"x" * 90)
    rig.protocol.pause_writing()
    with pytest.raises(Unavailable):
        rig.protocol.publish("a", "", b"", b"")


async def test_answers_to_pings_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "UNSENT_BYTES_MAX", 100)
    rig = Rig()
    rig.protocol.pause_writing()
    rig.protocol.data_received(b"PING\r\n" * 17)
    assert rig.reasons == ["the server takes nothing"]


async def test_a_server_that_does_not_answer_pings() -> None:
    rig = Rig()
    # Any sign of life counts: a PONG may wait behind what the server was asked for before.
    for sign_of_life in (b"PONG\r\n", b"MSG a 1 10\r\nonly a par"):
        rig.protocol._ping()
        rig.protocol._ping()
        assert rig.reasons == []
        rig.protocol.data_received(sign_of_life)
    rig.protocol._ping()
    rig.protocol._ping()
    assert rig.reasons == []
    rig.protocol._ping()
    assert rig.reasons == ["the server does not answer"]


async def test_pings_come_by_themselves() -> None:
    rig = Rig(ping_interval_s=0.001)
    while not rig.reasons:
        await turn()
    assert b"".join(rig.wire.written) == b"PING\r\nPING\r\n"


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (b"HELLO\r\n", "the server sent what is not the NATS protocol: unknown frame 'HELLO'"),
        (b"-ERR 'Stale Connection'\r\n", "the server says: Stale Connection"),
        (b"-ERR 'Authorization Violation'\r\n", "the server says: Authorization Violation"),
        (b"-ERR 'User Authentication Expired'\r\n", "the server says: User Authentication Expired"),
    ],
)
async def test_what_ends_it(received: bytes, reason: str) -> None:
    rig = Rig()
    heard: list[bytes] = []
    sid = rig.protocol.subscribe("a", "", lambda message: heard.append(message.data))
    message = b"MSG a %b 1\r\nx\r\n" % sid.encode()
    rig.protocol.data_received(message + received + message)
    rig.protocol.data_received(message)
    rig.protocol.connection_lost(None)
    assert (heard, rig.reasons, rig.wire.over) == ([b"x"], [reason], "aborted")
    await turn()
    assert rig.wire.written == []
    assert rig.protocol.closed.done()
    with pytest.raises(Unavailable):
        rig.protocol.publish("a", "", b"", b"")


async def test_what_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.protocol.data_received(
        b"-ERR 'Permissions Violation for Publish to \"no\"'\r\n+OK\r\nINFO {}\r\nMSG a 99 1\r\nx\r\n"
    )
    assert rig.protocol.alive
    assert "reports an error" in caplog.text


async def test_a_message_that_the_server_dropped_is_named_and_the_line_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    for subject in (b"$KV.T.a", b"$KV.T.a", b"aether.x.evt.1.account.a=20b"):
        rig.protocol.data_received(b"-ERR 'Permissions Violation for Publish to \"%b\"'\r\n" % subject)
    rig.protocol.data_received(b"-ERR 'Permissions Violation for Subscription to \"s\"'\r\n")
    assert rig.forbidden == ["$KV.T.a", "$KV.T.a", "aether.x.evt.1.account.a=20b"]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 3, "the same error is told once"


async def test_no_message_after_a_receiver_has_ended_it() -> None:
    rig = Rig()
    heard: list[bytes] = []

    def receive(message: Message) -> None:
        heard.append(message.data)
        rig.protocol.close()

    sid = rig.protocol.subscribe("a", "", receive)
    rig.protocol.data_received(b"MSG a %b 1\r\nx\r\n" % sid.encode() * 2)
    assert (heard, rig.wire.over) == ([b"x"], "closed")


async def test_the_other_side_closes() -> None:
    for end, reason in ((None, "the connection was closed"), (OSError("reset"), "the connection broke: reset")):
        rig = Rig()
        rig.protocol.connection_lost(end)
        assert rig.reasons == [reason]
    rig = Rig()
    rig.protocol.eof_received()
    assert rig.reasons == ["the server closed the connection"]


async def test_an_answer_with_a_stored_message_is_believed() -> None:
    rig = Rig()
    heard: list[int] = []
    sid = rig.protocol.subscribe("a", "", lambda message: heard.append(len(message.data)))
    most = payload_bytes_believed(PAYLOAD_BYTES_MAX)
    assert most > PAYLOAD_BYTES_MAX * 4 / 3 + 4096
    rig.protocol.data_received(b"MSG a %b %d\r\n%b\r\n" % (sid.encode(), most, b"x" * most))
    assert (heard, rig.protocol.alive) == ([most], True)


async def taken_from(
    client: Client, *, eof: bool = False, closing: bool = False, version: str = KNOWN
) -> tuple[AdoptedTransport | None, Wire]:
    """Have a client with a wire of its own taken over."""
    wire, reader = Wire(), asyncio.StreamReader()
    reader.feed_data(b"ING\r\n")
    if eof:
        reader.feed_eof()
    if closing:
        wire.close()
    transport = TcpTransport()  # type: ignore[no-untyped-call]  # nats-py does not annotate it
    transport._io_reader, transport._io_writer = reader, cast("asyncio.StreamWriter", wire)
    client._transport = transport
    client._ps.buf = bytearray(b"P")
    loop = asyncio.get_running_loop()
    for name in ("_reading_task", "_ping_interval_task", "_flusher_task"):
        setattr(client, name, loop.create_task(asyncio.sleep(NEVER_S)))
    return adopt_transport(client, version), wire


async def test_a_transport_is_taken_with_the_bytes_that_nats_py_has_not_parsed() -> None:
    client = Client()
    taken, wire = await taken_from(client)
    assert taken == AdoptedTransport(cast("asyncio.Transport", wire), b"PING\r\n")
    tasks = (client._reading_task, client._ping_interval_task, client._flusher_task)
    await turn()
    assert all(task is not None and task.cancelled() for task in tasks)


@pytest.mark.parametrize(("eof", "closing"), [(True, False), (False, True)])
async def test_a_connection_that_is_over_is_not_taken(eof: bool, closing: bool) -> None:
    with pytest.raises(ConnectionError):
        await taken_from(Client(), eof=eof, closing=closing)


def test_the_installed_nats_py_is_known_to_work() -> None:
    assert KNOWN_NATS_PY == ("2.16",)
    assert is_known(nats_py_version), (
        f"nats-py {nats_py_version} is used by its public methods, which are slower. Add it to KNOWN_NATS_PY "
        "when tests/unit/test_nats_protocol.py and tests/integration/test_protocol_and_fallback.py pass on it"
    )


@pytest.mark.parametrize("version", ["2.16.0", "2.16.7", "2.16.0rc1"])
def test_any_patch_of_a_known_release_is_known(version: str) -> None:
    assert is_known(version)


@pytest.mark.parametrize("version", ["2.17.0", "3.0.0", "2.1.6", "2.160.0", "2.15.9", "", "?"])
async def test_an_unknown_nats_py_keeps_its_transport_and_that_is_said_once(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    clients = [Client(), Client()]
    for client in clients:
        taken, _ = await taken_from(client, version=version)
        assert taken is None
        await turn()
        assert client._reading_task is not None
        assert not client._reading_task.cancelled()
    (line,) = [record for record in caplog.records if record.message == FALLBACK_LINE]
    assert line.levelname == "WARNING"
    assert f"nats-py {version} is not one of the known releases: 2.16" in line.__dict__["reason"]


@pytest.mark.parametrize("missing", ["_ps", "_flusher_task", "_transport"])
async def test_a_changed_nats_py_keeps_its_transport_and_that_is_said_once(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    class OtherClient(Client):
        def __getattribute__(self, name: str) -> object:
            if name == missing and self.changed:
                raise AttributeError(name)
            return super().__getattribute__(name)

        changed = False

    client = OtherClient()
    await taken_from(client)
    reading = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    client._reading_task, client.changed = reading, True
    assert adopt_transport(client, KNOWN) is None
    assert adopt_transport(client, KNOWN) is None
    await reading
    assert not reading.cancelled()
    (line,) = [record for record in caplog.records if record.message == FALLBACK_LINE]
    assert missing in line.__dict__["reason"]


async def test_another_transport_is_not_taken() -> None:
    assert adopt_transport(Client()) is None

"""A watch that begins waits for as many rows as there are, and no longer than something comes."""

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from aether.errors import Unavailable
from aether.jetstream import watch as watch_room
from aether.jetstream.connection.message import Message
from aether.jetstream.watch import Watch, WatchConfig
from aether.ports import Row

ROWS = 5


class Connection:
    """Sends a row each time that is waited for one."""

    session = None

    def __init__(self) -> None:
        self.sent = 0
        self.silent_after = ROWS
        self._hear: Callable[[Any, Message], None] = lambda _, __: None

    def listen(self, _connected: object) -> Callable[[], None]:
        return lambda: None

    async def subscribe(self, _inbox: str, hear: Callable[[Any, Message], None]) -> "Connection":
        self._hear = hear
        return self

    async def stop(self) -> None:
        self._hear = lambda _, __: None

    async def first_of(self, *waits: Coroutine[Any, Any, Any], timeout_s: float) -> None:
        assert timeout_s > 0
        for one in waits:
            one.close()
        if self.sent < self.silent_after:
            self.sent += 1
            reply = f"$JS.ACK.S.C.1.{self.sent}.{self.sent}.0.{ROWS - self.sent}"
            self._hear(None, Message(f"rows.{self.sent}", reply, b"x", None))


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    connection = Connection()

    async def create(_connection: object, _subject: str, _body: object) -> Any:
        return SimpleNamespace(delivered=SimpleNamespace(consumer_seq=0), num_pending=ROWS)

    monkeypatch.setattr(watch_room, "_consumer_create", create)
    monkeypatch.setattr(watch_room, "first_of", connection.first_of)
    return connection


def watch(connection: Any, rows: list[Row]) -> Watch:
    return Watch(connection, "S", "rows.", rows.append, lambda: None, WatchConfig())


async def test_rows_are_waited_for_as_long_as_some_come(connection: Connection) -> None:
    rows: list[Row] = []
    watching = watch(connection, rows)
    await watching.start()
    assert [row.revision for row in rows] == [1, 2, 3, 4, 5]
    await watching.stop()


async def test_when_none_come_any_more_it_has_failed(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.silent_after = 2
    patiences = [1.0, 1.0, 1.0, 0.0]
    monkeypatch.setattr(Watch, "_patience_s", lambda self: patiences.pop(0))
    rows: list[Row] = []
    with pytest.raises(Unavailable, match="did not arrive"):
        await watch(connection, rows).start()
    assert (rows, patiences) == ([], [])

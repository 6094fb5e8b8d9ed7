"""The embedded server with the real program: boot, durability, and every way in which it refuses."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aether.errors import ConfigError, Unavailable
from aether.system import embedded
from aether.system.embedded import EmbeddedConfig, EmbeddedServer, find_program, respawn, shut_down, start
from aether.system.environment import nats_url, recorded_url
from aether.system.nats_probe import NotAnswering, probe
from aether.system.process import spawn, stop, wait_exit
from tests.support.nats_server import free_port as any_free_port


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / 'a "quoted" name'


@pytest.fixture(name="free_port")
def port_of_the_test() -> int:
    return any_free_port()


@pytest.fixture
def server(directory: Path, free_port: int) -> Iterator[EmbeddedServer]:
    running = start(EmbeddedConfig(data_dir=directory, port=free_port))
    yield running
    shut_down(running)


class Wire:
    """One plain connection that can ask JetStream."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._stream = self._socket.makefile("rwb")
        assert self._stream.readline().startswith(b"INFO")
        self._stream.write(b'CONNECT {"verbose":false}\r\nSUB answer 1\r\n')

    def ask(self, subject: str, body: bytes = b"") -> bytes:
        self._stream.write(b"PUB %s answer %d\r\n%s\r\n" % (subject.encode(), len(body), body))
        self._stream.flush()
        while not self._stream.readline().startswith(b"MSG"):
            pass
        return self._stream.readline()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def store_a_message(port: int) -> None:
    wire = Wire(port)
    wire.ask("$JS.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s"],"storage":"file"}')
    assert b'"seq":1' in wire.ask("s", b"kept")
    wire.close()


def stored_messages(port: int) -> bytes:
    wire = Wire(port)
    answer = wire.ask("$JS.API.STREAM.INFO.S")
    wire.close()
    return answer


def test_it_answers_on_loopback_and_says_where(server: EmbeddedServer, directory: Path, free_port: int) -> None:
    assert probe("127.0.0.1", free_port, 20).name == server.name
    assert recorded_url(directory) == server.url == f"nats://127.0.0.1:{free_port}"
    assert nats_url({}, directory) == server.url
    assert nats_url({"AETHER_NATS_URL": "nats://other"}, directory) == "nats://other"
    assert "sync_interval: always" in (directory / embedded.CONFIG_FILE).read_text()


def test_what_was_acknowledged_is_there_after_a_restart_and_after_a_kill(directory: Path) -> None:
    first = start(EmbeddedConfig(data_dir=directory))
    store_a_message(first.port)
    os.kill(first.pid, signal.SIGKILL)
    assert wait_exit(first.pid, 20) == -signal.SIGKILL
    second = respawn(first)
    shut_down(second)
    third = start(EmbeddedConfig(data_dir=directory))
    try:
        assert third.port == first.port, "clients find it where it was"
        assert b'"messages":1' in stored_messages(third.port)
    finally:
        shut_down(third)


def test_a_second_start_on_the_same_directory_is_refused(server: EmbeddedServer, directory: Path) -> None:
    with pytest.raises(ConfigError, match=f"runs in .* already: join it with --nats {server.url}") as refused:
        start(EmbeddedConfig(data_dir=directory, lock_wait_s=0.0))
    assert refused.value.setting == "data_dir"


def test_the_server_holds_the_lock_when_its_launcher_has_let_go(server: EmbeddedServer, directory: Path) -> None:
    os.close(server.lock_fd)
    try:
        with pytest.raises(ConfigError, match="already"):
            start(EmbeddedConfig(data_dir=directory, lock_wait_s=0.0))
    finally:
        assert os.open(os.devnull, os.O_RDONLY) == server.lock_fd  # what the fixture closes


def test_a_port_in_use_is_named(directory: Path, free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(ConfigError, match=f"port {free_port} is taken") as refused:
            start(EmbeddedConfig(data_dir=directory, port=free_port))
    assert refused.value.setting == "port"


def test_a_recorded_port_in_use_gives_way_to_a_free_one(directory: Path, free_port: int) -> None:
    directory.mkdir()
    (directory / "nats.url").write_text(f"nats://127.0.0.1:{free_port}\n")
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        running = start(EmbeddedConfig(data_dir=directory))
        shut_down(running)
    assert running.port != free_port
    assert recorded_url(directory) == running.url


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data directory .*file/below cannot be made") as refused:
        start(EmbeddedConfig(data_dir=tmp_path / "file" / "below"))
    assert refused.value.setting == "data_dir"


def test_a_data_directory_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigError, match="data directory /proc/sys"):
        start(EmbeddedConfig(data_dir=Path("/proc/sys")))


def test_a_server_that_dies_at_boot_shows_the_end_of_its_log(directory: Path, free_port: int) -> None:
    directory.mkdir()
    (directory / "jetstream").write_text("a file where the store should be")
    with pytest.raises(Unavailable, match=r"ended with 1 while starting:(?s:.*)storage directory"):
        start(EmbeddedConfig(data_dir=directory, port=free_port))
    assert start_after_repair(directory, free_port)


def start_after_repair(directory: Path, port: int) -> bool:
    (directory / "jetstream").unlink()
    return shut_down(start(EmbeddedConfig(data_dir=directory, port=port, lock_wait_s=0.0))) == 0


def test_a_missing_program_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "PACKAGE", "no-such-package")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"aether-actors\[embedded\]") as refused:
        start(EmbeddedConfig(data_dir=tmp_path))
    assert refused.value.setting == "nats"


def test_the_program_on_the_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packaged = find_program()
    monkeypatch.setattr(embedded, "PACKAGE", "no-such-package")
    (tmp_path / "nats-server").symlink_to(packaged)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == packaged


def test_where_no_server_or_another_protocol_answers_the_probe_says_so(free_port: int) -> None:
    with pytest.raises(NotAnswering, match="refused"):
        probe("127.0.0.1", free_port, 1)
    pid = spawn([sys.executable, "-c", NOT_NATS, str(free_port)])
    try:
        wait_until_it_listens(free_port)
        with pytest.raises(NotAnswering, match="not a nats-server"):
            probe("127.0.0.1", free_port, 20)
    finally:
        stop(pid, 20)


def wait_until_it_listens(port: int) -> None:
    give_up_s = time.monotonic() + 20
    while time.monotonic() < give_up_s:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port)).close()
    raise AssertionError(f"nobody listens on port {port}")


NOT_NATS = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    client.sendall(b"HTTP/1.1 400 Bad Request\\r\\n")
    client.close()
"""

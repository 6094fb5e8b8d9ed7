"""A real pool with NOTIFY_SOCKET set, as systemd starts it: what arrives on a socket, from whom, in which order."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

DEADLINE_S = 30.0
WATCHDOG_USEC = 200_000
MODEL = """
from aether import Actor, Model, query


class Door(Actor):
    open: bool = False

    @query
    def is_open(self) -> bool:
        return self.open


model = Model("doors", actors=[Door])
"""


@dataclass(frozen=True, slots=True)
class Said:
    """One datagram: its assignments and the process that sent it."""

    values: dict[str, str]
    pid: int

    @property
    def about(self) -> str:
        """The word that systemd acts on."""
        return next(iter(self.values))


class Notified:
    """The socket that systemd would have."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.heard: list[Said] = []

    def next(self) -> Said:
        """The next datagram, whatever it says."""
        readable, _, _ = select.select([self._socket], [], [], DEADLINE_S)
        assert readable, f"nothing more after {[said.about for said in self.heard]}"
        text, ancillary, _, _ = self._socket.recvmsg(4_096, socket.CMSG_SPACE(struct.calcsize("3i")))
        (_, _, credentials), *_ = ancillary
        values = dict(line.partition("=")[::2] for line in text.decode().splitlines())
        self.heard.append(Said(values, struct.unpack("3i", credentials)[0]))
        return self.heard[-1]

    def next_change(self) -> Said:
        """The next that is neither the watchdog's nor only a status for people."""
        while (said := self.next()).about in ("WATCHDOG", "STATUS"):
            pass
        return said

    def watchdogs(self, count: int) -> None:
        """Wait for `count` datagrams, which are all the watchdog's."""
        assert {self.next().about for _ in range(count)} == {"WATCHDOG"}

    def has_more(self) -> bool:
        """Whether a datagram has come that was not read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool under a service manager's eyes."""

    process: subprocess.Popen[bytes]
    notified: Notified
    model: Path


Starts = Callable[..., Pool]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Starts]:
    """Starts pools of two workers on a server of their own; what a failed test leaves is ended."""
    with ExitStack() as stack:

        def start(address: str, **variables: str) -> Pool:
            notified = Notified(address)
            stack.callback(notified.close)
            model = tmp_path / "doors.py"
            model.write_text(MODEL)
            command = [sys.executable, "-P", "-m", "aether.supervisor", "doors:model", "--workers=2", "--nats=embedded",
                       "--data-dir=data"]  # fmt: skip
            environment = {**os.environ, "NOTIFY_SOCKET": address, "PYTHONDONTWRITEBYTECODE": "1", **variables}
            process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, env=environment))
            stack.callback(process.kill)
            return Pool(process, notified, model)

        yield start


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@aether-test-{os.getpid()}"


def test_a_life_with_a_reload_as_systemd_hears_of_it(started: Starts, address: str) -> None:
    pool = started(address, WATCHDOG_USEC=str(WATCHDOG_USEC))
    notified = pool.notified
    ready = notified.next_change()
    assert ready.values == {"READY": "1", "STATUS": "2 workers ready"}
    notified.watchdogs(5)

    before_us = time.monotonic_ns() // 1_000
    pool.process.send_signal(signal.SIGHUP)
    reloading = notified.next_change()
    assert reloading.values.keys() == {"RELOADING", "MONOTONIC_USEC", "STATUS"}
    assert reloading.values["RELOADING"] == "1"
    assert before_us <= int(reloading.values["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1_000
    assert notified.next_change().values == ready.values
    notified.watchdogs(2)  # the fresh interpreter pings on

    pool.process.send_signal(signal.SIGTERM)
    assert notified.next_change().values == {"STOPPING": "1", "STATUS": "draining"}
    assert pool.process.wait(DEADLINE_S) == 0
    assert {said.pid for said in notified.heard} == {pool.process.pid}, "NotifyAccess=main hears the supervisor only"


def test_a_reload_that_is_called_off_is_ready_again(started: Starts, tmp_path: Path) -> None:
    pool = started(str(tmp_path / "notify"))
    assert pool.notified.next_change().about == "READY"
    pool.model.write_text("import there_is_no_such_module\n")
    pool.process.send_signal(signal.SIGHUP)
    assert pool.notified.next_change().about == "RELOADING"
    again = pool.notified.next_change()
    assert again.values == {"READY": "1", "STATUS": "2 workers ready; the last reload was called off"}
    pool.process.send_signal(signal.SIGTERM)
    assert pool.notified.next_change().about == "STOPPING"
    assert pool.process.wait(DEADLINE_S) == 0


def test_no_process_pings_a_watchdog_that_is_off_or_anothers(started: Starts, tmp_path: Path) -> None:
    pool = started(str(tmp_path / "notify"), WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    pool.notified.next_change()
    pool.process.send_signal(signal.SIGTERM)
    assert pool.process.wait(DEADLINE_S) == 0
    pool.notified.next_change()
    assert [said.about for said in pool.notified.heard if said.about != "STATUS"] == ["READY", "STOPPING"]
    assert not pool.notified.has_more()


def test_a_pool_that_cannot_work_is_never_ready(started: Starts, tmp_path: Path) -> None:
    pool = started(str(tmp_path / "notify"), AETHER_MAILBOX_MAX="many")
    assert pool.process.wait(DEADLINE_S) == 4
    assert not pool.notified.has_more()

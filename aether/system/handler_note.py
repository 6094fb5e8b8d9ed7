"""Which handlers a worker is running at this instant, noted where its supervisor finds it when the worker has died.

The note is memory that both share: what was written stays when the process is killed at any instruction, and no disk
can be full or slow. It has a page for the worker's event loop, and one for each thread that runs blocking handlers. The
one writer of a page is its thread; what is noted is on that thread's stack, not merely open. Writing costs a fraction
of a microsecond, because it happens for every command.

Behind the pages is room for the stacks that `faulthandler` writes when the process crashes: they say which thread did.
"""

import faulthandler
import mmap
import os
import re
import struct
import threading
import time
from typing import Any, Final

from aether.ids import COMMAND_ID_CHARS_MAX, ActorId
from aether.worker_protocol import Noted, NotedHandler

_PAGE_BYTES: Final = 4_096
_TEXT_BYTES: Final = 4_064
_IDENT: Final = struct.Struct("<Q")
"""At the end of each page: the identity of its thread."""

_NOTE: Final = struct.Struct("<Qd")
"""Behind that of the loop's page: the number of pages, and when other threads than the loop's ran last."""

_NOTE_AT: Final = _TEXT_BYTES + 8
_STACKS_MAX_BYTES: Final = 256 * 1024
_CRASHED: Final = re.compile(rb"^Current thread 0x([0-9a-f]+)", re.MULTILINE)

_RUNS: Final = "\2"
_RUNS_BYTE: Final = 2
"""Begins the note of a handler that is on the stack; 0 is there when none is."""

_RAN_BYTE: Final = 1
"""The same of a worker of an earlier version, whose supervisor is this one: without the correlation id."""

_LENGTHS: Final = "".join(map(chr, range(256)))
"""A character for each length: keys and ids of commands are shorter."""

OTHERS_RAN_WITHIN_S: Final = 1.0
"""A loop that hangs does so by itself when other threads have run so lately; else something holds up all threads."""


def make_note() -> int:
    """A descriptor of an empty note, for a worker to be forked; not inherited by programs that are executed."""
    fd = os.memfd_create("aether-handler-note", os.MFD_CLOEXEC)
    os.ftruncate(fd, _PAGE_BYTES)
    return fd


class Page:
    """`ports.HandlerNote` of one thread."""

    __slots__ = ("_page",)

    def __init__(self, page: Any) -> None:
        self._page = page

    def begin(self, actor_id: ActorId, command: str, command_id: str, correlation_id: str) -> None:
        """A handler of this command begins or goes on; without a command it is the actor's replay."""
        kind, key, length = actor_id.kind, actor_id.key, _LENGTHS
        if len(correlation_id) > COMMAND_ID_CHARS_MAX:  # of a program without our client
            correlation_id = ""
        # The lengths as characters: to write them as numbers would take longer than all the rest.
        lengths = f"{length[len(key)]}{length[len(command_id)]}{length[len(correlation_id)]}"
        text = f"{_RUNS}{kind} {command} {lengths}{key}{command_id}{correlation_id}".encode()
        self._page[0 : len(text)] = text

    def end(self) -> None:
        """No handler is on the stack any more."""
        self._page[0] = 0

    def last(self) -> tuple[NotedHandler | None, bool]:
        """The handler that was on the stack last, and whether it still is; for other threads."""
        content = bytes(self._page[0:_TEXT_BYTES])
        return _read(content), content[0] == _RUNS_BYTE


class WorkerNote:
    """The note of a worker with so many threads for blocking handlers; made on the thread of its event loop.

    `loop` is that thread's page. The descriptor stays open: the interpreter writes the stacks of a crash to it.
    """

    def __init__(self, fd: int, threads: int) -> None:
        self._fd = fd
        self._pages = 1 + threads
        os.ftruncate(fd, self._pages * _PAGE_BYTES)
        self._map = mmap.mmap(fd, self._pages * _PAGE_BYTES)
        self._of_thread: dict[int, Page] = {}
        self._lock = threading.Lock()
        self.loop = Page(self._map)
        _IDENT.pack_into(self._map, _TEXT_BYTES, threading.get_ident())
        _NOTE.pack_into(self._map, _NOTE_AT, self._pages, 0.0)

    def take_stacks(self) -> None:
        """Have the interpreter write the stacks here when this process crashes: its supervisor shows them."""
        os.lseek(self._fd, self._pages * _PAGE_BYTES, os.SEEK_SET)
        faulthandler.enable(self._fd)

    def of_thread(self) -> Page | None:
        """The page of the calling thread; None when there are more threads than the note was made for."""
        ident = threading.get_ident()
        page = self._of_thread.get(ident)
        if page is None:
            with self._lock:
                number = 1 + len(self._of_thread)
                if number >= self._pages:
                    return None
                view = memoryview(self._map)[number * _PAGE_BYTES : (number + 1) * _PAGE_BYTES]
                _IDENT.pack_into(view, _TEXT_BYTES, ident)
                page = self._of_thread[ident] = Page(view)
        return page

    def others_run(self) -> None:
        """Other threads than the loop's get to run."""
        _NOTE.pack_into(self._map, _NOTE_AT, self._pages, time.monotonic())

    def leave(self) -> None:
        """The worker ends by itself: whatever its threads still run has not ended it."""
        _NOTE.pack_into(self._map, _NOTE_AT, 0, 0.0)


def read_note(fd: int, now_s: float) -> Noted:
    """What a worker was running when it died, at this time of `time.monotonic`."""
    first = os.pread(fd, _PAGE_BYTES, 0)
    pages, others_ran_s = _NOTE.unpack_from(first, _NOTE_AT)
    content = os.pread(fd, pages * _PAGE_BYTES, 0)
    running: dict[int, NotedHandler] = {}
    for at in range(0, len(content), _PAGE_BYTES):
        handler = _read(content[at : at + _TEXT_BYTES]) if content[at] in (_RAN_BYTE, _RUNS_BYTE) else None
        if handler is not None:
            running[_IDENT.unpack_from(content, at + _TEXT_BYTES)[0]] = handler
    stacks = os.pread(fd, _STACKS_MAX_BYTES, pages * _PAGE_BYTES) if pages else b""
    crashed = _CRASHED.search(stacks)
    crash, hang = dict(running), dict(running)
    if crashed is not None:
        crash = {ident: handler for ident, handler in running.items() if ident == int(crashed[1], 16)}
    if now_s - others_ran_s < OTHERS_RAN_WITHIN_S:
        loop_ident = _IDENT.unpack_from(first, _TEXT_BYTES)[0]
        hang = {ident: handler for ident, handler in running.items() if ident == loop_ident}
    return Noted(
        active=tuple(running.values()),
        crash=tuple(crash.values()),
        hang=tuple(hang.values()),
        stacks=stacks.decode(errors="replace"),
    )


def _read(content: bytes) -> NotedHandler | None:
    parts = content[1:].decode(errors="replace").split(" ", 2)
    count = 2 if content[0] == _RAN_BYTE else 3
    if len(parts) < 3 or len(parts[2]) < count:
        return None
    kind, command, names = parts
    key_ends = count + ord(names[0])
    id_ends = key_ends + ord(names[1])
    ends = id_ends + ord(names[2]) if count == 3 else id_ends
    return NotedHandler(
        kind=kind,
        key=names[count:key_ends],
        command=command,
        command_id=names[key_ends:id_ends],
        correlation_id=names[id_ends:ends],
    )

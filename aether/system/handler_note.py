"""Which handler a worker is running at this instant, noted where its supervisor finds it when the worker has died.

The note is a page of memory that both share: what was written stays when the process is killed at any instruction, and
no disk can be full or slow. One writer, the worker's event loop; what it notes is on the loop's stack, not merely open.
Writing costs a fraction of a microsecond, because it happens for every command.
"""

import mmap
import os

from aether.config import NotedHandler
from aether.ids import ActorId

_BYTES = 4_096


def make_note() -> int:
    """A descriptor of an empty note, for a worker to be forked; not inherited by programs that are executed."""
    fd = os.memfd_create("aether-handler-note", os.MFD_CLOEXEC)
    os.ftruncate(fd, _BYTES)
    return fd


class HandlerNote:
    """`ports.HandlerNote` in the note of this descriptor. It needs the descriptor no longer."""

    __slots__ = ("_page",)

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, _BYTES)

    def begin(self, actor_id: ActorId, command: str, command_id: str) -> None:
        """A handler of this command begins or goes on; without a command it is the actor's replay."""
        kind, key = actor_id.kind, actor_id.key
        # The lengths as characters: to write them as numbers would take longer than all the rest.
        text = f"\1{kind} {command} {chr(len(key))}{chr(len(command_id))}{key}{command_id}".encode()
        self._page[0 : len(text)] = text

    def end(self) -> None:
        """No handler is on the stack any more."""
        self._page[0] = 0

    def last(self) -> tuple[NotedHandler | None, bool]:
        """The handler that was on the stack last, and whether it still is; for other threads."""
        content = self._page[:]
        return _read(content), content[:1] == b"\1"


def read_note(fd: int) -> NotedHandler | None:
    """What a worker was running when it died; None for nothing."""
    content = os.pread(fd, _BYTES, 0)
    return _read(content) if content[:1] == b"\1" else None


def _read(content: bytes) -> NotedHandler | None:
    parts = content[1:].decode(errors="replace").split(" ", 2)
    if len(parts) < 3 or len(parts[2]) < 2:
        return None
    kind, command, names = parts
    key_ends = 2 + ord(names[0])
    id_ends = key_ends + ord(names[1])
    return NotedHandler(kind=kind, key=names[2:key_ends], command=command, command_id=names[key_ends:id_ends])

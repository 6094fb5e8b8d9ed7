"""The supervisor's ends of the pipes to its workers, and the notes that it finds when one has died."""

import os
import time
from dataclasses import dataclass, field

from aether.system.handler_note import read_note
from aether.worker_protocol import NOTHING_NOTED, Noted

READ_BYTES = 4_096


@dataclass(slots=True)
class WorkerPipes:
    """The status pipes and the notes by worker, and the pipe that ends with the supervisor."""

    parent_read_fd: int
    parent_write_fd: int
    status: dict[int, int] = field(default_factory=dict)
    notes: dict[int, int] = field(default_factory=dict)

    def read_status(self, pid: int) -> bytes:
        """What a worker wrote since; at end-of-file its pipe is closed, so that waiting does not spin on it."""
        if pid not in self.status:
            return b""
        said = read_now(self.status[pid])
        if said == b"":
            os.close(self.status.pop(pid))
        return said or b""

    def noted(self, pid: int) -> Noted:
        """What a worker was running."""
        return read_note(self.notes[pid], time.monotonic()) if pid in self.notes else NOTHING_NOTED

    def forget(self, pid: int) -> None:
        """Close what is open of a worker that has ended."""
        for fd in (self.status.pop(pid, None), self.notes.pop(pid, None)):
            if fd is not None:
                os.close(fd)


def read_now(fd: int) -> bytes | None:
    """What is in a pipe: None for nothing now, no bytes at its end."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None

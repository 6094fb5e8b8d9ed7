"""Whether a sync has failed in any worker of a pool: memory that they share, as it is made before they are forked.

The kernel may tell one process alone that a sync has failed, and the next one of another process succeeds: ext4 does so
when it cannot write its journal. So who makes syncs looks here before a sync counts.
"""

import mmap
import os
import weakref


class SharedFailure:
    """A mark that is never taken back. Made before a fork, it is the same in all processes.

    A program that is executed in the place of this one makes it the same again from its descriptor.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _made() if fd is None else fd
        self._page = mmap.mmap(self.fd, 1)
        weakref.finalize(self, os.close, self.fd)

    @property
    def happened(self) -> bool:
        """Whether it is set."""
        return self._page[0] != 0

    def set(self) -> None:
        """A sync has failed. Idempotent."""
        self._page[0] = 1


def _made() -> int:
    fd = os.memfd_create("aether-sync-failure")
    os.ftruncate(fd, 1)
    return fd

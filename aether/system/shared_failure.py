"""Whether a sync has failed in any worker of a pool: memory that they share, as it is made before they are forked.

The kernel may tell one process alone that a sync has failed, and the next one of another process succeeds: ext4 does so
when it cannot write its journal. So who makes syncs looks here before a sync counts.
"""

import mmap


class SharedFailure:
    """A mark that is never taken back. Made before a fork, it is the same in all processes."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 1)

    @property
    def happened(self) -> bool:
        """Whether it is set."""
        return self._page[0] != 0

    def set(self) -> None:
        """A sync has failed. Idempotent."""
        self._page[0] = 1

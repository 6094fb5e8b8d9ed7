"""What a member holds at this instant: the shards whose leases name its session, and until when that session lasts.

It is asked before every turn, every commit and every answer, so it is small, and compiled in wheels. The session writes
`until_s`, the ownership writes `shards`; nothing else does.
"""


class Holding:
    """One member's holding. Times count like `CLOCK_BOOTTIME`, in seconds."""

    __slots__ = ("_over", "shards", "until_s")

    def __init__(self) -> None:
        self.shards: set[int] = set()
        self.until_s = 0.0
        self._over = False

    def valid(self, shard: int, boot_s: float) -> bool:
        """Whether the member holds the shard at this instant."""
        return boot_s < self.until_s and shard in self.shards and not self._over

    def end(self) -> None:
        """Nothing is held from now on, whatever the table says of the session afterwards."""
        self._over = True

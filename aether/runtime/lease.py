"""The lease of a runtime that is alone."""

from aether.wire import STORED_FORMAT


class AlwaysValid:
    """The lease of a runtime that shares its shards with no other."""

    stored_format = STORED_FORMAT

    def valid(self, shard: int, boot_s: float) -> bool:
        """Always."""
        return True

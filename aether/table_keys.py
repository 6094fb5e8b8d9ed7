"""The keys of the table's rows: members, leases of shards, actors that are not to be activated, and who syncs."""

from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.names import decode_token, encode_token

MEMBER_PREFIX = "member."
"""Rows of the table whose keys start so are workers."""

HALTED_PREFIX = "halted."
LEASE_PREFIX = "lease."
"""Rows of the table whose keys start so say who holds a shard."""


SYNCED_BY_KEY = "synced-by"
"""The table's row that says who makes durable what the server acknowledges, also when no worker is there."""

SYNCED_BY_SERVER = b"server"
SYNCED_BY_WORKERS = b"workers"


def member_name(node: str, slot: int) -> str:
    """A worker's name among the members."""
    return f"{encode_token(node)}-{slot}"


def member_key(node: str, slot: int) -> str:
    """A worker's row in the table bucket."""
    return member_row_key(member_name(node, slot))


def member_row_key(member: str) -> str:
    """A member's row in the table bucket."""
    return MEMBER_PREFIX + member


def member_of_row_key(key: str) -> str | None:
    """The member whose row has this key, or None for any other row."""
    return key.removeprefix(MEMBER_PREFIX) if key.startswith(MEMBER_PREFIX) else None


def halted_key(actor_id: ActorId) -> str:
    """The table's row of an actor that is not to be activated."""
    return f"{HALTED_PREFIX}{actor_id.kind}.{encode_token(actor_id.key)}"


def actor_of_halted_key(key: str) -> ActorId | None:
    """The actor of such a row; None for any other row."""
    kind, _, token = key.removeprefix(HALTED_PREFIX).partition(".")
    if not key.startswith(HALTED_PREFIX):
        return None
    try:
        return ActorId(kind, decode_token(token))
    except InvalidCommand:
        return None


def lease_key(shard: int) -> str:
    """A shard's lease row in the table bucket."""
    return f"{LEASE_PREFIX}{shard}"


def shard_of_lease_key(key: str) -> int | None:
    """The shard whose lease row has this key, or None for any other row."""
    number = key.removeprefix(LEASE_PREFIX)
    return int(number) if key.startswith(LEASE_PREFIX) and number.isdecimal() else None

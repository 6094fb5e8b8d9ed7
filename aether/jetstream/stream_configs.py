"""How the streams and buckets of a namespace are created: every setting that a create names. Pure.

`stream_settings` says what of that is needed of a stream that exists, and what can be changed later; `provisioning`
creates them.
"""

from typing import Any

from aether.names import LAYOUT_VERSION, METADATA_LAYOUT, METADATA_SHARDS, STORED_PREFIX, Names

MARKER_TTL_S = 60
"""How long the marker of a removed row stays in the table; a watch that was away longer compares the whole table."""

DUPLICATE_WINDOW_S = 120
"""For so long a client may send a tell again: the server stores one id once."""

_NANOSECONDS = 1_000_000_000


def configs(names: Names, replicas: int, inbox_begins: int = 0) -> list[dict[str, Any]]:
    """How the streams and buckets of a namespace are created, in this order.

    `inbox_begins` is the first sequence of the stream of tells, 0 for the server's own.
    """
    buckets = (names.table, names.snapshots, names.checkpoints, names.tasks)
    made = [bucket_config(bucket, replicas, expiring=bucket in (names.table, names.tasks)) for bucket in buckets]
    inbox = {**inbox_config(names, replicas), **({"first_seq": inbox_begins} if inbox_begins else {})}
    streams = [inbox, timers_config(names, replicas), stream_config(names, replicas)]
    return [*made, *streams]


def stream_config(names: Names, replicas: int) -> dict[str, Any]:
    """The stream of a namespace's commits, none of which may ever be discarded.

    Earlier versions made it with more subjects and with message schedules, which does no harm.
    """
    return {
        **_unlimited(names.stream, names.stream_subjects(), replicas),
        "discard": "old",
        "max_msgs_per_subject": -1,
        "allow_atomic": True,
        "republish": {
            "src": f"aether.{names.namespace}.>",
            "dest": f"{STORED_PREFIX}aether.{names.namespace}.>",
        },
        "metadata": {METADATA_SHARDS: str(names.shards), METADATA_LAYOUT: LAYOUT_VERSION},
    }


def inbox_config(names: Names, replicas: int) -> dict[str, Any]:
    """The stream of a namespace's tells. Nothing in it replaces another message, and nothing is removed
    but its beginning.

    Schedules and times to live are allowed for what is to come: they cannot be turned off again, but on they can only
    be by an update, which no worker makes.
    """
    return {
        **_unlimited(names.inbox, [names.tells_all], replicas),
        "discard": "old",
        "max_msgs_per_subject": -1,
        "duplicate_window": DUPLICATE_WINDOW_S * _NANOSECONDS,
        "allow_atomic": True,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
    }


def timers_config(names: Names, replicas: int) -> dict[str, Any]:
    """The stream of a namespace's timers. The server takes a schedule out of it when its tick is due."""
    return {
        **_unlimited(names.timers, names.timers_subjects(), replicas),
        "discard": "old",
        "max_msgs_per_subject": -1,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "republish": {"src": names.fired_all(), "dest": names.told(names.fired_all())},
    }


def bucket_config(bucket: str, replicas: int, *, expiring: bool) -> dict[str, Any]:
    """A KV bucket as every NATS client knows it (ADR-8); an `expiring` one has rows with a time to live (ADR-48)."""
    return {
        **_unlimited(f"KV_{bucket}", [f"$KV.{bucket}.>"], replicas),
        "discard": "new",
        "deny_delete": True,
        "max_msgs_per_subject": 1,
        **({"allow_msg_ttl": True, "subject_delete_marker_ttl": MARKER_TTL_S * _NANOSECONDS} if expiring else {}),
    }


def _unlimited(name: str, subjects: list[str], replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }

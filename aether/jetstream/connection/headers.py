"""The NATS header names, statuses and error codes that this package reads or writes, and nothing else.

From ADR-8 (KV), ADR-31 (direct get), ADR-43 (message TTL), ADR-48 (KV TTL), ADR-50 (atomic batch) and the server's
`errors.json`.
"""

from collections.abc import Mapping
from typing import Final

STATUS = "Status"
DESCRIPTION = "Description"
STATUS_HEARTBEAT = "100"
STATUS_END_OF_BATCH = "204"
STATUS_NOT_FOUND = "404"
STATUS_TIMEOUT = "408"
STATUS_NO_RESPONDERS = "503"

EXPECTED_LAST_ON_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
MESSAGE_TTL = "Nats-TTL"
ROLLUP = "Nats-Rollup"
ROLLUP_SUBJECT = "sub"
SCHEDULE = "Nats-Schedule"
SCHEDULE_TARGET = "Nats-Schedule-Target"
SEQUENCE = "Nats-Sequence"
SUBJECT = "Nats-Subject"
PENDING = "Nats-Num-Pending"
LAST_CONSUMER = "Nats-Last-Consumer"
MARKER_REASON = "Nats-Marker-Reason"
KV_OPERATION = "KV-Operation"
KV_DELETE = "DEL"

_BATCH = f"NATS/1.0\r\n{BATCH_ID}: ".encode()
_EXPECTED_ELSEWHERE = f"NATS/1.0\r\n{EXPECTED_LAST_ON_SUBJECT}: %d\r\n{EXPECTED_SUBJECT}: %b\r\n\r\n".encode()
_BATCH_END = f"{BATCH_COMMIT}: 1\r\n\r\n".encode()

ERROR_ACCOUNT_RESOURCES_EXCEEDED = 10002
ERROR_INSUFFICIENT_RESOURCES = 10023
ERROR_MESSAGE_EXCEEDS_MAXIMUM = 10054
ERROR_STORE_FAILED = 10077
ERROR_HEADER_EXCEEDS_MAXIMUM = 10097
ERROR_STREAM_SEALED = 10109
ERROR_STREAM_OFFLINE = 10118
ERROR_NO_LIMITS = 10120
ERROR_MESSAGE_TTL_DISABLED = 10166
ERROR_ATOMIC_PUBLISH_DISABLED = 10174
ERROR_STREAM_OFFLINE_REASON = 10194
ERROR_CLUSTER_NOT_READY = 10008
ERROR_REPLICAS_NOT_SUPPORTED = 10074
ERROR_NO_SUITABLE_PEERS = 10005
ERROR_MESSAGE_NOT_FOUND = 10037
ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT = 10039
ERROR_JETSTREAM_NOT_ENABLED = 10076
ERROR_STREAM_EXISTS_OTHERWISE = 10058
ERROR_STREAM_NOT_FOUND = 10059
ERROR_STREAM_SUBJECT_OVERLAP = 10065
ERROR_WRONG_LAST_SEQUENCE = 10071


def encode_head(headers: Mapping[str, str]) -> bytes:
    """Headers as a block (ADR-4). A line break within would be another header: `ValueError`."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    block = "\r\n".join(["NATS/1.0", *lines, "", ""])
    if block.count("\n") != len(lines) + 2 or block.count("\r") != len(lines) + 2:
        raise ValueError("a header holds a line break")
    return block.encode()


def expected_head(sequence: int) -> bytes:
    """The one header of a commit."""
    return f"NATS/1.0\r\n{EXPECTED_LAST_ON_SUBJECT}: {sequence}\r\n\r\n".encode()


def expected_elsewhere_head(sequence: int, subject: bytes) -> bytes:
    """The headers of a message that is stored if another subject's last sequence is the expected one."""
    return _EXPECTED_ELSEWHERE % (sequence, subject)


def batch_head(batch_id: bytes, number: int, sequence: int, *, last: bool) -> bytes:
    """The headers of a commit that is the `number`th of an atomic batch (ADR-50)."""
    rest = f"\r\n{BATCH_SEQUENCE}: {number}\r\n{EXPECTED_LAST_ON_SUBJECT}: {sequence}\r\n".encode()
    return b"".join([_BATCH, batch_id, rest, _BATCH_END if last else b"\r\n"])


def is_marker(headers: Mapping[str, str] | None) -> bool:
    """Whether a KV message says that its key has no value: deleted, purged or expired."""
    return headers is not None and (KV_OPERATION in headers or MARKER_REASON in headers)

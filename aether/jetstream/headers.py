"""The NATS header names, statuses and error codes this room reads or writes, and nothing else.

From ADR-8 (KV), ADR-31 (direct get), ADR-43 (message TTL), ADR-48 (KV TTL), ADR-50 (atomic batch) and the server's
`errors.json`.
"""

from collections.abc import Mapping

STATUS = "Status"
DESCRIPTION = "Description"
STATUS_HEARTBEAT = "100"
STATUS_END_OF_BATCH = "204"
STATUS_NOT_FOUND = "404"
STATUS_NO_RESPONDERS = "503"

EXPECTED_LAST_ON_SUBJECT = "Nats-Expected-Last-Subject-Sequence"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"
MESSAGE_TTL = "Nats-TTL"
SEQUENCE = "Nats-Sequence"
SUBJECT = "Nats-Subject"
PENDING = "Nats-Num-Pending"
LAST_CONSUMER = "Nats-Last-Consumer"
MARKER_REASON = "Nats-Marker-Reason"
KV_OPERATION = "KV-Operation"
KV_DELETE = "DEL"

ERROR_CLUSTER_NOT_READY = 10008
ERROR_REPLICAS_NOT_SUPPORTED = 10074
ERROR_NO_SUITABLE_PEERS = 10005
ERROR_MESSAGE_NOT_FOUND = 10037
ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT = 10039
ERROR_JETSTREAM_NOT_ENABLED = 10076
ERROR_STREAM_EXISTS_OTHERWISE = 10058
ERROR_STREAM_NOT_FOUND = 10059
ERROR_WRONG_LAST_SEQUENCE = 10071


def headers_bytes(headers: Mapping[str, str] | None) -> int:
    """Bytes that headers take on the wire; the server counts them against its largest payload."""
    if not headers:
        return 0
    return 12 + sum(len(name) + len(value) + 4 for name, value in headers.items())


def is_marker(headers: Mapping[str, str] | None) -> bool:
    """Whether a KV message says that its key has no value: deleted, purged or expired."""
    return headers is not None and (KV_OPERATION in headers or MARKER_REASON in headers)

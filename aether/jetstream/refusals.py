"""What the server's refusal of a write proves: that nothing was stored, or nothing at all.

Read out of nats-server's source (2.15: `processJetStreamMsg`, `processClusteredInboundMsg`). An error counts as proof
when the server answers it before it stores or proposes the message, on one server as on replicas. What replicas answer
after the proposal (10063), what may be the doing of another write (10071, 10164) and what passes by itself (10163) is
no proof. A disk that fails under the server is not answered at all. Stateless.
"""

from typing import Protocol

from aether.jetstream.connection.headers import (
    ERROR_ACCOUNT_RESOURCES_EXCEEDED,
    ERROR_ATOMIC_PUBLISH_DISABLED,
    ERROR_HEADER_EXCEEDS_MAXIMUM,
    ERROR_INSUFFICIENT_RESOURCES,
    ERROR_MESSAGE_EXCEEDS_MAXIMUM,
    ERROR_MESSAGE_TTL_DISABLED,
    ERROR_NO_LIMITS,
    ERROR_STORE_FAILED,
    ERROR_STREAM_SEALED,
)
from aether.jetstream.connection.pending_replies import NoReply

PROOF = frozenset(
    {
        ERROR_ACCOUNT_RESOURCES_EXCEEDED,
        ERROR_ATOMIC_PUBLISH_DISABLED,
        ERROR_HEADER_EXCEEDS_MAXIMUM,
        ERROR_INSUFFICIENT_RESOURCES,
        ERROR_MESSAGE_EXCEEDS_MAXIMUM,
        ERROR_MESSAGE_TTL_DISABLED,
        ERROR_NO_LIMITS,
        ERROR_STORE_FAILED,
        ERROR_STREAM_SEALED,
    }
)
STORE_CLOSED = "store is closed"
"""The one failure of a store that may be this replica's alone: another one may have stored the message."""

UNANSWERED = {
    NoReply.NO_RESPONDERS: "no stream takes it: JetStream is off, or the stream or bucket was deleted or has no leader",
    NoReply.FORBIDDEN: "the server does not permit to publish there",
}
"""What proves that a message reached no stream, though no stream has answered."""


class Said(Protocol):
    """The `error` of an acknowledgement."""

    @property
    def err_code(self) -> int: ...  # noqa: D102 - a field
    @property
    def description(self) -> str: ...  # noqa: D102 - a field


def proves_not_stored(err_code: int, description: str) -> bool:
    """Whether a write that was answered with this error has certainly stored nothing."""
    return err_code in PROOF and not (err_code == ERROR_STORE_FAILED and STORE_CLOSED in description)


def shown(said: Said) -> str:
    """The server's words and its number for them."""
    return f"{said.description} ({said.err_code})"

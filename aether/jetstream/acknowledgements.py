"""What the acknowledgement of a message that was published to a stream, or its absence, means.

Three outcomes: stored, not stored and the server says why (`NotStored`, or None for another last sequence), and not
known (`Unavailable`).
"""

from msgspec import DecodeError

from aether.errors import Unavailable
from aether.jetstream.api import Acknowledgement, ApiRefused, decode_acknowledgement
from aether.jetstream.connection.headers import ERROR_WRONG_LAST_SEQUENCE
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.refusals import UNANSWERED, proves_not_stored, shown
from aether.ports import NotStored


def written(reply: Reply, subject: str) -> int | None:
    """The sequence of the message; None when the expected one was another.

    Raises `NotStored`, `Unavailable`.
    """
    found = acknowledged(reply, subject)
    return None if found is None else found.seq


def acknowledged(reply: Reply, subject: str) -> Acknowledgement | None:
    """`written`, and what else it says."""
    if isinstance(reply, NoReply):
        if reply in UNANSWERED:
            raise NotStored(f"{UNANSWERED[reply]}: {subject}")
        raise Unavailable(f"{reply.value}: {subject}")
    try:
        answer = decode_acknowledgement(reply.data)
    except DecodeError as error:
        raise Unavailable(f"the acknowledgement of {subject} cannot be read: {error}") from None
    refusal = answer.error
    if refusal is None:
        if answer.seq <= 0:
            raise Unavailable(f"no sequence was acknowledged: {subject}")
        return answer
    if refusal.err_code == ERROR_WRONG_LAST_SEQUENCE:
        return None
    if proves_not_stored(refusal.err_code, refusal.description):
        raise NotStored(f"{shown(refusal)}: {subject}", err_code=refusal.err_code)
    raise ApiRefused(refusal, subject)

"""The members, as one ordered reading of the table gives them, and which sessions are certainly over.

A member's life is its session: from the row that it created to the end of that row, by deletion, by expiry or by
another process that took the row over. The session's number is the revision of its first row, so sessions of one
member are ordered and none comes back. A lease names its holder's session and ends with it.

A reading may leave out older states of a row, so "not seen" is not "gone": a session is over only when a later row of
the same member was read, or when a complete reading that reached further than the session's start had no row of it.
The idea is Chubby's (Burrows, 2006): locks belong to sessions, and the server says when a session is over.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder


class MemberRow(Struct, frozen=True, kw_only=True):
    """What a member says of itself. `beat` counts its writes; `session` 0 is the first row of a session.

    - `incarnation`: unique to the process. `claim`: what its supervisor has locked, so that a process that holds the
      same claim now knows that this process is dead; empty where nothing could be locked.
    - `active`: it wants shards; a member that drains does not.
    - `reads`: the newest format of stored events that it reads (`aether.wire.STORED_FORMAT`).
    - `durability`: what makes its commits durable; empty where the server's acknowledgement is the promise, else what
      it does itself, and on which boot of which machine. All members of a namespace do the same.
    - `about`: for people: host, pid, model and more.
    """

    node: str
    slot: int
    incarnation: str
    session: int = 0
    beat: int = 0
    claim: str = ""
    active: bool = True
    reads: int = 0
    durability: str = ""
    about: dict[str, Any] = {}


class Holder(NamedTuple):
    """A member in one of its sessions."""

    member: str
    session: int


class LeaseRow(Struct, frozen=True, kw_only=True):
    """The holder of a shard: a member and its session; without a member the shard was released."""

    holder: str = ""
    session: int = 0
    incarnation: str = ""


RowT = TypeVar("RowT")

_encoder = Encoder()
_member_rows = Decoder(MemberRow)
_lease_rows = Decoder(LeaseRow)


def encode_member(row: MemberRow) -> bytes:
    """The row as JSON."""
    return _encoder.encode(row)


def decode_member(value: bytes | None) -> MemberRow | None:
    """The row, or None for one that is gone or that is none of ours."""
    return None if value is None else _decoded(_member_rows, value)


def encode_lease(row: LeaseRow) -> bytes:
    """The row as JSON."""
    return _encoder.encode(row)


def decode_lease(value: bytes | None) -> LeaseRow | None:
    """The row, or None for one that is gone. A value that Aether did not write is held by no member."""
    return None if value is None else _decoded(_lease_rows, value) or LeaseRow()


def _decoded(decoder: Decoder[RowT], value: bytes) -> RowT | None:
    try:
        return decoder.decode(value)
    except (DecodeError, ValidationError):
        return None


class MemberObservation(NamedTuple):
    """The last that was read of a member; `row` is None when it is gone."""

    revision: int
    row: MemberRow | None

    @property
    def session(self) -> int | None:
        """The session that lasts as of this observation."""
        if self.row is None:
            return None
        return self.row.session or self.revision


class Membership:
    """The last observation of every member. One writer: the ownership that reads the table."""

    def __init__(self) -> None:
        self.stored_format = 0
        """The newest format of stored events that every member reads."""
        self._observations: dict[str, MemberObservation] = {}
        self._read_to = 0
        self._complete_to = 0

    def read(self, member: str, revision: int, row: MemberRow | None) -> MemberObservation:
        """Take an observation in; what was known before it."""
        before = self.observation(member)
        self.reached(revision)
        self._observations[member] = MemberObservation(revision, row)
        self.stored_format = min((row.reads for _, row in self.rows()), default=0)
        return before

    def reached(self, revision: int) -> None:
        """Some row at this revision was read."""
        self._read_to = max(self._read_to, revision)

    def completed(self) -> None:
        """Every row up to the highest revision read so far has been delivered."""
        self._complete_to = self._read_to
        for member in [name for name, observed in self._observations.items() if observed.row is None]:
            del self._observations[member]  # the complete reading says the same

    def observation(self, member: str) -> MemberObservation:
        """The last observation; a member without one is gone as of the last complete reading."""
        return self._observations.get(member) or MemberObservation(self._complete_to, None)

    def rows(self) -> Iterator[tuple[str, MemberRow]]:
        """Members that are there."""
        for member, observed in self._observations.items():
            if observed.row is not None:
                yield member, observed.row

    def over(self, holder: Holder) -> bool:
        """Whether a session has certainly ended."""
        observed = self.observation(holder.member)
        return observed.revision >= holder.session and observed.session != holder.session

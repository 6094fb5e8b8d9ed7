"""From which sequence on the inbox stream is still needed: all below may be removed from it at once.

Theory of operation. Each thing in the stream that a worker may still read is a *need*, and the floor is the lowest one:

- *A relay mark* is needed itself, and so is what comes after its `since`: who claims the shard reads that. Each mark is
  written in place of the one before, so no later one has a lower `since`.
- *A tell* is needed until it is applied. That all tells to a shard up to a sequence are applied stays true. Where that
  is written down is not needed: who does not find it reads from the beginning of what is left.
- *The row of a dead letter* is needed for ever: without it the subject would read as if the tell was never given up.
  The purger writes it anew, further on. Only one that is being sent again stays where it is, with all that came after
  it: whether the tell was sent again is seen in the stream.
- *The start of a task* is needed until its consumer has acknowledged it and all before it.
- *The last message* is needed: a stream without any is purged by a server in another way.

Whatever is read late is lower than it has become, and a need that is lower keeps more. So a floor is true for ever: who
computed it, was frozen and wakes may still purge by it. What it is computed from has to be on the disk before that.
Pure.
"""

from collections.abc import Iterable
from typing import NamedTuple

from aether.core.relay_mark import Mark


class InboxNeed(NamedTuple):
    """The first sequence that has to stay, and what for."""

    sequence: int
    what: str


def relay_need(shard: int, place: int, mark: Mark) -> InboxNeed:
    """What the relay mark of a shard, which stands at `place`, needs."""
    return InboxNeed(min(place, mark.since + 1), f"the relay mark of shard {shard}")


def tell_need(shard: int, first: int) -> InboxNeed:
    """The first tell to a shard that is not applied as far as is written down."""
    return InboxNeed(first, f"a tell to shard {shard}")


def row_need(tell: int, place: int) -> InboxNeed:
    """The row of a dead letter, by the sequence of its tell, from `place` on."""
    return InboxNeed(place, f"the dead letter {tell}")


def start_need(first: int) -> InboxNeed:
    """The first start of a task that is not done."""
    return InboxNeed(first, "the start of a task")


def floor(end: int, needs: Iterable[InboxNeed]) -> InboxNeed:
    """The lowest need of a stream whose last sequence was `end` before any of them was read."""
    return min([*needs, InboxNeed(end, "the end of the stream")], key=lambda need: need.sequence)


def last_start(starts: Iterable[int], below: int) -> int:
    """The last of the sequences at which a block begins that is not after the floor; 0 for none."""
    return max((start for start in starts if start <= below), default=0)

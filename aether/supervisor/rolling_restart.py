"""The order of a rolling restart: which worker of old code goes next, and when a temporary one must stand in.

Pure questions about the slots; `plan` acts on the answers. The law behind them: no ready worker is stopped
unless another one stays ready, which can take its shards over. One goes at a time, and the next only when no worker is
on its way in or out. A pool with one worker has no other, so a temporary one of fresh code covers for it, in the next
slot number, and retires when the replacement serves.
"""

from collections.abc import Sequence

from aether.supervisor.state import Slot


def staying(slots: Sequence[Slot]) -> list[Slot]:
    """The slots that were asked for: neither on their way out nor temporary."""
    return [slot for slot in slots if not slot.retired and not slot.temporary]


def next_to_replace(slots: Sequence[Slot]) -> Slot | None:
    """The worker of old code to stop now. Those that do not serve yet come first: stopping them costs nothing."""
    if not _settled(slots):
        return None
    stale = [slot for slot in staying(slots) if slot.stale]
    unready = next((slot for slot in stale if not slot.ready), None)
    return unready or next((slot for slot in stale if is_covered(slot, slots)), None)


def is_covered(leaving: Slot, slots: Sequence[Slot]) -> bool:
    """Whether another worker serves. One that is to be replaced counts: it waits for this one's replacement."""
    return any(slot.ready and slot.number != leaving.number for slot in slots)


def needs_cover(slots: Sequence[Slot]) -> bool:
    """Whether a temporary worker must start, because the only one is ready and of old code, and its place is free."""
    only = staying(slots)
    free = all(slot.number != 1 for slot in slots)
    return free and len(only) == 1 and only[0].stale and only[0].ready


def cover_is_over(slots: Sequence[Slot]) -> bool:
    """Whether all that were asked for serve with fresh code, so that a temporary worker may go."""
    return all(slot.ready and not slot.stale for slot in staying(slots))


def _settled(slots: Sequence[Slot]) -> bool:
    """Whether no worker is ending, and those that are starting, if any, run old code."""
    return all(slot.stopping_at_s is None and (slot.ready or slot.stale) for slot in slots)

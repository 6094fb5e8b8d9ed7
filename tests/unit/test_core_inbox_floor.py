"""What is needed of the inbox, and where it can be cut."""

from aether.core.inbox_floor import InboxNeed, floor, last_start, relay_need, row_need, start_need, tell_need
from aether.core.relay_mark import Mark


def test_a_mark_needs_what_is_after_its_since_and_itself() -> None:
    assert relay_need(3, 90, Mark(7, 40)).sequence == 41
    assert relay_need(3, 90, Mark(7, 200)).sequence == 90, "whatever it says"


def test_the_lowest_need_is_the_floor() -> None:
    needs = [relay_need(0, 90, Mark(7, 40)), tell_need(1, 30), row_need(5, 20), start_need(50)]
    assert floor(100, needs) == InboxNeed(20, "the dead letter 5")
    assert floor(100, needs[:2]).what == "a tell to shard 1"
    assert floor(100, needs[3:]).what == "the start of a task"


def test_the_last_message_stays() -> None:
    assert floor(100, []).sequence == 100
    assert floor(0, []).sequence == 0


def test_a_block_is_removed_whole_or_not_at_all() -> None:
    assert last_start([1, 10, 20], 20) == 20
    assert last_start([1, 10, 20], 19) == 10
    assert last_start([10, 20], 9) == 0
    assert last_start([], 9) == 0

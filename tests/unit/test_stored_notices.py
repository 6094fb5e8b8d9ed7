"""What is heard of is handed on once it is durable, in its order."""

from aether.ids import ActorId, Position
from aether.jetstream.stored_notices import DurableNotices
from aether.ports import StoredCommit
from tests.support.durable import Durable

ALICE = ActorId("account", "alice")


def commit(position: int) -> StoredCommit:
    return StoredCommit(ALICE, Position(position), b"[]")


def positions(commits: list[StoredCommit]) -> list[int]:
    return [one.position for one in commits]


async def test_without_a_durability_all_is_handed_on_at_once() -> None:
    got: list[StoredCommit] = []
    notices = DurableNotices(got.append, None)
    notices.add(commit(1))
    assert positions(got) == [1]
    assert notices.all_handed_on().done()


async def test_each_waits_for_its_place_and_none_overtakes() -> None:
    got: list[StoredCommit] = []
    durable = Durable()
    notices = DurableNotices(got.append, durable)
    for position in (1, 2, 5, 7):
        notices.add(commit(position))
    assert got == []
    durable.reach(1)
    assert positions(got) == [1]
    durable.reach(6)
    assert positions(got) == [1, 2, 5]
    handed_on = notices.all_handed_on()
    assert not handed_on.done()
    durable.reach(9)
    assert handed_on.done()
    notices.add(commit(8))
    assert positions(got) == [1, 2, 5, 7, 8]
    assert notices.all_handed_on().done()


async def test_what_will_not_be_known_is_dropped() -> None:
    got: list[StoredCommit] = []
    durable = Durable()
    notices = DurableNotices(got.append, durable)
    notices.add(commit(1))
    notices.add(commit(2))
    durable.reach(2, "the disk")
    assert got == []
    assert notices.all_handed_on().done()
    notices.add(commit(3))
    durable.reach(3)
    assert positions(got) == [3]


def test_what_is_forgotten_is_not_handed_on_when_others_have_its_place() -> None:
    got: list[StoredCommit] = []
    durable = Durable()
    notices = DurableNotices(got.append, durable)
    notices.add(commit(4))
    notices.add(commit(5))
    assert notices.forget() == 4
    assert notices.forget() is None
    notices.add(commit(4))
    durable.reach(9)
    assert positions(got) == [4]


def test_word_of_what_was_forgotten_hands_on_nothing_that_came_later() -> None:
    got: list[StoredCommit] = []
    durable = Durable()
    notices = DurableNotices(got.append, durable)
    notices.add(commit(10))
    notices.forget()
    notices.add(commit(11))
    durable.reach(10)
    assert got == []
    durable.reach(11)
    assert positions(got) == [11]

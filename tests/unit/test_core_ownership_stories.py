"""Ownership in stories: two cores, one table, and the words that one of them hears late or not at all."""

from collections.abc import Callable
from itertools import count

from aether.config import ClusterConfig
from aether.core.cluster.effects import Abandon, AcquireLease, Effect, Release, RemoveMember, StartShard, StopShard
from aether.core.cluster.handoff import Phase, ShardTrigger
from aether.core.cluster.membership import LeaseRow, MemberRow
from aether.core.cluster.ownership import Ownership
from aether.core.cluster.ring import assignment, owners
from aether.core.cluster.session import Create, MemberSession

CONFIG = ClusterConfig(ttl_s=5, regather_s=0)


def member(node: str) -> Ownership:
    """A core of one shard that has read an empty table."""
    me = MemberRow(node=node, slot=0, incarnation=f"{node}-1")
    core = Ownership(MemberSession(me, replaces=None, answers_for_s=CONFIG.answers_for_s), 1, CONFIG)
    core.completed(0.0)
    return core


def row_of(core: Ownership, now_s: float) -> MemberRow:
    """The first row of a session, as it is written."""
    write = core.own.write(now_s, active=True, about={})
    assert isinstance(write, Create)
    return write.row


def only(effects: list[Effect], kind: type[AcquireLease | StartShard | StopShard | Release]) -> int:
    """The serial of the one effect, of this kind, that is not an announcement."""
    [effect] = [effect for effect in effects if isinstance(effect, AcquireLease | StartShard | StopShard | Release)]
    assert isinstance(effect, kind), effects
    return effect.serial


def wants(*nodes: str) -> str:
    """The node that the ring wants to have the only shard."""
    return owners(assignment([f"{node}-0" for node in nodes], 1))[0].removesuffix("-0")


def named(fits: Callable[[str], bool]) -> str:
    """Some node that the ring treats so."""
    return next(name for name in (f"n{n}" for n in count()) if fits(name))


A = "a"
B = named(lambda name: wants(A, name) == name)
C = named(lambda name: name != B and wants(A, name) == name)


def holding(core: Ownership, revision: int) -> None:
    """Let a core take the shard at a revision, and open it."""
    core.done(0, only(core.decide(1.0), AcquireLease), ShardTrigger.ACQUIRED, 1.0, revision)
    core.done(0, only(core.decide(1.0), StartShard), ShardTrigger.STARTED, 1.0)
    core.decide(1.0)
    assert core.phase(0) is Phase.HELD


def a_that_released_without_an_answer() -> Ownership:
    """A held the shard at revision 2 and heard of B, revision 3; what became of its release nobody told it."""
    a = member(A)
    a.member_observed(f"{A}-0", 1, row_of(a, 1.0), 1.0)
    holding(a, 2)
    a.member_observed(f"{B}-0", 3, MemberRow(node=B, slot=0, incarnation=f"{B}-1"), 1.0)
    a.done(0, only(a.decide(1.0), StopShard), ShardTrigger.STOPPED, 1.0)
    a.done(0, only(a.decide(1.0), Release), ShardTrigger.UNKNOWN, 1.0)
    return a


IN_DOUBT = "a release without an answer may have been stored, or be stored yet: the row must be settled first"


def test_a_shard_whose_release_had_no_answer_is_not_opened_again_while_another_has_it() -> None:
    a, c = a_that_released_without_an_answer(), member(C)
    # The table: 4 A's release, stored; 5 the end of B; 6 C's row; 7 C takes the shard.
    c.member_observed(f"{A}-0", 1, a.own.me, 1.0)
    c.lease_observed(0, 4, LeaseRow())
    c.member_observed(f"{B}-0", 5, None, 1.0)
    c.member_observed(f"{C}-0", 6, row_of(c, 1.0), 1.0)
    holding(c, 7)
    assert c.answers(0, 1.1)
    # A reads late; 4 was overwritten by 7 before A's turn came, so 5 is the first that it hears of.
    a.member_observed(f"{B}-0", 5, None, 1.0)
    for effect in a.decide(1.1):
        assert not isinstance(effect, StartShard)
    assert not a.answers(0, 1.1)


def test_a_shard_whose_release_had_no_answer_is_held_again_only_on_a_newer_row() -> None:
    a = a_that_released_without_an_answer()
    a.member_observed(f"{B}-0", 5, None, 1.0)
    # Nobody knows whether the release is still on its way to revision 2, so the shard is taken over that revision: one
    # of the two writes arrives.
    a.done(0, only(a.decide(2.0), AcquireLease), ShardTrigger.REFUSED, 2.0)
    a.lease_observed(0, 6, LeaseRow())
    [take] = [effect for now_s in (2.5, 3.0) for effect in a.decide(now_s) if isinstance(effect, AcquireLease)]
    assert take.revision == 6
    a.done(0, take.serial, ShardTrigger.ACQUIRED, 3.0, 7)
    a.done(0, only(a.decide(3.0), StartShard), ShardTrigger.STARTED, 3.0)
    assert a.epoch(0) == 7
    assert a.phase(0) is Phase.HELD


def test_a_refused_release_waits_for_word_of_its_row() -> None:
    a = a_that_released_without_an_answer()
    sent = 0
    for _ in range(20):
        for effect in a.decide(2.0):
            assert isinstance(effect, Release)
            sent += 1
            a.done(0, effect.serial, ShardTrigger.REFUSED, 2.0)
    assert sent == 1


def test_a_shard_that_was_lost_and_is_free_is_taken_without_further_word() -> None:
    a = member(A)
    a.member_observed(f"{A}-0", 1, row_of(a, 1.0), 1.0)
    holding(a, 2)
    a.lease_observed(0, 5, LeaseRow())
    effects = a.decide(1.5)
    assert Abandon(0) in effects
    assert a.next_wake_s() <= 1.5 or any(isinstance(effect, AcquireLease) for effect in effects)


def test_a_member_that_leaves_while_the_server_is_away_is_empty_when_its_session_is_over() -> None:
    a = member(A)
    a.member_observed(f"{A}-0", 1, row_of(a, 1.0), 1.0)
    holding(a, 2)
    a.leave()
    a.done(0, only(a.decide(1.5), StopShard), ShardTrigger.STOPPED, 1.5)
    a.done(0, only(a.decide(1.5), Release), ShardTrigger.UNKNOWN, 1.5)
    a.done(0, only(a.decide(2.0), Release), ShardTrigger.UNKNOWN, 2.0)
    after_s = 1.0 + CONFIG.answers_for_s
    a.decide(after_s)
    assert a.empty
    assert not a.answers(0, after_s)


def test_an_unreleased_shard_is_given_up_when_the_session_is_over() -> None:
    a = member(A)
    a.member_observed(f"{A}-0", 1, row_of(a, 1.0), 1.0)
    holding(a, 2)
    a.leave()
    closing = only(a.decide(1.5), StopShard)
    after_s = 1.0 + CONFIG.answers_for_s
    a.done(0, closing, ShardTrigger.STOPPED, after_s)
    assert a.decide(after_s) == [Abandon(0)], "there is nobody to write to"
    assert a.empty


def buried(core: Ownership, now_s: float) -> list[Effect]:
    return [effect for effect in core.decide(now_s) if isinstance(effect, RemoveMember)]


def test_a_row_that_outlives_its_time_is_buried_and_one_that_is_renewed_is_not() -> None:
    """After a power cut the server may have forgotten when a row ends."""
    a = member(A)
    a.member_observed(f"{B}-0", 3, MemberRow(node=B, slot=0, incarnation=f"{B}-1"), 1.0)
    a.member_observed(f"{C}-0", 4, MemberRow(node=C, slot=0, incarnation=f"{C}-1"), 1.0)
    a.member_observed(f"{C}-0", 5, MemberRow(node=C, slot=0, incarnation=f"{C}-1", session=4), 4.0)
    overdue_s = 1.0 + CONFIG.overdue_s
    assert buried(a, overdue_s - 0.1) == []
    assert a.next_wake_s() == overdue_s
    assert buried(a, overdue_s) == [RemoveMember(f"{B}-0", 3)]
    assert buried(a, overdue_s + 0.1) == []  # it is under way
    assert buried(a, 2 * overdue_s) == [
        RemoveMember(f"{B}-0", 3),
        RemoveMember(f"{C}-0", 5),
    ]  # it was refused, or nobody answered
    a.member_observed(f"{B}-0", 6, None, 2 * overdue_s)
    assert RemoveMember(f"{B}-0", 3) not in buried(a, 3 * overdue_s + 5)


def test_a_row_in_our_place_that_outlives_its_time_is_buried_and_our_own_is_not() -> None:
    a = member(A)
    a.member_observed(f"{A}-0", 3, MemberRow(node=A, slot=0, incarnation="of-another-boot"), 1.0)
    assert buried(a, 1.0 + CONFIG.overdue_s) == [RemoveMember(f"{A}-0", 3)]
    a.member_observed(f"{A}-0", 4, None, 8.0)
    a.member_observed(f"{A}-0", 5, row_of(a, 8.0), 8.0)
    assert a.own.session == 5
    assert buried(a, 8.0 + CONFIG.overdue_s) == []

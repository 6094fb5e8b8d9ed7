"""A member's own session: what is written, what is believed, who may take a place over."""

from msgspec.structs import replace

from aether.core.cluster.membership import MemberObservation, MemberRow
from aether.core.cluster.session import Create, MemberSession, RowChange, Update, Wait

ME = MemberRow(node="n", slot=0, incarnation="run-1", claim="dir")


def session(me: MemberRow = ME, replaces: str | None = None) -> MemberSession:
    return MemberSession(me, replaces=replaces, answers_for_s=4.0)


def joined(own: MemberSession, now_s: float = 10.0, revision: int = 5) -> MemberRow:
    write = own.write(now_s, active=True, about={})
    assert isinstance(write, Create)
    assert own.observe(MemberObservation(revision, write.row)) is RowChange.JOINED
    return write.row


def renewal(own: MemberSession, now_s: float) -> Update:
    write = own.write(now_s, active=True, about={})
    assert isinstance(write, Update)
    return write


def test_a_session_is_the_revision_of_its_first_row_and_lasts_from_its_sending() -> None:
    own = session()
    joined(own, now_s=10.0, revision=5)
    assert own.session == 5
    assert own.valid(13.9)
    assert not own.valid(14.0)


def test_an_acknowledgement_alone_prolongs_nothing() -> None:
    own = session()
    joined(own, now_s=10.0)
    renewal(own, 12.0)
    own.answered(9)
    assert not own.valid(14.0)


def test_a_renewal_that_came_back_prolongs_from_its_own_sending() -> None:
    own = session()
    joined(own, now_s=10.0)
    first, second = renewal(own, 12.0), renewal(own, 13.0)
    own.observe(MemberObservation(9, first.row))
    assert own.valid(15.9)
    assert not own.valid(16.0)
    own.observe(MemberObservation(10, second.row))
    assert own.valid(16.9)


def test_a_renewal_builds_on_the_last_known_revision() -> None:
    own = session()
    joined(own, revision=5)
    assert renewal(own, 11.0).revision == 5
    own.answered(8)
    assert renewal(own, 12.0).revision == 8
    assert renewal(own, 12.0).row.session == 5


def test_the_end_of_the_row_ends_the_session_at_once_and_the_next_row_is_another_session() -> None:
    own = session()
    joined(own)
    assert own.observe(MemberObservation(20, None)) is RowChange.EXPIRED
    assert (own.session, own.valid(10.0), own.holder) == (None, False, None)
    write = own.write(21.0, active=True, about={})
    assert isinstance(write, Create)
    assert write.row.session == 0
    assert own.observe(MemberObservation(22, write.row)) is RowChange.JOINED
    assert own.session == 22


def test_another_process_in_our_row_means_that_we_are_replaced() -> None:
    own = session()
    joined(own)
    other = replace(ME, incarnation="run-2")
    assert own.observe(MemberObservation(9, other)) is RowChange.REPLACED
    assert not own.valid(10.0)


def test_the_row_of_a_reaped_predecessor_is_taken_over_at_once() -> None:
    own = session(replace(ME, claim=""), replaces="run-0")
    own.observe(MemberObservation(3, replace(ME, incarnation="run-0", claim="", session=1)))
    write = own.write(10.0, active=True, about={})
    assert isinstance(write, Update)
    assert (write.revision, write.row.session) == (3, 0)


def test_a_row_of_our_own_claim_is_of_a_dead_process() -> None:
    own = session()
    own.observe(MemberObservation(3, replace(ME, incarnation="earlier-0")))
    assert isinstance(own.write(10.0, active=True, about={}), Update)


def test_a_row_without_proof_is_waited_for() -> None:
    for claim in ("", "another"):
        own = session(replace(ME, claim=claim and "dir"), replaces="run-7")
        own.observe(MemberObservation(3, replace(ME, incarnation="other-0", claim=claim)))
        assert isinstance(own.write(10.0, active=True, about={}), Wait)
        assert own.observe(MemberObservation(30, None)) is RowChange.NOTHING
        assert isinstance(own.write(40.0, active=True, about={}), Create)


def test_a_foreign_row_that_is_renewed_is_alive_elsewhere() -> None:
    own = session()
    other = replace(ME, incarnation="other-0", claim="another")
    changes = [own.observe(MemberObservation(revision, other)) for revision in (3, 6, 9)]
    assert changes == [RowChange.NOTHING, RowChange.NOTHING, RowChange.ALIVE_ELSEWHERE]


def test_a_process_that_was_replaced_never_writes_again() -> None:
    own = session()
    joined(own)
    assert own.observe(MemberObservation(9, replace(ME, incarnation="run-2"))) is RowChange.REPLACED
    assert isinstance(own.write(10.0, active=True, about={}), Wait)  # though their claim is ours too
    assert own.observe(MemberObservation(20, None)) is RowChange.NOTHING
    assert isinstance(own.write(20.0, active=True, about={}), Wait)


def test_a_process_whose_name_is_alive_elsewhere_never_takes_it() -> None:
    own = session()
    other = replace(ME, incarnation="other-0", claim="another")
    for revision in (3, 6, 9):
        own.observe(MemberObservation(revision, other))
    own.observe(MemberObservation(20, None))
    assert isinstance(own.write(20.0, active=True, about={}), Wait)


def test_writes_that_came_to_nothing_are_not_remembered_for_ever() -> None:
    own = session()
    joined(own, now_s=10.0)
    for beat in range(1_000):
        own.write(11.0 + beat, active=True, about={})
    assert len(own._sent_s) <= 4
    own.observe(MemberObservation(9, replace(ME, beat=1_000)))
    assert own.valid(1_010.0)


def test_the_same_incarnation_seen_twice_is_not_yet_alive() -> None:
    own = session()
    mine, other = replace(ME, incarnation="x-0", claim=""), replace(ME, incarnation="y-0", claim="")
    assert [own.observe(MemberObservation(n, row)) for n, row in ((3, mine), (6, mine), (9, other), (12, other))] == [
        RowChange.NOTHING
    ] * 4
    assert own.observe(MemberObservation(15, other)) is RowChange.ALIVE_ELSEWHERE

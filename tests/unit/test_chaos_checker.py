"""The chaos checker finds every class of violation, each in a run made by hand that has exactly that one."""

from collections.abc import Callable

import pytest

from tests.chaos.calls import Act, Outcome
from tests.chaos.checker import Limits
from tests.chaos.histories import Stored, read_histories
from tests.chaos.made import Book, call_of
from tests.chaos.report import EXAMPLES_MAX, Violation
from tests.chaos.wrong_runs import CASES, three


@pytest.mark.parametrize(("made", "violation", "count"), CASES, ids=[made.__name__ for made, _, _ in CASES])
def test_it_finds_exactly_this(made: Callable[[], Book], violation: Violation, count: int) -> None:
    report = made().check()
    assert report.counts == {violation: count}, report.table()
    assert not report.ok
    assert len(report.examples[violation]) == min(count, EXAMPLES_MAX)
    assert f"! {violation.value}: " in report.table()


@pytest.mark.parametrize("attribute", ["specversion", "id", "source", "type", "time", "data", "commandid", "reply"])
def test_every_promised_attribute_is_needed(attribute: str) -> None:
    book = three()
    del book.commits[1].events[0][attribute]
    assert book.check().counts[Violation.WRONG_SHAPE] >= 1


def test_every_class_of_violation_has_a_case() -> None:
    assert {violation for _, violation, _ in CASES} == set(Violation)


def with_system_events() -> Book:
    """All of Aether's own events: a refusal, a reply without events, and a command that a lost worker had begun."""
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=-16)
    book.decide("c1", 2, 4, 4.5, amount=0)
    begun = call_of("c2", "l", Act.APPEND, 5, number=2, amount=5)
    book.lose(begun)
    book.append("c2", 2, 5, 5.5)
    book.read("c0", 6, 6.5, book.states["l"])
    return book


def test_system_events_count_and_change_nothing() -> None:
    report = with_system_events().check()
    assert report.ok, report.table()
    assert (report.events, report.refusals_stored, report.handled_stored, report.losses_stored) == (7, 1, 1, 1)


@pytest.mark.parametrize(
    ("place", "attribute", "value"),
    [
        (3, "data", {}),
        (3, "data", {"code": "rejected"}),
        (3, "reply", "null"),
        (3, "type", "aether.Refuse"),
        (3, "commandid", ""),
        (4, "data", {"client": "c1", "number": 2, "amount": 0}),
        (4, "reply", None),
        (5, "data", {"command": "append"}),
        (5, "reply", "null"),
    ],
)
def test_a_system_event_has_the_promised_shape(place: int, attribute: str, value: object) -> None:
    book = with_system_events()
    book.commits[place].events[0][attribute] = value
    assert book.check().counts[Violation.WRONG_SHAPE] >= 1


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"[1]", b"not json", b"\xff"])
def test_a_payload_that_is_no_batch_is_found(payload: bytes) -> None:
    _, findings = read_histories([Stored(1, "aether.made.evt.0.ledger.l", payload)], "made", 1)
    assert [finding.violation for finding in findings] == [Violation.WRONG_SHAPE]


def test_a_commit_of_another_shard_is_found() -> None:
    stored = [
        commit.stored(n)._replace(subject="aether.made.evt.99.ledger.l") for n, commit in enumerate(three().commits)
    ]
    _, findings = read_histories(stored, "made", 16)
    assert {finding.violation for finding in findings} == {Violation.WRONG_SHAPE}


def test_a_run_that_did_nothing_does_not_pass() -> None:
    assert Book().check().counts == {Violation.TOO_FEW: 1}


def test_the_figures_of_a_run() -> None:
    book = three()
    book.append("c0", 2, 3, 3.5, amount=-16, outcome=Outcome.REJECTED, stores=False)
    book.append("c0", 3, 4, 10, outcome=Outcome.UNKNOWN)
    book.append("c0", 4, 10, 11, outcome=Outcome.UNAVAILABLE, stores=False)
    book.read("c0", 11, 11.5, book.states["l"])
    report = book.check(Limits(answered_min=5, answered_share_min=0.7))
    assert report.ok, report.table()
    assert (report.calls, report.appended, report.read, report.rejected) == (7, 3, 1, 1)
    assert (report.unknown, report.unavailable, report.events, report.actors) == (1, 1, 4, 1)
    assert (report.longest_wait_s, report.longest_silence_s) == (6.0, 9.0)

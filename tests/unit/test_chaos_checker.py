"""The chaos checker finds every class of violation, each in a run made by hand that has exactly that one."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.calls import Outcome, Receipt
from tests.chaos.checker import Limits
from tests.chaos.histories import Stored, read_histories
from tests.chaos.made import NOTHING, Book
from tests.chaos.report import EXAMPLES_MAX, Violation


def three() -> Book:
    """Three clients append one after the other."""
    book = Book()
    for n in range(3):
        book.append(f"c{n}", 1, n, n + 0.5)
    return book


def without(place: int, claimed_version: int) -> Book:
    """As `three`, of which one event was never stored; its client was told that version, the others go on without."""
    book = Book()
    for n in range(3):
        book.append(f"c{n}", 1, n, n + 0.5, stores=n != place)
    book.calls[place] = replace(book.calls[place], receipt=Receipt(claimed_version, 5, 5))
    return book


def missing_prefix() -> Book:
    return without(0, claimed_version=0)


def missing_middle() -> Book:
    return without(1, claimed_version=1)


def missing_suffix() -> Book:
    return without(2, claimed_version=3)


def duplicated() -> Book:
    book = Book()
    call = book.append("c0", 1, 0, 0.5)
    book.store([call])
    return book


def reordered_after_an_acknowledgement() -> Book:
    """Number 2 of another client was sent after the first was acknowledged, and is stored before it."""
    book = Book()
    book.append("c0", 1, 1.0, 1.5)
    book.append("c1", 1, 0.0, 0.5)
    return book


def reordered_unknown() -> Book:
    """A client gave up its number 1, went on with 2, and 1 was stored after it."""
    book = Book()
    second = book.append("c0", 2, 1.0, 1.5)
    book.append("c0", 1, 0.0, 0.5, outcome=Outcome.UNKNOWN)
    assert second.receipt is not None
    return book


def unexpected_command() -> Book:
    book = Book()
    book.append("c0", 1, 0, 0.5)
    book.append("c1", 1, 0, 0.5)
    book.calls.pop()
    return book


def unexpected_payload() -> Book:
    book = Book()
    call = book.append("c0", 1, 0, 0.5)
    book.calls[0] = replace(call, amount=call.amount + 1)
    return book


def unexpected_refused() -> Book:
    book = Book()
    book.append("c0", 1, 0, 0.5)
    book.append("c0", 2, 1, 1.5, outcome=Outcome.REJECTED)
    book.append("c0", 3, 2, 2.5, outcome=Outcome.UNAVAILABLE)
    return book


def unexpected_place() -> Book:
    book = Book()
    call = book.append("c0", 1, 0, 0.5, outcome=Outcome.UNKNOWN)
    book.append("c1", 1, 0, 0.5, actor="other")
    book.calls[0] = replace(call, actor="other")
    return book


def version_gap() -> Book:
    """The versions jump, and everybody heard them so."""
    book = Book()
    book.append("c0", 1, 0, 0.5)
    book.states["l"] = replace(book.states["l"], version=2)
    book.append("c1", 1, 1, 1.5)
    return book


def wrong_reply() -> Book:
    book = three()
    receipt = book.calls[1].receipt
    assert receipt is not None
    book.calls[1] = replace(book.calls[1], receipt=replace(receipt, total=receipt.total + 1))
    return book


def wrong_stored_reply() -> Book:
    book = three()
    book.commits[1].events[0]["reply"] = json.dumps({"version": 2, "total": 1, "digest": 1})
    return book


def wrong_query() -> Book:
    book = three()
    book.read("c0", 3, 3.5, replace(book.states["l"], digest=1))
    return book


def unheard_of_query() -> Book:
    book = three()
    book.read("c0", 3, 3.5, replace(book.states["l"], version=4))
    return book


def stale_query() -> Book:
    book = three()
    assert book.calls[1].receipt is not None
    book.read("c0", 3, 3.5, book.calls[1].receipt)
    return book


def stale_empty_query() -> Book:
    book = three()
    book.read("c0", 3, 3.5, NOTHING)
    return book


def early_query() -> Book:
    """A state with an event that was sent after the answer."""
    book = three()
    book.read("c0", 1.6, 1.7, book.states["l"])
    return book


def backwards_query() -> Book:
    """Both answers could be of the time of an append under way, but not the older one after the newer one."""
    book = Book()
    first = book.append("c0", 1, 0, 0.5).receipt
    second = book.append("c1", 1, 1, 9).receipt
    assert first is not None
    assert second is not None
    book.read("c2", 2, 3, second)
    book.read("c2", 4, 5, first)
    return book


def wrong_shape() -> Book:
    book = three()
    book.commits[0].events[0]["specversion"] = "0.3"
    book.commits[1].events[0]["correlation-id"] = "x"
    book.commits[2].events[0]["time"] = "2026-01-01T00:00:00"
    return book


def failed() -> Book:
    book = three()
    book.append("c0", 2, 3, 3.5, outcome=Outcome.FAILED, stores=False)
    return book


def overdue() -> Book:
    book = three()
    book.append("c0", 2, 3, 3 + 60 + 5.1)
    return book


def too_few() -> Book:
    book = Book()
    book.append("c0", 1, 0, 0.5)
    for n in range(2, 4):
        book.append("c0", n, n, n + 0.5, outcome=Outcome.UNKNOWN, stores=False)
    return book


CASES: list[tuple[Callable[[], Book], Violation, int]] = [
    (missing_prefix, Violation.MISSING_PREFIX, 1),
    (missing_middle, Violation.MISSING_MIDDLE, 1),
    (missing_suffix, Violation.MISSING_SUFFIX, 1),
    (duplicated, Violation.DUPLICATED, 1),
    (reordered_after_an_acknowledgement, Violation.REORDERED, 1),
    (reordered_unknown, Violation.REORDERED, 1),
    (unexpected_command, Violation.UNEXPECTED, 1),
    (unexpected_payload, Violation.UNEXPECTED, 1),
    (unexpected_refused, Violation.UNEXPECTED, 2),
    (unexpected_place, Violation.UNEXPECTED, 1),
    (version_gap, Violation.VERSION_GAP, 1),
    (wrong_reply, Violation.WRONG_REPLY, 1),
    (wrong_stored_reply, Violation.WRONG_REPLY, 1),
    (wrong_query, Violation.WRONG_QUERY, 1),
    (unheard_of_query, Violation.WRONG_QUERY, 1),
    (stale_query, Violation.STALE_QUERY, 1),
    (stale_empty_query, Violation.STALE_QUERY, 1),
    (early_query, Violation.EARLY_QUERY, 1),
    (backwards_query, Violation.BACKWARDS_QUERY, 1),
    (wrong_shape, Violation.WRONG_SHAPE, 3),
    (failed, Violation.FAILED, 1),
    (overdue, Violation.OVERDUE, 1),
    (too_few, Violation.TOO_FEW, 1),
]


@pytest.mark.parametrize(("made", "violation", "count"), CASES, ids=[made.__name__ for made, _, _ in CASES])
def test_it_finds_exactly_this(made: Callable[[], Book], violation: Violation, count: int) -> None:
    report = made().check()
    assert report.counts == {violation: count}, report.table()
    assert not report.ok
    assert len(report.examples[violation]) == min(count, EXAMPLES_MAX)
    assert f"! {violation.value}: " in report.table()


def test_every_class_of_violation_has_a_case() -> None:
    assert {violation for _, violation, _ in CASES} == set(Violation)


@pytest.mark.parametrize("attribute", ["specversion", "id", "source", "type", "time", "data", "commandid", "reply"])
def test_every_promised_attribute_is_needed(attribute: str) -> None:
    book = three()
    del book.commits[1].events[0][attribute]
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
    book.append("c0", 2, 3, 3.5, amount=0, outcome=Outcome.REJECTED, stores=False)
    book.append("c0", 3, 4, 10, outcome=Outcome.UNKNOWN)
    book.append("c0", 4, 10, 11, outcome=Outcome.UNAVAILABLE, stores=False)
    book.read("c0", 11, 11.5, book.states["l"])
    report = book.check(Limits(answered_min=5, answered_share_min=0.7))
    assert report.ok, report.table()
    assert (report.calls, report.appended, report.read, report.rejected) == (7, 3, 1, 1)
    assert (report.unknown, report.unavailable, report.events, report.actors) == (1, 1, 4, 1)
    assert (report.longest_wait_s, report.longest_silence_s) == (6.0, 9.0)

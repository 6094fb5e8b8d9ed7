"""Runs made by hand that are wrong in one way each: for every class of violation what the checker must find in them."""

import json
from collections.abc import Callable
from dataclasses import replace

from tests.chaos.calls import Act, Outcome, Receipt
from tests.chaos.made import NOTHING, Book, call_of
from tests.chaos.report import Violation


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
    """A withdrawal was refused for want of what another client appended meanwhile, and is stored all the same."""
    book = Book()
    book.append("c0", 1, 0, 0.5)
    state = book.states["l"]
    book.append("c1", 1, 0.9, 1.4, amount=20)
    book.append("c0", 2, 1, 1.5, amount=-20, outcome=Outcome.REJECTED)
    book.calls[-1] = replace(book.calls[-1], receipt=state)
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


def unexpected_refusal() -> Book:
    """What no handler of a ledger says is stored as what it said, and a refusal of a command that was never sent."""
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=-16, outcome=Outcome.UNKNOWN)
    book.commits[-1].events[0]["data"]["code"] = "actor_failed"
    book.decide("c1", 2, 4, 4.5, amount=-16)
    book.calls.pop()
    return book


def unexpected_handled() -> Book:
    """A command that has something to append has a reply without events."""
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=0, outcome=Outcome.UNKNOWN)
    book.calls[-1] = replace(book.calls[-1], amount=5)
    return book


def refused_twice() -> Book:
    book = three()
    call = book.decide("c0", 2, 3, 3.5, amount=-16, outcome=Outcome.UNKNOWN)
    book.commit([call], stored=True)
    return book


def refused_and_done() -> Book:
    """A late send of a command whose refusal is stored was carried out."""
    book = Book()
    call = book.decide("c0", 1, 0, 9, amount=-5, outcome=Outcome.UNKNOWN)
    book.append("c1", 1, 1, 1.5)
    book.store([call])
    return book


def done_and_refused() -> Book:
    book = Book()
    book.append("c1", 1, 0, 0.5)
    call = book.append("c0", 1, 1, 9, amount=-5, outcome=Outcome.UNKNOWN)
    book.commit([call], stored=True)
    return book


def done_after_two_lost_workers() -> Book:
    book = Book()
    call = replace(call_of("c0", "l", Act.APPEND, 0, number=1, amount=5), ended_s=1)
    for _ in range(2):
        book.lose(call)
    book.store([call])
    book.calls.append(call)
    book.append("c1", 1, 1, 1.5)
    return book


def told_done_and_refused() -> Book:
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=-100, outcome=Outcome.REPLY)
    return book


def told_unavailable() -> Book:
    """What is stored as an outcome was told as a command that never reached the ledger."""
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=0, outcome=Outcome.UNAVAILABLE)
    book.decide("c1", 2, 4, 4.5, amount=-16, outcome=Outcome.UNAVAILABLE)
    book.decide("c2", 2, 5, 5.5, amount=-16)
    return book


def told_another_refusal() -> Book:
    """The client was told another decision of its command than the stored one, each right at its time."""
    book = Book()
    state = book.append("c0", 1, 0, 9).receipt
    assert state is not None
    book.append("c1", 1, 0, 9)
    book.decide("c2", 1, 1, 8, amount=-11)
    book.calls[-1] = replace(book.calls[-1], receipt=state)
    return book


def refused_without_need() -> Book:
    book = three()
    book.append("c0", 2, 3, 3.5, amount=-15, outcome=Outcome.REJECTED, stores=False)
    return book


def took_too_much() -> Book:
    book = three()
    book.append("c0", 2, 3, 3.5, amount=-16)
    return book


def wrong_stored_refusal() -> Book:
    book = three()
    book.decide("c0", 2, 3, 3.5, amount=-16, outcome=Outcome.UNKNOWN)
    book.commits[-1].events[0]["data"]["details"]["total"] = 14
    return book


def stale_refusal() -> Book:
    """Refused for want of what had been acknowledged before."""
    book = Book()
    book.append("c0", 1, 0, 0.5)
    state = book.states["l"]
    book.append("c1", 1, 1, 1.5)
    book.append("c0", 2, 2, 2.5, amount=-6, outcome=Outcome.REJECTED, stores=False)
    book.calls[-1] = replace(book.calls[-1], receipt=state)
    return book


def stale_query_after_a_refusal() -> Book:
    """A refusal that is stored is a version, which was told."""
    book = three()
    state = book.states["l"]
    book.decide("c0", 2, 3, 3.5, amount=-16)
    book.read("c1", 4, 4.5, state)
    return book


def reordered_refusal() -> Book:
    """A client gave up its withdrawal, went on, and the refusal was stored after that."""
    book = Book()
    book.append("c0", 2, 1.0, 1.5)
    book.decide("c0", 1, 0.0, 0.5, amount=-9, outcome=Outcome.UNKNOWN)
    return book


def missing_refusal() -> Book:
    """A refusal of an id that the caller gave is told and not stored."""
    book = three()
    book.append("c0", 2, 3, 3.5, amount=-16, outcome=Outcome.REJECTED, stores=False)
    book.calls[-1] = replace(book.calls[-1], given=True)
    return book


def missing_handled() -> Book:
    book = Book()
    book.append("c0", 1, 0, 0.5, amount=0, stores=False)
    book.calls[-1] = replace(book.calls[-1], given=True)
    book.append("c0", 2, 1, 1.5)
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
    (missing_refusal, Violation.MISSING_SUFFIX, 1),
    (missing_handled, Violation.MISSING_PREFIX, 1),
    (unexpected_refusal, Violation.UNEXPECTED, 2),
    (unexpected_handled, Violation.UNEXPECTED, 1),
    (refused_twice, Violation.DUPLICATED, 1),
    (refused_and_done, Violation.TWO_OUTCOMES, 1),
    (done_and_refused, Violation.TWO_OUTCOMES, 1),
    (done_after_two_lost_workers, Violation.TWO_OUTCOMES, 1),
    (told_done_and_refused, Violation.CONTRADICTED, 1),
    (told_unavailable, Violation.CONTRADICTED, 2),
    (told_another_refusal, Violation.CONTRADICTED, 1),
    (refused_without_need, Violation.DECIDED_WRONG, 1),
    (took_too_much, Violation.DECIDED_WRONG, 1),
    (wrong_stored_refusal, Violation.WRONG_REPLY, 1),
    (stale_refusal, Violation.STALE_QUERY, 1),
    (stale_query_after_a_refusal, Violation.STALE_QUERY, 1),
    (reordered_refusal, Violation.REORDERED, 1),
]

"""Laws of the chaos checker: a run without a fault passes, and any single change to it that must not be is found."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.chaos.calls import Act, Call, Outcome
from tests.chaos.checker import Limits
from tests.chaos.histories import EVENT_TYPE, HANDLED, REFUSED, WORKER_LOST
from tests.chaos.made import Book, Commit, after, event_of, renumbered, simulated

ANY_SHARE = Limits(answered_min=0, answered_share_min=0.0)
STEPS = st.integers(0, 80)
CHANCE = st.randoms(use_true_random=False)


@given(CHANCE, STEPS)
def test_a_run_without_a_fault_passes(chance: Random, steps: int) -> None:
    report = simulated(chance, steps).check(ANY_SHARE)
    assert report.ok, report.table()


def one_call(book: Book, chance: Random, wanted: Callable[[Call], bool]) -> int:
    """The place in the log of a call of that sort."""
    places = [place for place, call in enumerate(book.calls) if wanted(call)]
    assume(places)
    return chance.choice(places)


def acknowledged(call: Call) -> bool:
    return call.act is Act.APPEND and call.outcome is Outcome.REPLY and call.amount != 0


def answered_read(call: Call) -> bool:
    return call.act is Act.READ and call.outcome is Outcome.REPLY


def one_event(book: Book, chance: Random) -> tuple[Commit, int]:
    """A commit and the place in it of one of its events."""
    assume(book.commits)
    commit = chance.choice(book.commits)
    return commit, chance.randrange(len(commit.events))


def one_append(book: Book, chance: Random) -> tuple[Commit, int]:
    """The same of an event that is no system event."""
    places = places_of(book, EVENT_TYPE)
    assume(places)
    return chance.choice(places)


def places_of(book: Book, type: str) -> list[tuple[Commit, int]]:
    return [
        (commit, place) for commit in book.commits for place, event in enumerate(commit.events) if event["type"] == type
    ]


def event_of_call(book: Book, call: Call) -> tuple[Commit, int]:
    places = places_of(book, EVENT_TYPE)
    return next(found for found in places if found[0].events[found[1]]["commandid"] == call.command_id)


def one_stored(book: Book, chance: Random, type: str, *outcomes: Outcome) -> tuple[dict[str, Any], int]:
    """A system event of that type, and the place in the log of its call, which was told one of these."""
    calls = {call.command_id: place for place, call in enumerate(book.calls) if call.outcome in outcomes}
    events = [commit.events[place] for commit, place in places_of(book, type)]
    found = [(event, calls[event["commandid"]]) for event in events if event["commandid"] in calls]
    assume(found)
    return chance.choice(found)


def drop(book: Book, chance: Random) -> None:
    """An acknowledged event is gone, and the history closed over it."""
    commit, place = event_of_call(book, book.calls[one_call(book, chance, acknowledged)])
    del commit.events[place]
    if not commit.events:
        book.commits.remove(commit)
    renumbered(book.commits, commit.actor)


def cut_off(book: Book, chance: Random) -> None:
    """An actor's history ends with what was before an acknowledged event."""
    commit, place = event_of_call(book, book.calls[one_call(book, chance, acknowledged)])
    del commit.events[place:]
    after = book.commits[book.commits.index(commit) + 1 :]
    for gone in [commit] * (not commit.events) + [later for later in after if later.actor == commit.actor]:
        book.commits.remove(gone)


def repeat(book: Book, chance: Random) -> None:
    """An event is stored once more, at the end, with the next version."""
    commit, place = one_event(book, chance)
    assume(commit.events[place]["type"] != WORKER_LOST)
    at_the_end(book, commit.actor, copy.deepcopy(commit.events[place]))


def at_the_end(book: Book, actor: str, event: dict[str, Any]) -> None:
    """Store it with the actor's next version."""
    last = max(int(event["id"]) for other in book.commits if other.actor == actor for event in other.events)
    book.commits.append(Commit(actor, [{**event, "id": str(last + 1)}]))


def swap(book: Book, chance: Random) -> None:
    """An acknowledged event and one beside it are stored the other way round."""
    commit, place = event_of_call(book, book.calls[one_call(book, chance, acknowledged)])
    events = [event for other in book.commits if other.actor == commit.actor for event in other.events]
    assume(len(events) > 1)
    at = events.index(commit.events[place])
    beside = at - 1 if at else at + 1
    first, second = ({**events[to], "id": events[of]["id"]} for to, of in ((beside, at), (at, beside)))
    for event, other in ((events[at], first), (events[beside], second)):
        event.clear()
        event.update(other)


def other_amount(book: Book, chance: Random) -> None:
    commit, place = one_append(book, chance)
    commit.events[place]["data"]["amount"] += 1


def other_number(book: Book, chance: Random) -> None:
    commit, place = one_append(book, chance)
    commit.events[place]["data"]["number"] += 1


def other_command(book: Book, chance: Random) -> None:
    commit, place = one_event(book, chance)
    commit.events[place]["commandid"] = "nobody's"


def other_version(book: Book, chance: Random) -> None:
    commit, place = one_event(book, chance)
    commit.events[place]["id"] = str(int(commit.events[place]["id"]) + chance.choice((1, 2)))


def other_actor(book: Book, chance: Random) -> None:
    commit, _ = one_event(book, chance)
    commit.actor = "another"


def other_stored_reply(book: Book, chance: Random) -> None:
    commit, place = event_of_call(book, book.calls[one_call(book, chance, acknowledged)])
    reply = json.loads(commit.events[place]["reply"])
    commit.events[place]["reply"] = json.dumps({**reply, "total": reply["total"] + 1})


def no_attribute(book: Book, chance: Random) -> None:
    commit, place = one_event(book, chance)
    optional = {"deadline", "schemaversion", "reply"}
    del commit.events[place][chance.choice(sorted(set(commit.events[place]) - optional))]


def bad_attribute(book: Book, chance: Random) -> None:
    commit, place = one_event(book, chance)
    commit.events[place][chance.choice(("specversion", "id", "source", "time", "deadline", "data"))] = "?"


def other_receipt(book: Book, chance: Random) -> None:
    """A client heard another answer than the history has."""
    place = one_call(book, chance, lambda call: call.outcome in (Outcome.REPLY, Outcome.REJECTED))
    receipt = book.calls[place].receipt
    assert receipt is not None
    # Versions that system events made have the same sum: of these another answer could be of another instant.
    field = chance.choice(("version", "total", "digest") if acknowledged(book.calls[place]) else ("total", "digest"))
    wrong = replace(receipt, **{field: getattr(receipt, field) + chance.choice((-1, 1))})
    book.calls[place] = replace(book.calls[place], receipt=wrong)


def refused_after_all(book: Book, chance: Random) -> None:
    """What is stored was refused."""
    place = one_call(book, chance, acknowledged)
    outcome = chance.choice((Outcome.REJECTED, Outcome.UNAVAILABLE))
    book.calls[place] = replace(book.calls[place], outcome=outcome, receipt=None)


def done_after_a_stored_refusal(book: Book, chance: Random) -> None:
    """A command was refused, which is stored, and then carried out."""
    _, place = one_stored(book, chance, REFUSED, Outcome.UNKNOWN, Outcome.REJECTED)
    call = book.calls[place]
    at_the_end(book, call.actor, event_of(call, after(book.states[call.actor], call)))


def told_done(book: Book, chance: Random) -> None:
    """A command was refused, which is stored, and its client was told that it is done."""
    _, place = one_stored(book, chance, REFUSED, Outcome.UNKNOWN, Outcome.REJECTED)
    call = book.calls[place]
    receipt = chance.choice([call.receipt, book.states[call.actor]])
    book.calls[place] = replace(call, outcome=Outcome.REPLY, receipt=receipt)


def told_that_nothing_was_done(book: Book, chance: Random) -> None:
    """A command has an outcome, which is stored, and its client was told another one."""
    type = chance.choice((REFUSED, HANDLED))
    _, place = one_stored(book, chance, type, Outcome.UNKNOWN, Outcome.REJECTED, Outcome.REPLY)
    book.calls[place] = replace(book.calls[place], outcome=Outcome.UNAVAILABLE, receipt=None)


def refused_without_need(book: Book, chance: Random) -> None:
    """A client was refused what the ledger had."""
    place = one_call(book, chance, lambda call: call.outcome is Outcome.REJECTED)
    call = book.calls[place]
    assert call.receipt is not None
    book.calls[place] = replace(call, amount=-call.receipt.total)


def drop_system_event(book: Book, chance: Random) -> None:
    """The outcome that was told of a command without events is gone, though its id was the caller's."""
    event, place = one_stored(book, chance, chance.choice((REFUSED, HANDLED)), Outcome.REJECTED, Outcome.REPLY)
    call = book.calls[place]
    assume(call.given)
    commit = next(commit for commit in book.commits if event in commit.events)
    commit.events.remove(event)
    if not commit.events:
        book.commits.remove(commit)
    renumbered(book.commits, call.actor)


def other_stored_refusal(book: Book, chance: Random) -> None:
    event, _ = one_stored(book, chance, REFUSED, *Outcome)
    event["data"]["details"]["version"] += 1


def failed(book: Book, chance: Random) -> None:
    place = one_call(book, chance, lambda _: True)
    book.calls[place] = replace(book.calls[place], outcome=Outcome.FAILED)


def late(book: Book, chance: Random) -> None:
    place = one_call(book, chance, lambda _: True)
    call = book.calls[place]
    book.calls[place] = replace(call, ended_s=call.started_s + call.deadline_s + ANY_SHARE.overdue_s + 1)


def early_read(book: Book, chance: Random) -> None:
    """A query heard of an event and had its answer before that was sent."""
    place = one_call(
        book, chance, lambda call: answered_read(call) and call.receipt is not None and call.receipt.version > 0
    )
    call = book.calls[place]
    book.calls[place] = replace(call, started_s=-2.0, ended_s=-1.0)


def stale_read(book: Book, chance: Random) -> None:
    """A query heard an older state than one that was acknowledged before it was sent."""
    append = book.calls[one_call(book, chance, acknowledged)]
    assert append.receipt is not None
    older = next((call.receipt for call in book.calls if call.actor == append.actor and call.receipt is not None
                  and call.receipt.version < append.receipt.version), None)  # fmt: skip
    assume(older is not None)
    assert older is not None
    end_s = max(call.ended_s for call in book.calls)
    book.read("c9", end_s + 1, end_s + 2, older, actor=append.actor)


MUTATIONS = [
    drop, cut_off, repeat, swap, other_amount, other_number, other_command, other_version, other_actor,
    other_stored_reply, no_attribute, bad_attribute, other_receipt, refused_after_all, failed, late, early_read,
    stale_read, done_after_a_stored_refusal, told_done, told_that_nothing_was_done, refused_without_need,
    other_stored_refusal, drop_system_event,
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS)
@given(chance=CHANCE, steps=st.integers(10, 80))
def test_any_single_change_is_found(mutate: Callable[[Book, Random], None], chance: Random, steps: int) -> None:
    book = simulated(chance, steps)
    mutate(book, chance)
    assert not book.check(ANY_SHARE).ok

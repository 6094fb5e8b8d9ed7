"""Holds what clients heard against what the stream stores. Pure, and without a line of the runtime.

The histories are the truth; a client's log may be contradicted by them and never the other way. Every class of
violation is `report.Violation`; the tests of this module show each one found alone.
"""

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

from tests.chaos.calls import Act, Call, Outcome, Receipt
from tests.chaos.histories import (
    EVENT_TYPE,
    HANDLED,
    REFUSED,
    WORKER_LOST,
    Append,
    Recorded,
    Stored,
    read_histories,
)
from tests.chaos.report import Finding, Report, Violation, collected

LOSSES_MAX = 2
"""A command that has ended so many workers is refused for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run must reach to count: answered calls, their share of all, and how late after its deadline a client
    may be told."""

    answered_min: int = 1
    answered_share_min: float = 0.5
    overdue_s: float = 5.0


def check(
    stored: Iterable[Stored], calls: Sequence[Call], *, namespace: str, shards: int, limits: Limits | None = None
) -> Report:
    """Everything that is wrong with a run whose calls have all ended."""
    histories, findings = read_histories(stored, namespace, shards)
    appends = {call.command_id: call for call in calls if call.act is Act.APPEND}
    for actor in sorted(histories.keys() | {call.actor for call in calls}):
        events = histories.get(actor, [])
        of_actor = [call for call in calls if call.actor == actor]
        findings += _OneActor(actor, events, of_actor, appends).findings()
    findings += _answers(calls, limits or Limits())
    counts, examples = collected(findings)
    types = Counter(event.type for events in histories.values() for event in events)
    outcomes = Counter((call.act, call.outcome) for call in calls)
    by_outcome = Counter(call.outcome for call in calls)
    return Report(
        counts=counts,
        examples=examples,
        calls=len(calls),
        appended=outcomes[Act.APPEND, Outcome.REPLY],
        read=outcomes[Act.READ, Outcome.REPLY],
        rejected=by_outcome[Outcome.REJECTED],
        unknown=by_outcome[Outcome.UNKNOWN],
        unavailable=by_outcome[Outcome.UNAVAILABLE],
        events=sum(len(events) for events in histories.values()),
        refusals_stored=types[REFUSED],
        handled_stored=types[HANDLED],
        losses_stored=types[WORKER_LOST],
        actors=len(histories),
        longest_wait_s=max((call.ended_s - call.started_s for call in calls), default=0.0),
        longest_silence_s=_longest_silence_s(calls),
    )


def _answers(calls: Sequence[Call], limits: Limits) -> list[Finding]:
    """What the log alone can be accused of."""
    findings = []
    for call in calls:
        if call.outcome is Outcome.FAILED:
            findings.append(Finding(Violation.FAILED, f"{_shown(call)}: {call.error}"))
        late_s = call.ended_s - call.started_s - call.deadline_s
        if late_s > limits.overdue_s:
            findings.append(Finding(Violation.OVERDUE, f"{_shown(call)} ended {late_s:.1f} s late"))
    answered = sum(call.outcome in (Outcome.REPLY, Outcome.REJECTED) for call in calls)
    if answered < max(limits.answered_min, limits.answered_share_min * len(calls)):
        findings.append(Finding(Violation.TOO_FEW, f"{answered} of {len(calls)} calls"))
    return findings


def _longest_silence_s(calls: Sequence[Call]) -> float:
    answered = sorted(call.ended_s for call in calls if call.outcome is Outcome.REPLY)
    times = [min((call.started_s for call in calls), default=0.0), *answered]
    return max((after - before for before, after in pairwise(times)), default=0.0)


class _OneActor:
    """One actor's history, and every call to it."""

    def __init__(self, actor: str, events: Sequence[Recorded], calls: Sequence[Call], appends: dict[str, Call]) -> None:
        self._actor = actor
        self._events = events
        self._calls = calls
        self._appends = appends
        self._states = _states(events)
        self._place: dict[str, int] = {}  # of the first outcome of each command; a lost worker is none
        for place, event in enumerate(events):
            if event.command_id is not None and event.type != WORKER_LOST:
                self._place.setdefault(event.command_id, place)
        answered = [call for call in calls if call.outcome in (Outcome.REPLY, Outcome.REJECTED)]
        self._acknowledged = [call for call in answered if _appended(call)]
        self._without_events = [call for call in answered if not _appended(call)]

    def findings(self) -> list[Finding]:
        return [
            *self._versions(),
            *self._unexpected(),
            *self._twice(),
            *self._contradicted(),
            *self._decided(),
            *self._reordered(),
            *self._missing(),
            *self._replies(),
            *self._queries(),
        ]

    def _versions(self) -> Iterable[Finding]:
        wanted = 1
        for event in self._events:
            if event.version != wanted:
                yield Finding(Violation.VERSION_GAP, f"{event}: the next was {wanted}")
            wanted = (event.version or wanted) + 1

    def _unexpected(self) -> Iterable[Finding]:
        for event in self._events:
            call = self._appends.get(event.command_id or "")
            if call is None:
                yield Finding(Violation.UNEXPECTED, f"{event}: nobody sent that command")
            elif call.actor != self._actor:
                yield Finding(Violation.UNEXPECTED, f"{event}: it was sent to {call.actor}")
            elif not _explains(call, event):
                yield Finding(
                    Violation.UNEXPECTED,
                    f"{event}: {event.type} {event.append or event.refusal}, sent was {_shown(call)}",
                )
            elif event.type == EVENT_TYPE and call.outcome in (Outcome.REJECTED, Outcome.UNAVAILABLE):
                yield Finding(Violation.UNEXPECTED, f"{event}: its client was told {call.outcome}")

    def _twice(self) -> Iterable[Finding]:
        """A command has one outcome: events, a reply without any, or a refusal. Two lost workers leave a refusal."""
        losses = Counter[str]()
        for place, event in enumerate(self._events):
            command_id = event.command_id
            if command_id is None:
                continue
            if event.type == WORKER_LOST:
                losses[command_id] += 1
                continue
            first = self._events[self._place[command_id]]
            if self._place[command_id] != place:
                violation = Violation.DUPLICATED if first.type == event.type else Violation.TWO_OUTCOMES
                yield Finding(violation, f"{event}, {event.type}: before it as {first}, {first.type}")
            elif losses[command_id] >= LOSSES_MAX and event.type != REFUSED:
                yield Finding(
                    Violation.TWO_OUTCOMES, f"{event}, {event.type}: it had ended {losses[command_id]} workers"
                )

    def _contradicted(self) -> Iterable[Finding]:
        """What is stored of a command without a change is what its client was told, if it was told anything."""
        for call in self._calls:
            event = self._outcome(call)
            if event is None or event.type == EVENT_TYPE or call.outcome in (Outcome.UNKNOWN, Outcome.FAILED):
                continue
            if event.type == HANDLED:
                agrees, told = call.outcome is Outcome.REPLY, _receipt(event.reply)
            else:
                agrees, told = call.outcome is Outcome.REJECTED, _receipt(event.refusal and event.refusal.details)
            if not agrees or call.receipt != told:
                yield Finding(
                    Violation.CONTRADICTED,
                    f"{_shown(call)} was told {call.outcome} {call.receipt}, {event} is {event.type} {told}",
                )

    def _decided(self) -> Iterable[Finding]:
        """Nothing is taken from a ledger that has less, and nothing else is refused."""
        for event in self._events:
            before = self._states.get((event.version or 0) - 1)
            if before is None:
                continue
            call = self._appends.get(event.command_id or "")
            if event.append is not None and before.total + event.append.amount < 0:
                yield Finding(Violation.DECIDED_WRONG, f"{event} took {-event.append.amount} of {before}")
            elif event.type == REFUSED and call is not None and before.total + call.amount >= 0:
                yield Finding(Violation.DECIDED_WRONG, f"{event} refused {call.amount} at {before}")
            told = _receipt(event.reply if event.type == HANDLED else event.refusal and event.refusal.details)
            if event.type in (HANDLED, REFUSED) and told != before:
                yield Finding(Violation.WRONG_REPLY, f"{event}, {event.type}, tells {told}, before it was {before}")
        for call in self._without_events:
            state = call.receipt
            if call.outcome is Outcome.REJECTED and state is not None and state.total + call.amount >= 0:
                yield Finding(Violation.DECIDED_WRONG, f"{_shown(call)} was refused at {state}")

    def _reordered(self) -> Iterable[Finding]:
        """What was acknowledged before another was sent comes before it; a client's numbers only grow."""
        highest: dict[str, int] = {}
        calls = [self._appends.get(event.command_id or "") for event in self._events]
        soonest_s = math.inf
        overtaken = set()
        for place in range(len(calls) - 1, -1, -1):
            call = calls[place]
            if call is None or self._place.get(call.command_id) != place:
                continue
            if call.started_s > soonest_s:
                overtaken.add(place)
            if call.outcome in (Outcome.REPLY, Outcome.REJECTED):
                soonest_s = min(soonest_s, call.ended_s)
        for place, call in enumerate(calls):
            if call is None or self._place.get(call.command_id) != place:
                continue
            if place in overtaken or call.number < highest.get(call.client, 0):
                yield Finding(Violation.REORDERED, f"{self._events[place]}: {_shown(call)}")
            highest[call.client] = max(highest.get(call.client, 0), call.number)

    def _missing(self) -> Iterable[Finding]:
        ordered = sorted(
            (call for call in self._calls if _is_stored(call)),
            key=lambda call: (call.receipt.version if call.receipt else 0, call.ended_s),
        )
        there = [n for n, call in enumerate(ordered) if call.command_id in self._place]
        for n, call in enumerate(ordered):
            if call.command_id in self._place:
                continue
            violation = Violation.MISSING_MIDDLE
            if not there or n > there[-1]:
                violation = Violation.MISSING_SUFFIX
            elif n < there[0]:
                violation = Violation.MISSING_PREFIX
            yield Finding(violation, f"{_shown(call)}, acknowledged with {call.receipt}")

    def _replies(self) -> Iterable[Finding]:
        for call in self._acknowledged:
            event = self._outcome(call)
            if event is None or event.type != EVENT_TYPE:
                continue
            state = self._states.get(event.version or 0)
            if call.receipt != state:
                yield Finding(Violation.WRONG_REPLY, f"{_shown(call)} heard {call.receipt}, {event} is {state}")
            elif call.receipt != _receipt(event.reply):
                yield Finding(Violation.WRONG_REPLY, f"{_shown(call)} heard {call.receipt}, stored is {event.reply}")

    def _queries(self) -> Iterable[Finding]:
        """What an answer without events tells was there at some instant between its call's sending and its end."""
        told = sorted((call for call in self._without_events), key=lambda call: call.ended_s)
        known = _Highest((call.ended_s, self._stored_version(call)) for call in self._acknowledged + told)
        seen = _Highest((call.ended_s, call.receipt.version) for call in told if call.receipt is not None)
        sent_s = self._sent_s()
        for call in told:
            receipt = call.receipt
            if receipt is None or self._states.get(receipt.version) != receipt:
                state = self._states.get(receipt.version if receipt else 0)
                yield Finding(Violation.WRONG_QUERY, f"{_shown(call)} heard {receipt}, the history has {state}")
                continue
            if receipt.version < (least := known.before(call.started_s)):
                yield Finding(
                    Violation.STALE_QUERY, f"{_shown(call)} heard {receipt}, version {least} was acknowledged"
                )
            if receipt.version < (least := seen.before(call.started_s)):
                yield Finding(Violation.BACKWARDS_QUERY, f"{_shown(call)} heard {receipt}, version {least} was seen")
            if sent_s.get(receipt.version, 0.0) > call.ended_s:
                yield Finding(Violation.EARLY_QUERY, f"{_shown(call)} heard {receipt}, which was not sent yet")

    def _outcome(self, call: Call) -> Recorded | None:
        """What is stored of the call."""
        place = self._place.get(call.command_id)
        return None if place is None else self._events[place]

    def _stored_version(self, call: Call) -> int:
        event = self._outcome(call)
        return 0 if event is None else event.version or 0

    def _sent_s(self) -> dict[int, float]:
        """By version, when the last event up to it was sent."""
        latest_s, found = 0.0, {}
        for event in self._events:
            call = self._appends.get(event.command_id or "")
            latest_s = max(latest_s, call.started_s if call is not None else 0.0)
            found[event.version or 0] = latest_s
        return found


def _appended(call: Call) -> bool:
    """Whether its answer says that an event is stored."""
    return call.act is Act.APPEND and call.outcome is Outcome.REPLY and call.amount != 0


def _is_stored(call: Call) -> bool:
    """Whether its answer says that the history has its outcome: of an id that the caller gave, every outcome."""
    told = call.act is Act.APPEND and call.outcome in (Outcome.REPLY, Outcome.REJECTED)
    return _appended(call) or (told and call.given)


def _explains(call: Call, event: Recorded) -> bool:
    """Whether the event may be stored of such a command. A handler of a ledger refuses, and never fails."""
    if event.type == EVENT_TYPE:
        return call.amount != 0 and event.append == Append(call.client, call.number, call.amount)
    if event.type == HANDLED:
        return call.amount == 0
    if event.type == REFUSED:
        return event.refusal is not None and event.refusal.code == "rejected"
    return event.type == WORKER_LOST


class _Highest:
    """The highest version that was known by a time."""

    def __init__(self, known: Iterable[tuple[float, int]]) -> None:
        self._times_s: list[float] = []
        self._versions: list[int] = []
        highest = 0
        for time_s, version in sorted(known):
            highest = max(highest, version)
            self._times_s.append(time_s)
            self._versions.append(highest)

    def before(self, time_s: float) -> int:
        place = bisect_left(self._times_s, time_s)
        return self._versions[place - 1] if place else 0


def _states(events: Iterable[Recorded]) -> dict[int, Receipt]:
    """The ledger by version, folded here once more."""
    total, digest = 0, 0
    states = {0: Receipt(0, 0, 0)}
    for event in events:
        if event.append is not None:
            client, number, amount = event.append
            total += amount
            digest = crc32(f"{digest}/{client}/{number}/{amount}".encode())
        if event.version is not None:
            states[event.version] = Receipt(event.version, total, digest)
    return states


def _receipt(reply: str | None) -> Receipt | None:
    try:
        return Receipt(**json.loads(reply or ""))
    except (ValueError, TypeError):
        return None


def _shown(call: Call) -> str:
    what = f"append {call.number} ({call.amount})" if call.act is Act.APPEND else "read"
    return f"{call.client} {what} of {call.actor} [{call.command_id} {call.started_s:.3f}-{call.ended_s:.3f}]"

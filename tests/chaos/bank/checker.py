"""Holds the histories of accounts against what clients heard and what the server outside was asked. Pure.

The stream is one order of all commits, so each of its beginnings is a consistent cut: the total is counted at each.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.bank.books import Books, End
from tests.chaos.bank.findings import BankReport, Finding, Wrong, collected
from tests.chaos.bank.model import ATTEMPTS, CHARGES_RUNNING_MAX, MAILS_RUNNING_MAX
from tests.chaos.bank.outside import Asked
from tests.chaos.calls import Act, Call, Outcome
from tests.chaos.histories import Stored

GONE_S = 0.25
"""So much earlier than the server has noticed it may a client have gone, also one that is answered all the same."""

RUNNING_MAX = {"charge": CHARGES_RUNNING_MAX, "mail": MAILS_RUNNING_MAX}


@dataclass(frozen=True, slots=True, kw_only=True)
class BankLimits:
    """What a run must reach to count."""

    answered_min: int = 1


def check_bank(
    stored: Iterable[Stored], calls: Sequence[Call], asked: Sequence[Asked], limits: BankLimits | None = None
) -> BankReport:
    """Everything that is wrong with a run that has ended; `Wrong.LOST` may be only not there yet."""
    books = Books({call.command_id: call for call in calls})
    for message in stored:
        books.read(message)
    books.close()
    findings = [*books.findings, *_answers(books, calls), *_requests(books, asked), *_at_once(asked)]
    answered = sum(call.outcome in (Outcome.REPLY, Outcome.REJECTED) for call in calls)
    if answered < (limits or BankLimits()).answered_min:
        findings.append(Finding(Wrong.TOO_FEW, f"{answered} of {len(calls)} calls"))
    counts, examples = collected(findings)
    return BankReport(counts=counts, examples=examples, figures=_figures(books, calls, asked))


def _answers(books: Books, calls: Sequence[Call]) -> Iterable[Finding]:
    for call in calls:
        if call.outcome is Outcome.FAILED:
            yield Finding(Wrong.FAILED, f"{call.command_id}: {call.error}")
        if call.outcome not in (Outcome.REPLY, Outcome.REJECTED):
            continue
        if call.act is Act.APPEND and call.receipt is not None and call.command_id not in books.places:
            yield Finding(Wrong.MISSING, f"{call.command_id}, answered with {call.receipt}")
        if call.receipt is not None:
            there = books.balance_at(call.actor, call.receipt.version)
            if there != call.receipt.total:
                what = f"{call.command_id} heard {call.receipt}, the history has {there}"
                yield Finding(Wrong.WRONG_ANSWER, what)


def _requests(books: Books, asked: Sequence[Asked]) -> Iterable[Finding]:
    """One key for each task, each task asked for, and no result that the server did not give."""
    receipts, keys, attempts = set(), dict[str, set[str]](), Counter[str]()
    for one in asked:
        request = one.request
        keys.setdefault(request.number, set()).add(request.key)
        attempts[request.key] += 1
        if one.receipt:
            receipts.add((request.key, one.receipt))
        if not 1 <= request.attempt <= ATTEMPTS:
            yield Finding(Wrong.ATTEMPTS, f"{request}")
        if request.number not in books.tasks:
            yield Finding(Wrong.MADE_UP, f"{request} is of no task that is stored")
    for number, task in books.tasks.items():
        found = keys.get(number, set())
        if found - {task.key}:
            yield Finding(Wrong.KEY_CHANGED, f"{number} was started as {task.key} and asked for as {sorted(found)}")
        if not found and task.end is not End.STOPPED:
            yield Finding(Wrong.NEVER_ASKED, f"{number}: {task.end}")
        if task.end is End.SETTLED and (task.key, task.receipt) not in receipts:
            yield Finding(Wrong.WRONG_RESULT, f"{number} has the receipt {task.receipt!r}")


def _at_once(asked: Sequence[Asked]) -> Iterable[Finding]:
    """No worker runs more of a task at once than it may."""
    changes: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for one in asked:
        of_worker = changes.setdefault((one.request.worker, one.request.task), [])
        of_worker += [(one.began_s, 1), (max(one.began_s, one.ended_s - GONE_S), -1)]
    for (worker, task), of_worker in changes.items():
        running = most = 0
        for _, change in sorted(of_worker):
            running += change
            most = max(most, running)
        if most > RUNNING_MAX[task]:
            yield Finding(Wrong.TOO_MANY, f"{most} of {task} at once in process {worker}")


def _figures(books: Books, calls: Sequence[Call], asked: Sequence[Asked]) -> tuple[tuple[str, str], ...]:
    outcomes, types = Counter(call.outcome for call in calls), books.types
    ends = Counter(task.end for task in books.tasks.values())
    again = len(asked) - len({one.request.key for one in asked})
    return (
        ("calls", ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))),
        ("events stored", str(sum(types.values()))),
        ("cuts of the stream", str(books.cuts)),
        ("payments taken", str(types["Taken"])),
        ("holds", f"{types['Held']}, captured {types['Captured']}, released {types['Released']}"),
        ("repeated payments", f"{types['Repeated']} of {types['Ordered']} orders"),
        ("tasks", ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))),
        ("requests outside", f"{len(asked)}, {again} of them repeated"),
    )

"""The check of the bank's histories: a run that agrees passes, and each single harm is found as what it is."""

from collections.abc import Callable

import pytest

from tests.chaos.bank.findings import Wrong
from tests.chaos.bank.made import Run, made
from tests.chaos.calls import Outcome, Receipt


def test_a_run_that_agrees_passes() -> None:
    report = made().check()
    assert report.ok, report.table()


def lost_commit(run: Run) -> None:
    run.call("pay-9", "a", Receipt(99, 1, 0))


def tell_in_effect_twice(run: Run) -> None:
    run.commit("b", "Taken", "tell:99", 20.0, number="pay-1", amount=5)


def tick_in_effect_twice(run: Run) -> None:
    run.at("Repeated", 1).body["count"] = 3


def result_in_effect_twice(run: Run) -> None:
    run.commit("a", "Refunded", "task:x", 20.0, number="task-1", error_type="Refused", attempts=4)


def command_twice(run: Run) -> None:
    run.commit("b", "aether.Handled", "pay-1", 20.0)
    run.commit("b", "aether.Handled", "pay-1", 20.0)


def without(type: str) -> Callable[[Run], None]:
    def lose(run: Run) -> None:
        run.commits = [one for one in run.commits if one is not run.at(type)]

    lose.__name__ = f"without_{type}"
    return lose


def receipt_without_effect(run: Run) -> None:
    run.commits = [one for one in run.commits if one.body.get("number") != "c0/tell/a/1"]


def made_up(run: Run) -> None:
    run.commit("b", "Taken", "tell:99", 20.0, number="nobody", amount=5)


def effect_before_its_cause(run: Run) -> None:
    taken = run.at("Taken")
    run.commits.remove(taken)
    run.commits.insert(2, taken)


def function_of_nothing_stored(run: Run) -> None:
    run.ask("task-9", "key-task-9", 1, 30.0, "r9")


def out_of_order(run: Run) -> None:
    first, second = run.at("Taken", 0), run.at("Taken", 1)
    first.body, second.body = second.body, first.body


def early_release(run: Run) -> None:
    run.at("Released").at_s = 4.9


def early_tick(run: Run) -> None:
    run.at("Repeated").at_s = 6.9


def early_payment(run: Run) -> None:
    run.at("Taken", 2).at_s = 2.9


def result_after_the_cancel(run: Run) -> None:
    run.commit("a", "Settled", "task:key-task-3", 20.0, number="task-3", receipt="r1")


def stray(run: Run) -> None:
    run.commit("a", "Stray", "timer:x", 20.0, number="hold-1", what="the end of a hold")


def too_much(run: Run) -> None:
    run.at("Taken").body["amount"] = 6


def wrong_answer(run: Run) -> None:
    run.change_call("pay-2", receipt=Receipt(3, 93, 0))


def version_gap(run: Run) -> None:
    run.gap = True


def another_key(run: Run) -> None:
    run.change_asked(1, key="key-task-1-again")


def never_asked(run: Run) -> None:
    run.asked = [one for one in run.asked if one.request.number != "task-2"]


def wrong_result(run: Run) -> None:
    run.at("Settled").body["receipt"] = "r7"


def one_attempt_more(run: Run) -> None:
    run.ask("task-2", "key-task-2", 5, 30.0)


def three_at_once(run: Run) -> None:
    for place in (0, 1, 2):
        run.ask("task-2", "key-task-2", 1, 40.0 + place / 10)


def failed(run: Run) -> None:
    run.change_call("pay-1", outcome=Outcome.FAILED, receipt=None)


def unanswered(run: Run) -> None:
    run.calls = []


HARMS: list[tuple[Wrong, Callable[[Run], None]]] = [
    (Wrong.MISSING, lost_commit),
    (Wrong.TWICE, tell_in_effect_twice),
    (Wrong.TWICE, tick_in_effect_twice),
    (Wrong.TWICE, result_in_effect_twice),
    (Wrong.TWICE, command_twice),
    (Wrong.LOST, without("Taken")),
    (Wrong.LOST, without("Released")),
    (Wrong.LOST, without("Repeated")),
    (Wrong.LOST, without("Settled")),
    (Wrong.LOST, without("Refunded")),
    (Wrong.LOST, receipt_without_effect),
    (Wrong.MADE_UP, made_up),
    (Wrong.MADE_UP, effect_before_its_cause),
    (Wrong.MADE_UP, function_of_nothing_stored),
    (Wrong.OUT_OF_ORDER, out_of_order),
    (Wrong.EARLY, early_release),
    (Wrong.EARLY, early_tick),
    (Wrong.EARLY, early_payment),
    (Wrong.STRAY, result_after_the_cancel),
    (Wrong.STRAY, stray),
    (Wrong.NOT_CONSERVED, too_much),
    (Wrong.WRONG_ANSWER, wrong_answer),
    (Wrong.VERSION_GAP, version_gap),
    (Wrong.KEY_CHANGED, another_key),
    (Wrong.NEVER_ASKED, never_asked),
    (Wrong.WRONG_RESULT, wrong_result),
    (Wrong.ATTEMPTS, one_attempt_more),
    (Wrong.TOO_MANY, three_at_once),
    (Wrong.FAILED, failed),
    (Wrong.TOO_FEW, unanswered),
]


@pytest.mark.parametrize(("wrong", "harm"), HARMS, ids=lambda one: one.name if isinstance(one, Wrong) else one.__name__)
def test_a_harm_is_found(wrong: Wrong, harm: Callable[[Run], None]) -> None:
    run = made()
    harm(run)
    report = run.check()
    assert wrong in report.counts, report.table()


def test_every_class_can_be_found() -> None:
    assert {wrong for wrong, _ in HARMS} == set(Wrong)


@pytest.mark.parametrize(("id", "findings"), [("task:x", 0), ("timer:x@2026-01-01T00:00:00+00:00", 0), ("tell:99", 1)])
def test_a_tick_and_a_result_may_come_again_without_an_effect(id: str, findings: int) -> None:
    run = made()
    run.commit("b", "aether.Handled", id, 20.0)
    run.commit("b", "aether.Handled", id, 20.0)
    assert sum(run.check().counts.values()) == findings

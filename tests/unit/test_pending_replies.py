"""Replies that callers wait for: each ends once, by what comes first."""

from collections.abc import Callable

import pytest

from aether.jetstream.connection.message import Message
from aether.jetstream.connection.pending_replies import NoReply, PendingReplies, Reply

PREFIX = "_INBOX.x."
FAR_S = 1e9


def inbox() -> tuple[PendingReplies, list[tuple[str, Reply]], Callable[[str, str], str]]:
    """An inbox, what its receivers were told, and a way to ask a subject under a name."""
    made, told = PendingReplies(PREFIX, lambda deadline_s: None), list[tuple[str, Reply]]()

    def ask(name: str, subject: str) -> str:
        return made.expect(lambda reply: told.append((name, reply)), FAR_S, subject=subject)

    return made, told, ask


def test_what_was_asked_below_a_subject_is_interrupted_and_nothing_else() -> None:
    made, told, ask = inbox()
    ask("three", "ns.cmd.3.account.alice")
    ask("three again", "ns.cmd.3.account.bob")
    ask("thirty", "ns.cmd.30.account.carol")
    ask("store", "ns.evt.3.account.alice")
    ask("no subject", "")
    made.interrupt(["ns.cmd.3."])
    assert told == [("three", NoReply.MOVED), ("three again", NoReply.MOVED)]
    assert len(made) == 3
    made.interrupt(["ns.cmd.3.", "ns.cmd.30."])
    assert told[2:] == [("thirty", NoReply.MOVED)]


def test_an_interruption_of_nothing_ends_nothing() -> None:
    made, told, ask = inbox()
    ask("one", "ns.cmd.3.account.alice")
    made.interrupt([])
    assert told == []
    assert len(made) == 1


def test_a_reply_after_the_interruption_is_dropped() -> None:
    made, told, ask = inbox()
    reply_to = ask("one", "ns.cmd.3.account.alice")
    made.interrupt(["ns.cmd.3."])
    made.deliver(Message(reply_to, "", b"late", b""))
    made.sweep(2 * FAR_S)
    made.end()
    assert told == [("one", NoReply.MOVED)]
    assert not made.forget(reply_to)


def test_a_receiver_that_asks_again_while_it_is_interrupted_is_not_interrupted_again() -> None:
    made, told, ask = inbox()

    def ask_again(reply: Reply) -> None:
        told.append(("first", reply))
        ask("second", "ns.cmd.3.account.alice")

    made.expect(ask_again, FAR_S, subject="ns.cmd.3.account.alice")
    made.interrupt(["ns.cmd.3."])
    assert told == [("first", NoReply.MOVED)]
    assert len(made) == 1


def test_a_receiver_that_raises_does_not_keep_the_others_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    made, told, ask = inbox()

    def bug(reply: Reply) -> None:
        raise ZeroDivisionError

    made.expect(bug, FAR_S, subject="ns.cmd.3.account.alice")
    ask("other", "ns.cmd.3.account.bob")
    made.interrupt(["ns.cmd.3."])
    assert told == [("other", NoReply.MOVED)]
    assert "a receiver of a reply raised" in caplog.text


def test_a_receiver_that_forgets_another_one_while_it_is_interrupted_ends_it_in_silence() -> None:
    made, told, ask = inbox()
    others: list[str] = []

    def forget(reply: Reply) -> None:
        made.forget(others[0])

    made.expect(forget, FAR_S, subject="ns.cmd.3.account.alice")
    others.append(ask("other", "ns.cmd.3.account.bob"))
    made.interrupt(["ns.cmd.3."])
    assert told == []
    assert len(made) == 0


def test_each_message_that_the_server_dropped_ends_the_last_one_sent_on_its_subject() -> None:
    made, told, ask = inbox()
    ask("allowed before", "ns.evt.3.account.alice")
    ask("dropped", "ns.evt.3.account.alice")
    ask("dropped too", "ns.evt.3.account.alice")
    ask("other", "ns.evt.3.account.bob")
    made.forbid("ns.evt.3.account.alice")
    made.forbid("ns.evt.3.account.alice")
    made.forbid("ns.evt.3.account.nobody")
    assert told == [("dropped too", NoReply.FORBIDDEN), ("dropped", NoReply.FORBIDDEN)]
    assert len(made) == 2


def awaiting() -> tuple[PendingReplies, list[float], Callable[[str, float], str], list[str]]:
    """Pending replies, when their sweeps were said to be due, a way to ask until a time, and whose wait has ended."""
    due: list[float] = []
    ended: list[str] = []
    made = PendingReplies(PREFIX, due.append)

    def ask(name: str, deadline_s: float) -> str:
        return made.expect(lambda reply: ended.append(name), deadline_s)

    return made, due, ask, ended


def test_a_sweep_is_due_at_the_earliest_deadline_and_never_while_nothing_is_awaited() -> None:
    made, due, ask, ended = awaiting()
    assert due == []
    ask("second", 20.0)
    ask("third", 30.0)
    ask("first", 10.0)
    assert due == [20.0, 10.0]
    made.sweep(10.0)
    assert (ended, due) == (["first"], [20.0, 10.0, 20.0])
    made.sweep(30.0)
    assert (ended, due[3:]) == (["first", "second", "third"], [])
    ask("fourth", 40.0)
    assert due[3:] == [40.0]


def test_calls_one_after_the_other_make_no_sweep_due_but_the_first() -> None:
    made, due, ask, ended = awaiting()
    for number in range(100):
        made.deliver(Message(ask("call", 10.0 + number), "", b"", b""))
    assert due == [10.0]
    made.sweep(10.0)
    assert due == [10.0]
    assert len(ended) == 100  # each had its answer


def test_who_asks_again_when_nothing_came_in_time_is_swept_too() -> None:
    due: list[float] = []
    made = PendingReplies(PREFIX, due.append)

    def ask_again(reply: Reply) -> None:
        made.expect(lambda reply: None, 15.0)

    made.expect(ask_again, 10.0)
    made.expect(lambda reply: None, 20.0)
    made.sweep(12.0)
    assert due == [10.0, 15.0]

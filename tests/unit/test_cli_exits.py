"""Every error has an exit code and one printable line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.cli.exits import EXIT_CODES, error_line, exit_code, one_line
from aether.errors import (
    ERRORS,
    ActorFailed,
    AetherError,
    ConfigError,
    DeadlineExceeded,
    InvalidCommand,
    ModelError,
    Overloaded,
    Rejected,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    VersionConflict,
)
from aether.ports import NotSent

LINES = [
    (Rejected("insufficient funds", balance=10), 1, "rejected: insufficient funds (balance=10)"),
    (Rejected("no x", command="x", path=""), 1, 'rejected: no x (command="x", path="")'),
    (ActorFailed("a bug", actor="account/a", command_id="c1"), 1,
     'actor failed: a bug (actor="account/a", command_id="c1")'),
    (VersionConflict("account/a", 1, 2), 1,
     "version conflict: account/a is at 2, the writer expected 1"),
    (InvalidCommand("expected integer", path="amount"), 2, "invalid command: amount: expected integer"),
    (UnknownActor("no such kind", kind="acount"), 2, "unknown actor: no such kind"),
    (UnknownCommand("no such command", kind="account", command="x"), 2, "unknown command: no such command"),
    (Overloaded("the mailbox is full", limit="mailbox_max"), 3,
     'overloaded: the mailbox is full (limit="mailbox_max")'),
    (Unavailable("nobody there", url="nats://x"), 3, 'unavailable: nobody there (url="nats://x")'),
    (Unavailable("nobody at nats://x", url="nats://x"), 3, "unavailable: nobody at nats://x"),
    (NotSent("no owner"), 3, "unavailable: no owner"),
    (DeadlineExceeded("too late"), 3, "deadline exceeded: too late"),
    (ModelError("untyped", file="bank.py", line=3), 4, "model error: bank.py:3: untyped"),
    (ConfigError("shards must be at least 1", setting="shards"), 4, "config error: shards must be at least 1"),
    (ConfigError("name the namespace: the server has several: a, b", setting="namespace", namespaces=["a", "b"]), 4,
     "config error: name the namespace: the server has several: a, b"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "line"), LINES)
def test_an_error_is_a_code_and_a_line(error: AetherError, code: int, line: str) -> None:
    assert exit_code(error) == code
    assert error_line(error) == line


def test_every_error_has_a_code_of_its_own_choice() -> None:
    assert set(ERRORS.values()) < set(EXIT_CODES)


def test_details_that_are_no_json_are_shown_all_the_same() -> None:
    assert error_line(Rejected("no", at=2 + 1j)) == "rejected: no (at=(2+1j))"


@given(st.text(), st.dictionaries(st.text(min_size=1).filter(lambda name: name != "message"), st.text()))
def test_no_message_breaks_the_line_or_moves_the_cursor(message: str, details: dict[str, str]) -> None:
    line = error_line(Rejected(message, **details))

    assert line.isprintable()
    assert line.encode()


@given(st.text())
def test_a_printable_line_is_shown_as_it_is(text: str) -> None:
    line = one_line(text)

    assert one_line(line) == line

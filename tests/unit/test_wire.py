"""The envelopes' bytes and refusals, each by one example."""

from datetime import UTC, datetime

import pytest

from aether.errors import InvalidCommand, UnreadableEvent
from aether.ids import ActorId, Position
from aether.json_checks import split_path
from aether.wire import decode_command, decode_commit, encode_answer, encode_commit, instant, new_event

ALICE = ActorId("account", "alice")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_the_bytes_of_a_commit_are_what_other_languages_read() -> None:
    event = new_event(
        version=3, source="/bank/account/alice", type="Deposited", time=NOON, data=b'{"amount":5}', commandid="c-1",
        deadline=NOON, reply="8",
    )  # fmt: skip
    assert encode_commit([event]) == (
        b'[{"specversion":"1.0","id":"3","source":"/bank/account/alice","type":"Deposited",'
        b'"time":"2030-01-01T12:00:00Z","data":{"amount":5},"commandid":"c-1","deadline":"2030-01-01T12:00:00Z",'
        b'"reply":"8"}]'
    )


def test_the_bytes_of_an_answer() -> None:
    assert encode_answer(b'{"a":1}', 3, 17) == b'{"ok":true,"value":{"a":1},"version":3,"position":17}'


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b'{"command":"c","deadline":"2030-01-01T00:00:00Z"}', "id"),
        (b'{"id":1,"command":"c","deadline":"2030-01-01T00:00:00Z"}', "id"),
        (b'{"id":"","command":"c","deadline":"2030-01-01T00:00:00Z"}', "id"),
        (b'{"id":"%b","command":"c","deadline":"2030-01-01T00:00:00Z"}' % (b"x" * 129), "id"),
        (b'{"id":"1","command":"c","deadline":"tomorrow"}', "deadline"),
        (b'{"id":"1","command":"c","deadline":"2030-01-01T00:00:00"}', "deadline"),
        (b'{"id":"1","command":"c","deadline":"2030-01-01T00:00:00Z","chain":["a",2]}', "chain[1]"),
        (b"", ""),
        (b"\xff", ""),
        (b"[]", ""),
    ],
)
def test_a_command_that_does_not_fit_names_the_field(payload: bytes, path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        decode_command(payload)
    assert refused.value.path == path


EVENT = b'{"specversion":"1.0","id":"%b","source":"/s","type":"T","time":"2030-01-01T00:00:00Z","data":1}'


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"[1]",
        EVENT % b"1",
        b"[" + EVENT % b"0" + b"]",
        b"[" + EVENT % b"-1" + b"]",
        b"[" + EVENT % b"01" + b"]",
        b"[" + EVENT % b"1_0" + b"]",
        b"[" + EVENT % "\u0663".encode() + b"]",
        b"[" + EVENT % (b"9" * 5000) + b"]",
        b"[" + EVENT % b"1" + b"," + EVENT % b"3" + b"]",
        b"[" + EVENT % b"2" + b"," + EVENT % b"1" + b"]",
        b"[" + (EVENT % b"1").replace(b"1.0", b"2.0") + b"]",
        b"[" + (EVENT % b"1").replace(b',"data":1', b"") + b"]",
    ],
)
def test_what_is_no_commit_is_unreadable_at_its_position(payload: bytes) -> None:
    with pytest.raises(UnreadableEvent) as stopped:
        decode_commit(payload, ALICE, Position(9))
    assert stopped.value.position == 9
    assert stopped.value.actor == "account/alice"


def test_an_attribute_that_is_unknown_does_not_stop_a_reader() -> None:
    payload = b"[" + (EVENT % b"1").replace(b'"data"', b'"later":"x","data"') + b"]"
    assert decode_commit(payload, ALICE, Position(9))[0].version == 1


def test_the_path_of_a_message() -> None:
    assert split_path("Expected `int`, got `str` - at `$.lines[2].price`") == (
        "Expected 'int', got 'str'",
        "lines[2].price",
    )
    assert split_path("Expected `int`, got `str` - at `$`") == ("Expected 'int', got 'str'", "")
    assert split_path("Object missing required field") == ("Object missing required field", "")


def test_an_instant_has_its_time_zone() -> None:
    assert instant(0.5) == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)

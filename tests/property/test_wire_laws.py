"""The envelopes: decode after encode is identity, garbage is a typed error, what is stored is CloudEvents 1.0."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aether.errors import ERRORS, AetherError, InvalidCommand, UnreadableEvent, error_from_body
from aether.ids import ActorId, Position
from aether.names import event_source
from aether.wire import (
    Answer,
    Command,
    Event,
    answer_error,
    decode_answer,
    decode_command,
    decode_commit,
    encode_answer,
    encode_command,
    encode_commit,
    encode_error,
    new_event,
)

ALICE = ActorId("account", "alice")
HERE = Position(7)

text = st.text(st.characters(codec="utf-8"), max_size=30)
some_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1970, 1, 3), datetime(9998, 1, 1), timezones=offsets)  # noqa: DTZ001 - bounds are naive
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
raw_json = json_values.map(lambda value: json.dumps(value).encode())
raw_objects = st.dictionaries(text, json_values, max_size=3).map(lambda value: json.dumps(value).encode())
actor_ids = st.builds(ActorId, st.sampled_from(["account", "order_line"]), some_text)

commands = st.builds(
    Command,
    id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=128),
    command=text,
    args=raw_objects.map(Raw),
    deadline=times,
    correlationid=text,
    traceparent=text,
    caller=text,
    chain=st.lists(text, max_size=3).map(tuple),
)


@st.composite
def commits(draw: st.DrawFn) -> tuple[ActorId, list[Event]]:
    actor_id = draw(actor_ids)
    first = draw(st.integers(1, 2**40))
    events = [
        new_event(
            version=first + n,
            source=event_source("shop", actor_id),
            type=draw(some_text),
            time=draw(times),
            data=draw(raw_json),
            commandid=draw(text),
            deadline=draw(st.none() | times),
            correlationid=draw(text),
            causationid=draw(text),
            schemaversion=draw(st.integers(1, 2**31 - 1)),
            traceparent=draw(text),
            inboxseq=draw(st.just("") | st.integers(1, 2**63).map(str)),
            reply=draw(st.none() | raw_json.map(bytes.decode)),
        )
        for n in range(draw(st.integers(1, 4)))
    ]
    return actor_id, events


def fields(envelope: Any) -> dict[str, Any]:
    """Every field, raw JSON as its bytes."""
    values = {name: getattr(envelope, name) for name in envelope.__struct_fields__}
    return {name: bytes(value) if isinstance(value, Raw) else value for name, value in values.items()}


# ------------------------------------------------------------------------------------------------ round trips


@given(command=commands)
def test_a_command_comes_back(command: Command) -> None:
    assert fields(decode_command(encode_command(command))) == fields(command)


@given(value=raw_json, version=st.integers(0, 2**63 - 1), position=st.integers(0, 2**63 - 1))
def test_an_answer_comes_back(value: bytes, version: int, position: int) -> None:
    answer = decode_answer(encode_answer(value, version, position))
    assert fields(answer) == fields(Answer(ok=True, value=Raw(value), version=version, position=position))


@given(code=st.sampled_from(sorted(ERRORS)), message=text, details=st.dictionaries(text, json_values, max_size=4))
def test_an_error_comes_back_with_its_type_message_and_details(
    code: str, message: str, details: dict[str, Any]
) -> None:
    error = error_from_body(code, message, details)
    answer = decode_answer(encode_error(error))
    assert answer.error is not None
    back = answer_error(answer.error)
    assert (type(back), back.message, back.details) == (ERRORS[code], message, details)
    assert vars(back) == vars(error)


odd_values = st.one_of(
    st.just("\ud800"), st.just(2**70), st.just({3}), st.just(b"\xff"), st.just(object), st.just({(1, "\udc00"): 2})
)


@given(message=text | st.just("\ud800"), details=st.dictionaries(some_text, odd_values | json_values, max_size=3))
def test_an_error_with_details_that_are_no_json_still_leaves(message: str, details: dict[str, Any]) -> None:
    error = error_from_body("rejected", message, details)
    answer = decode_answer(encode_error(error))
    assert answer.error is not None
    assert answer.error.code == "rejected"
    assert set(answer.error.details) == set(details)


@given(written=commits())
def test_a_commit_comes_back_and_encodes_the_same_again(written: tuple[ActorId, list[Event]]) -> None:
    actor_id, events = written
    payload = encode_commit(events)
    back = decode_commit(payload, actor_id, HERE)
    assert [fields(event) for event in back] == [fields(event) for event in events]
    assert [event.version for event in back] == [int(event.id) for event in events]
    assert encode_commit(back) == payload


# ------------------------------------------------------------------------------------------------ garbage

VALID_COMMAND = encode_command(Command(id="1", command="deposit", deadline=datetime(2030, 1, 1, tzinfo=UTC)))
VALID_ANSWER = encode_answer(b"{}", 1, 1)
VALID_COMMIT = encode_commit(
    [new_event(version=n, source="/s", type="T", time=datetime(2030, 1, 1, tzinfo=UTC), data=b"{}") for n in (1, 2)]
)


@st.composite
def broken(draw: st.DrawFn, valid: bytes) -> bytes:
    """Bytes near the valid ones: a piece of them replaced by others."""
    low, high = sorted((draw(st.integers(0, len(valid))), draw(st.integers(0, len(valid)))))
    return (
        valid[:low]
        + draw(st.binary(max_size=6) | st.sampled_from([b'"', b"null", b"\\ud800", b"[[", b"-1"]))
        + valid[high:]
    )


def near(valid: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=40) | raw_json | broken(valid)


@given(payload=near(VALID_COMMAND))
def test_any_bytes_are_a_command_or_an_invalid_command(payload: bytes) -> None:
    try:
        command = decode_command(payload)
    except InvalidCommand:
        return
    assert command.deadline.tzinfo is not None
    assert 0 < len(command.id) <= 128


@given(payload=near(VALID_ANSWER))
def test_any_bytes_are_an_answer_or_an_aether_error(payload: bytes) -> None:
    try:
        answer = decode_answer(payload)
    except AetherError:
        return
    assert isinstance(answer, Answer)


@given(payload=near(VALID_COMMIT))
def test_any_bytes_are_a_commit_or_an_unreadable_event_with_its_position(payload: bytes) -> None:
    try:
        events = decode_commit(payload, ALICE, HERE)
    except UnreadableEvent as error:
        where = (error.actor, error.position)
    else:
        where = ("account/alice", 7)
        check_run(events)
    assert where == ("account/alice", 7)


def check_run(events: list[Event]) -> None:
    assert [event.version for event in events] == list(range(events[0].version, events[0].version + len(events)))
    assert events[0].version >= 1


@given(nested=st.sampled_from([b"[", b'{"a":']), depth=st.sampled_from([2_000, 200_000]))
def test_json_nested_too_deep_is_a_typed_error_too(nested: bytes, depth: int) -> None:
    deep = nested * depth
    with pytest.raises(InvalidCommand):
        decode_command(VALID_COMMAND[:-1] + b',"args":' + deep)
    with pytest.raises(AetherError):
        decode_answer(b'{"value":' + deep)
    with pytest.raises(UnreadableEvent):
        decode_commit(VALID_COMMIT.replace(b"{}", deep), ALICE, HERE)


# ------------------------------------------------------------------------------------------------ CloudEvents 1.0

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
URI_REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
ATTRIBUTE_NAME = re.compile(r"[a-z0-9]{1,20}")
REQUIRED = {"specversion", "id", "source", "type"}
STRINGS = {"commandid", "correlationid", "causationid", "traceparent", "inboxseq", "reply"}


@given(written=commits())
def test_what_is_stored_is_a_cloudevents_batch(written: tuple[ActorId, list[Event]]) -> None:
    batch = json.loads(encode_commit(written[1]))
    assert isinstance(batch, list)
    assert batch
    for event in batch:
        conforms(event)
    assert len({(event["source"], event["id"]) for event in batch}) == len(batch)


def conforms(event: dict[str, Any]) -> None:
    """The rules of the specification and of its JSON format that concern these events."""
    assert event.keys() >= REQUIRED | {"time", "data"}
    assert event["specversion"] == "1.0"
    assert all(isinstance(event[name], str) and event[name] for name in REQUIRED)
    assert URI_REFERENCE.fullmatch(event["source"])
    assert RFC_3339.fullmatch(event["time"])
    for name, value in event.items():
        assert ATTRIBUTE_NAME.fullmatch(name), name
        assert name == "data" or value is not None, "an unset attribute is left out, not null"
    assert all(isinstance(event[name], str) for name in STRINGS & event.keys())
    assert RFC_3339.fullmatch(event.get("deadline", event["time"]))
    version = event.get("schemaversion", 1)
    assert isinstance(version, int)
    assert -(2**31) <= version < 2**31
    json.loads(event.get("reply", "null"))

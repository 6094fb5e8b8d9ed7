"""Answers too large to be sent: what is sent instead fits, and tells the same outcome."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import ERRORS, AetherError, DeadlineExceeded, ReplyNotDelivered, error_from_body
from aether.short_answers import LEFT_OUT_NAMES_MAX, short_answer
from aether.wire import answer_error, decided, decode_answer, encode_answer, encode_error
from tests.property.test_wire_laws import json_values, text

BYTES_MAX = 4_096


def told(answer: bytes) -> AetherError:
    """The error in a shortened answer, which fits."""
    assert len(answer) <= BYTES_MAX
    body = decode_answer(answer).error
    assert body is not None
    return answer_error(body)


@given(
    code=st.sampled_from(sorted(ERRORS)),
    message=text,
    details=st.dictionaries(text, json_values, max_size=4),
    more=st.dictionaries(
        text | st.just("n" * 5_000), st.sampled_from(["x", '"', "\n", "\u00e4"]).map(lambda c: c * 5_000), max_size=30
    ),
    longer=st.sampled_from(["", "x", "\x00", "\u20ac"]),
)
def test_a_refusal_keeps_its_class_and_says_what_it_leaves_out(
    code: str, message: str, details: dict[str, Any], more: dict[str, Any], longer: str
) -> None:
    error = error_from_body(code, message + longer * 5_000, {**details, **more})
    short = told(short_answer(encode_error(error), BYTES_MAX))
    assert type(short) is type(error)
    assert "more than the 4096 that a message holds" in short.message
    for name, value in short.details.items():
        assert name == "left_out" or {**details, **more}[name] == value
    left_out = [name for name in error.details if name not in short.details]
    said = short.details.get("left_out", [])
    assert len(said) <= LEFT_OUT_NAMES_MAX
    assert set(said) <= {name[:100] for name in left_out}
    if said and len(left_out) <= LEFT_OUT_NAMES_MAX:
        assert set(said) == {name[:100] for name in left_out}


@pytest.mark.parametrize("size", [4_090, 4_096, 5_000, 50_000])
def test_what_was_decided_is_still_said_to_be(size: int) -> None:
    refused = encode_error(error_from_body("rejected", "x" * size, {"why": "y" * size}))
    assert decode_answer(short_answer(decided(refused), BYTES_MAX)).decided
    assert not decode_answer(short_answer(refused, BYTES_MAX)).decided
    assert len(short_answer(decided(refused), BYTES_MAX)) <= BYTES_MAX


def test_a_known_outcome_stays_known() -> None:
    for known in (True, False):
        late = DeadlineExceeded("late", outcome_known=known, more="x" * 5_000)
        short = told(short_answer(encode_error(late), BYTES_MAX))
        assert isinstance(short, DeadlineExceeded)
        assert short.outcome_known is known
        assert short.details["left_out"] == ["more"]


@given(version=st.integers(0, 2**53), position=st.integers(0, 2**53))
def test_of_a_success_everything_but_the_reply_is_told(version: int, position: int) -> None:
    short = told(short_answer(encode_answer(b'"%b"' % (b"x" * 5_000), version, position), BYTES_MAX))
    assert isinstance(short, ReplyNotDelivered)
    assert (short.version, short.position) == (version, position)
    assert "succeeded" in short.message


@pytest.mark.parametrize("answer", [b"x", b"{}", b'{"model": "bank"}', b'{"ok": false}', b"[]", b"\xff"])
def test_what_is_no_answer_says_nothing_of_an_outcome(answer: bytes) -> None:
    short = told(short_answer(answer, BYTES_MAX))
    assert type(short) is AetherError
    assert "succeeded" not in short.message

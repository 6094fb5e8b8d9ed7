"""Frames do not depend on how the bytes were cut, and bytes that are no frames are one typed error."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nats.protocol.parser import Parser as ParserOfNatsPy

from aether.jetstream.connection.headers import batch_head, encode_head, expected_head
from aether.jetstream.connection.message import Message, parse_headers
from aether.jetstream.connection.parser import (
    CONTROL_LINE_BYTES_MAX,
    INFO_BYTES_MAX,
    Fault,
    Frame,
    Info,
    Malformed,
    Parser,
    Signal,
    pub,
    sub,
    unsub,
)

PAYLOAD_BYTES_MAX = 4096

tokens = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=["L", "N", "P", "S"]), min_size=1)
sids = st.integers(1, 10_000).map(str)
payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\r\n", b"PING\r\n", b"MSG a 1 2\r\nxx\r\n"]))
header_names = st.sampled_from(["Nats-Sequence", "Nats-Subject", "Status-Code", "x"])
header_values = st.text(st.characters(min_codepoint=33, max_codepoint=0xFF, categories=["L", "N"]), max_size=20)
heads = st.dictionaries(header_names, header_values, min_size=1).map(encode_head)


@dataclass(frozen=True)
class Sent:
    """A frame as the server writes it, and what is to be read."""

    wire: bytes
    read: object


def shown(frame: Frame) -> object:
    if isinstance(frame, tuple):
        sid, message = frame
        return (sid, message.subject, message.reply, message.data, message.head)
    return frame


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    subject, sid, payload = draw(tokens), draw(sids), draw(payloads)
    reply, head = draw(st.one_of(st.just(""), tokens)), draw(st.one_of(st.none(), heads))
    words = ["MSG" if head is None else "HMSG", subject, sid]
    words += [reply] if reply else []
    words += [str(len(head))] if head is not None else []
    words += [str(len(payload) + len(head or b""))]
    wire = " ".join(words).encode() + b"\r\n" + (head or b"") + payload + b"\r\n"
    return Sent(wire, (sid, subject, reply, payload, head))


others = st.sampled_from(
    [
        Sent(b"PING\r\n", Signal.PING),
        Sent(b"PONG\r\n", Signal.PONG),
        Sent(b"+OK\r\n", Signal.OK),
        Sent(b"-ERR 'Stale Connection'\r\n", Fault("Stale Connection")),
        Sent(b'INFO {"max_payload":1048576} \r\n', Info('{"max_payload":1048576} ')),
    ]
)
streams = st.lists(st.one_of(messages(), messages(), others), min_size=1, max_size=6)


def read(*pieces: bytes) -> list[object]:
    parser = Parser(PAYLOAD_BYTES_MAX)
    frames: list[Frame] = []
    for piece in pieces:
        parser.feed(piece, frames)
    return [shown(frame) for frame in frames]


@given(streams)
def test_every_cut_gives_the_same_frames(sent: list[Sent]) -> None:
    wire, expected = b"".join(one.wire for one in sent), [one.read for one in sent]
    assert read(wire) == expected
    for cut in range(len(wire) + 1):
        assert read(wire[:cut], wire[cut:]) == expected
    assert read(*(wire[at : at + 1] for at in range(len(wire)))) == expected


@given(streams, st.lists(st.integers(0, 500), max_size=8))
def test_any_cuts_give_the_same_frames(sent: list[Sent], cuts: list[int]) -> None:
    wire = b"".join(one.wire for one in sent)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:stop] for start, stop in pairwise(edges)]
    assert read(*pieces) == [one.read for one in sent]


def read_or_refused(*pieces: bytes) -> tuple[list[object], bool]:
    """The frames, and whether the bytes were refused at last; any other exception is a failure."""
    frames: list[Frame] = []
    parser = Parser(PAYLOAD_BYTES_MAX)
    refused = False
    try:
        for piece in pieces:
            parser.feed(piece, frames)
    except Malformed:
        refused = True
    return [shown(frame) for frame in frames], refused


ALPHABET = [
    b"MSG ",
    b"HMSG ",
    b"PING",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"1",
    b"-1",
    b"+OK",
    b"-ERR",
    b"INFO ",
    b"\xff",
    b"9" * 30,
]


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(ALPHABET), max_size=30).map(b"".join)))
@example(b"HMSG\r\n")
@example(b"MSG\r\n")
@example(b"HMSG a 1 2\r\n")
@example(b"\r\n")
@example(b"MSG a 1 \xd9\xa3\r\nabc\r\n")
def test_random_bytes_are_frames_or_refused(wire: bytes) -> None:
    whole = read_or_refused(wire)
    for cut in range(len(wire) + 1):
        assert read_or_refused(wire[:cut], wire[cut:]) == whole


@settings(max_examples=500)
@given(streams, st.data())
def test_mutated_frames_are_frames_or_refused(sent: list[Sent], data: st.DataObject) -> None:
    wire = bytearray(b"".join(one.wire for one in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        wire = wire or bytearray(b"x")
    cut = data.draw(st.integers(0, len(wire)))
    assert read_or_refused(bytes(wire[:cut]), bytes(wire[cut:])) == read_or_refused(bytes(wire))


class Heard:
    """What nats-py's parser calls."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.frames.append((str(sid), subject.decode(), reply.decode(), data, headers))

    async def _process_err(self, text: str) -> None:
        self.frames.append(Fault(text.strip("'")))

    async def _process_ping(self) -> None:
        self.frames.append(Signal.PING)

    async def _process_pong(self) -> None:
        self.frames.append(Signal.PONG)

    async def _process_info(self, _: dict[str, object]) -> None:
        self.frames.append(Info)


def comparable(frame: object) -> object:
    if isinstance(frame, Fault):
        return Fault(frame.text.lower())
    return Info if isinstance(frame, Info) else frame


@given(streams)
def test_nats_py_reads_the_same(sent: list[Sent]) -> None:
    wire = b"".join(one.wire for one in sent)
    heard = Heard()
    asyncio.run(ParserOfNatsPy(heard).parse(wire))
    assert heard.frames == [comparable(frame) for frame in read(wire) if frame is not Signal.OK]


@given(tokens, st.one_of(st.just(""), tokens), st.one_of(st.just(b""), heads), payloads)
def test_a_publish_is_read_back(subject: str, reply: str, head: bytes, payload: bytes) -> None:
    wire = pub(subject, reply, head, payload)
    line, _, body = wire.partition(b"\r\n")
    words = line.decode().split(" ")
    assert body == head + payload + b"\r\n"
    assert words[:3] == ["HPUB" if head else "PUB", subject, reply]
    assert [int(word) for word in words[3:]] == ([len(head)] if head else []) + [len(head) + len(payload)]


def test_subscriptions_on_the_wire() -> None:
    assert sub("a.>", "", "1") == b"SUB a.>  1\r\n"
    assert sub("a.*", "q", "12") == b"SUB a.* q 12\r\n"
    assert unsub("12") == b"UNSUB 12\r\n"


@given(st.dictionaries(header_names, header_values))
def test_headers_are_read_back(headers: dict[str, str]) -> None:
    head = encode_head(headers)
    assert parse_headers(head) == headers
    message = Message("s", "", b"", head)
    for name in ("Nats-Sequence", "Nats-Subject", "x", "Sequence"):
        assert message.header(name) == headers.get(name, "")
    assert message.headers == headers


@given(st.integers(0, 2**64))
def test_the_expected_sequence_is_a_header(sequence: int) -> None:
    assert expected_head(sequence) == encode_head({"Nats-Expected-Last-Subject-Sequence": str(sequence)})


@given(st.integers(1, 1_000), st.integers(0, 2**64), st.booleans())
def test_a_commit_of_a_batch_has_its_place_and_its_expected_sequence(number: int, sequence: int, last: bool) -> None:
    headers = {"Nats-Batch-Id": "b.7", "Nats-Batch-Sequence": str(number)}
    headers |= {"Nats-Expected-Last-Subject-Sequence": str(sequence), **({"Nats-Batch-Commit": "1"} if last else {})}
    assert batch_head(b"b.7", number, sequence, last=last) == encode_head(headers)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nNats-Rollup: all"])
def test_a_header_holds_no_line_break(value: str) -> None:
    for headers in ({"x": value}, {value: "x"}):
        with pytest.raises(ValueError, match="line break"):
            encode_head(headers)


@pytest.mark.parametrize("cut", [1, 100, 4096, 10**6])
@pytest.mark.parametrize(
    ("wire", "limit"),
    [
        (b"x" * (CONTROL_LINE_BYTES_MAX + 1), CONTROL_LINE_BYTES_MAX),
        (b"MSG " + b"a" * CONTROL_LINE_BYTES_MAX + b" 1 0\r\n\r\n", CONTROL_LINE_BYTES_MAX),
        (b"INFO " + b"a" * INFO_BYTES_MAX, INFO_BYTES_MAX),
    ],
)
def test_a_line_without_end_is_refused(wire: bytes, limit: int, cut: int) -> None:
    frames, refused = read_or_refused(*(wire[at : at + cut] for at in range(0, len(wire), cut)))
    assert (frames, refused) == ([], True)
    assert len(wire) > limit


def test_long_lines_that_are_allowed() -> None:
    info = "a" * (INFO_BYTES_MAX - 5)
    assert read(f"INFO {info}\r\n".encode()) == [Info(info)]
    subject = "a" * (CONTROL_LINE_BYTES_MAX - 10)
    assert read(f"MSG {subject} 1 1\r\nx\r\n".encode()) == [("1", subject, "", b"x", None)]


def test_payloads_up_to_what_is_believed() -> None:
    most = PAYLOAD_BYTES_MAX
    payload = b"x" * most
    assert read(b"MSG a 1 %d\r\n%b\r\n" % (most, payload)) == [("1", "a", "", payload, None)]
    for announced in (b"MSG a 1 %d\r\n" % (most + 1), b"HMSG a 1 5 4\r\n", b"HMSG a 1 1 %d\r\n" % (most + 1)):
        assert read_or_refused(announced) == ([], True)


def test_a_payload_in_many_pieces_is_not_copied_for_each() -> None:
    parser = Parser(1 << 26)
    piece = b"x" * 1024
    frames: list[Frame] = []
    parser.feed(b"MSG a 1 %d\r\n" % (len(piece) << 14), frames)
    for _ in range(1 << 14):
        parser.feed(piece, frames)
    parser.feed(b"\r\n", frames)
    ((sid, message),) = (frame for frame in frames if isinstance(frame, tuple))
    assert (sid, len(message.data)) == ("1", 1 << 24)

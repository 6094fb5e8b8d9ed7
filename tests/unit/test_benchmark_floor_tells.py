"""The hand-written floor of tells: what it stores, on which condition, and a tell that comes again."""

from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.floor_plan import EXPECTED, EXPECTED_ELSEWHERE, SHARDS, Paired, Told, delivered, part_of
from benchmarks.floor_tells import Teller


class Wire:
    """What a connection was given to publish."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], str, dict[str, str]]] = []

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def publish(
        self, subject: str, body: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.sent.append((subject, orjson.loads(body or b"{}"), reply, headers or {}))


def a_teller() -> tuple[Teller, Wire]:
    wire = Wire()
    teller = Teller(cast(Client, wire), 0, Path("nowhere"))
    teller.marks = list(range(1, SHARDS + 1))
    return teller, wire


def a_message(body: bytes, *, subject: str = "", reply: str = "") -> Msg:
    return Msg(cast(Client, None), subject=subject, reply=reply, data=body)


def a_command(to: str, reply: str) -> Msg:
    body = orjson.dumps({"id": "1", "args": {"amount": 5, "to": to}})
    return a_message(body, subject="floor.cmd.0.a", reply=reply)


def acked(wire: Wire, place: int, sequence: int) -> Msg:
    return a_message(b'{"stream":"S","seq":%d}' % sequence, subject=wire.sent[place][2])


async def test_the_tell_is_in_the_event_and_sent_when_that_is_stored() -> None:
    teller, wire = a_teller()
    await teller.on_command(a_command("b", "caller"))
    ((subject, event, _, headers),) = wire.sent
    assert (subject, headers) == ("floor.evt.a", {EXPECTED: "0"})
    assert event["tells"] == [{"to": "b", "amount": 5}]
    await teller.on_ack(acked(wire, 0, 9))
    _, (answered, answer, *_), (subject, told, _, headers) = wire.sent
    assert (answered, answer["value"]) == ("caller", 5)
    source, target = (part_of(account, SHARDS) for account in "ab")
    assert subject == f"floor.tell.{target}.{source}"
    assert headers == {EXPECTED: str(source + 1), EXPECTED_ELSEWHERE: f"floor.mark.{source}"}
    assert told == {"to": "b", "amount": 5, "source": "a", "position": 9}


async def test_tells_to_the_same_account_wait_for_each_other() -> None:
    teller, wire = a_teller()
    first, second = Told("a", 1, "b", 5), Told("a", 2, "b", 6)
    for told in (first, second, Told("a", 3, "c", 7)):
        await teller.tell(told)
    assert [body["position"] for _, body, *_ in wire.sent] == [1, 3]
    await teller.on_tell_ack(acked(wire, 0, 300))
    assert [body["position"] for _, body, *_ in wire.sent] == [1, 3, 2]
    with pytest.raises(RuntimeError, match="wrong last sequence"):
        await teller.sent(second, b'{"error":{"description":"wrong last sequence: 3"}}')


async def test_a_tell_is_applied_once_and_counts_when_it_is_stored() -> None:
    teller, wire = a_teller()
    told = Told("a", 9, "b", 5)
    for _ in range(2):
        await teller.arrived(300, told.body)
    ((subject, event, *_),) = wire.sent
    assert (subject, event["tell"], event["data"]) == ("floor.evt.b", 300, {"amount": 5})
    assert teller.applied == 0
    await teller.on_ack(acked(wire, 0, 10))
    assert (teller.applied, teller.balances, len(wire.sent)) == (1, {"b": 5}, 1)


async def test_a_mark_that_another_process_writes_is_no_tell() -> None:
    teller, wire = a_teller()
    await teller.on_delivery(a_message(b"", subject="floor.mark.3", reply="$JS.ACK.FLOOR_TELLS.c.1.257.1.1700000000.1"))
    assert (teller.delivered, wire.sent) == (1, [])


async def test_the_consumer_hears_that_what_it_sent_came() -> None:
    teller, wire = a_teller()
    await teller.on_delivery(a_message(b"", subject=teller.deliveries, reply="$JS.FC.x"))
    assert [subject for subject, *_ in wire.sent] == ["$JS.FC.x"]
    behind = a_message(b"", subject=teller.deliveries)
    behind.headers = {"Status": "100", "Nats-Last-Consumer": "1"}
    with pytest.raises(RuntimeError, match="0 came"):
        await teller.on_delivery(behind)


async def test_a_hole_in_what_the_consumer_brings_ends_it() -> None:
    teller, _ = a_teller()
    body = Told("a", 9, "b", 5).body
    await teller.on_delivery(a_message(body, reply="$JS.ACK.FLOOR_TELLS.c.1.257.1.1700000000.1"))
    with pytest.raises(RuntimeError, match="number 3 after 1"):
        await teller.on_delivery(a_message(body, reply="$JS.ACK.FLOOR_TELLS.c.1.259.3.1700000000.0"))


def test_what_is_stored_of_a_deposit_says_where_it_goes_or_where_it_comes_from() -> None:
    assert delivered("$JS.ACK.S.c.1.257.4.1700000000.0") == (257, 4)
    assert "tell" not in Paired("a", 5, "1", "r", to="b").event
    assert "tells" not in Paired("b", 5, "1", "", tell=7).event

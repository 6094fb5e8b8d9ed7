"""Lists of keys that a server gives in pages."""

import json
from typing import Any, cast

import pytest

from aether.errors import Unavailable
from aether.ids import ActorId
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.key_listing import actors_of_shard, keys_of_kind
from aether.names import PROBE, Names, encode_token, shard_of

NAMES = Names("shop", 8)
PAGE = 3


class Server:
    """Knows subjects, of which it gives `PAGE` at once; one more comes before each page."""

    def __init__(self, keys: list[str], news: list[str]) -> None:
        self.keys = keys
        self.news = news
        self.asked: list[dict[str, Any]] = []

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> Message:
        """One page."""
        assert subject == "$JS.API.STREAM.INFO.AETHER_shop"
        body = json.loads(payload)
        self.asked.append(body)
        self.keys = sorted(self.keys + self.news[:1])
        self.news = self.news[1:]
        page = self.keys[body["offset"] : body["offset"] + PAGE]
        subjects = {f"aether.shop.evt.3.order.{key}": 1 for key in page}
        answer = {
            "total": len(self.keys),
            "offset": body["offset"],
            "limit": PAGE,
            "state": {"subjects": subjects or None},
        }
        return Message(subject, "", json.dumps(answer).encode(), None)


async def listed(server: Server) -> list[str]:
    return await keys_of_kind(cast("NatsConnection", server), NAMES, "order", 3)


@pytest.mark.parametrize("count", range(8))
async def test_all_pages_are_read(count: int) -> None:
    keys = [f"k{n}" for n in range(count)]
    server = Server(keys, [])
    assert await listed(server) == keys
    assert {body["subjects_filter"] for body in server.asked} == {"aether.shop.evt.3.order.*"}
    assert [body["offset"] for body in server.asked] == list(range(0, max(count, 1), PAGE))


async def test_the_actors_of_a_shard_are_of_all_kinds_and_of_a_model() -> None:
    class Kinds(Server):
        async def request(self, subject: str, payload: bytes, timeout_s: float) -> Message:
            assert json.loads(payload)["subjects_filter"] == f"aether.shop.evt.{shard}.>"
            ids = (ActorId("order", "a"), PROBE, ActorId("item", "\u00e9"))
            subjects = {f"aether.shop.evt.{shard_of(one, 1)}.{one.kind}.{encode_token(one.key)}": 1 for one in ids}
            return Message(subject, "", json.dumps({"total": 3, "state": {"subjects": subjects}}).encode(), None)

    shard, names = 0, Names("shop", 1)
    listed = await actors_of_shard(cast("NatsConnection", Kinds([], [])), names, shard)
    assert listed == [ActorId("order", "a"), ActorId("item", "\u00e9")]


async def test_what_is_stored_meanwhile_gives_no_key_twice() -> None:
    found = await listed(Server([f"k{n}" for n in range(7)], ["a", "b", "c"]))
    assert len(found) == len(set(found))
    assert set(found) >= {f"k{n}" for n in range(7)}


async def test_an_answer_that_is_no_list_is_unavailable() -> None:
    class Odd(Server):
        async def request(self, subject: str, payload: bytes, timeout_s: float) -> Message:
            return Message(subject, "", b'{"state": {"subjects": [1]}}', None)

    with pytest.raises(Unavailable):
        await listed(Odd([], []))

"""What the page on the wire format says beside what its client shows, held against a pool by plain nats-py."""

import asyncio
import json
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import APIError, NoKeysError

from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "wire.md").read_text()
KEY = "Zürich/1"
TOKEN = "Z=C3=BCrich=2F1"


class Raw:
    """A namespace, as the page describes it. `tests.data.bank` is its model; all is about one account."""

    def __init__(self, client: Client, namespace: str, shards: int) -> None:
        self.client = client
        self.namespace = namespace
        shard = zlib.crc32(f"account/{KEY}".encode()) % shards
        self.tail = f"{shard}.account.{TOKEN}"

    async def ask(self, subject: str, body: bytes = b"") -> Any:
        return json.loads((await self.client.request(subject, body, timeout=5)).data)

    async def call(self, command: str, *, ahead_s: float = 10, **more: Any) -> Any:
        deadline = datetime.now(UTC) + timedelta(seconds=ahead_s)
        body = {"id": uuid.uuid4().hex, "command": command, "deadline": deadline.isoformat(), **more}
        return await self.ask(f"aether.{self.namespace}.cmd.{self.tail}", json.dumps(body).encode())

    async def stored(self) -> list[dict[str, Any]]:
        """Every event of the account, from the stream."""
        stream = self.client.jetstream()
        state = (await stream.stream_info(f"AETHER_{self.namespace}")).state
        found: list[dict[str, Any]] = []
        for sequence in range(1, state.last_seq + 1):
            message = await stream.get_msg(f"AETHER_{self.namespace}", sequence)
            if message.subject == f"aether.{self.namespace}.evt.{self.tail}":
                found += json.loads(message.data or b"[]")
        return found


async def test_a_worker_says_when_what_is_stored_is_on_the_disk(namespace: str, tmp_path: Path) -> None:
    """Where it syncs the files of the server itself: the embedded one, by default."""
    options = ["--workers=1", "--nats=embedded", "--namespace", namespace, "--data-dir", str(tmp_path)]
    pool = await asyncio.to_thread(Pool("tests.data.bank:model", *options).__enter__)
    client = await nats.connect((tmp_path / "nats.url").read_text().strip())
    try:
        position = (await Raw(client, namespace, 256).call("deposit", args={"amount": "1.00"}))["position"]
        answer = await client.request(f"aether.{namespace}.durable", str(position).encode(), timeout=5)
        assert int(answer.data) >= position
    finally:
        await client.close()
        await asyncio.to_thread(pool.__exit__, None, None, None)


async def test_no_worker_answers_where_syncing_is_left_to_the_server(raw: Raw) -> None:
    with pytest.raises(NoRespondersError):
        await raw.client.request(f"aether.{raw.namespace}.durable", b"1", timeout=5)


@pytest.fixture
async def raw(nats_server: NatsServer, namespace: str) -> AsyncIterator[Raw]:
    options = ["--workers=1", "--nats", nats_server.url, "--namespace", namespace]
    pool = await asyncio.to_thread(Pool("tests.data.bank:model", *options).__enter__)
    client = await nats.connect(nats_server.url)
    try:
        info = await client.jetstream().stream_info(f"AETHER_{namespace}")
        assert info.config.metadata is not None
        assert info.config.metadata["aether.layout"] == "1"
        yield Raw(client, namespace, int(info.config.metadata["aether.shards"]))
    finally:
        await client.close()
        await asyncio.to_thread(pool.__exit__, None, None, None)


async def test_a_command_has_its_effect_once_and_its_answer_again(raw: Raw) -> None:
    first = await raw.call("deposit", id="one", args={"amount": "1.50"})
    again = await raw.call("deposit", id="one", args={"amount": "1.50"})
    assert first == again == {"ok": True, "value": "1.50", "version": 1, "position": first["position"]}
    other = await raw.call("deposit", id="one", args={"amount": "2.00"})
    assert (other["error"]["code"], "ok" in other) == ("invalid_command", False)
    (event,) = await raw.stored()
    assert event["id"] == "1"
    assert event["source"] == f"/{raw.namespace}/account/Z%C3%BCrich%2F1"
    assert (event["commandid"], event["reply"]) == ("one", '"1.50"')
    assert {"idexpires", "commanddigest"} <= set(event)
    assert {name for name in event if f"`{name}`" not in PAGE} == set()


async def test_what_cannot_be_done_has_the_code_that_the_page_says(raw: Raw) -> None:
    refused = await raw.call("withdraw", attempt=1, args={"amount": "1.00"})
    assert (refused["error"]["code"], refused["decided"]) == ("rejected", True)
    assert (await raw.call("deposit", args={"amount": []}))["error"]["details"]["path"] == "amount"
    assert (await raw.call("close"))["error"]["code"] == "unknown_command"
    assert (await raw.call("statement", ahead_s=-1))["error"]["code"] == "deadline_exceeded"
    assert (await raw.call("statement", ahead_s=120))["error"]["details"]["path"] == "deadline"
    assert (await raw.call("aether.state", args={"version": 7}))["error"]["details"]["path"] == "version"
    assert await raw.stored() == []


async def test_a_refusal_of_an_id_that_may_have_been_sent_before_is_stored(raw: Raw) -> None:
    await raw.call("withdraw", args={"amount": "1.00"})
    (event,) = await raw.stored()
    assert (event["type"], set(event["data"])) == ("aether.Refused", {"code", "message", "details"})


async def test_the_pool_tells_its_model_and_how_it_is(raw: Raw) -> None:
    model = await raw.ask(f"aether.{raw.namespace}.info")
    assert (model["model"], set(model["actors"])) == ("stored", {"account"})
    assert set(model["actors"]["account"]) >= {"commands", "events", "state"}
    assert set(model["actors"]["account"]["commands"]["deposit"]) >= {"query", "args", "reply"}
    status = await raw.ask(f"aether.{raw.namespace}.status")
    assert set(status) == {"member", "incarnation", "state", "why", "shards", "model_version"}
    assert status["state"] == "serving"


async def test_what_is_stored_is_repeated_with_its_sequence(raw: Raw) -> None:
    broadcast = await raw.client.subscribe(f"stored.aether.{raw.namespace}.>")
    await raw.client.flush()
    positions = [(await raw.call("deposit", args={"amount": "1.00"}))["position"] for _ in range(2)]
    heard: list[Msg] = [await broadcast.next_msg(timeout=5) for _ in range(2)]
    for message, position, before in zip(heard, positions, [0, positions[0]], strict=True):
        headers = message.headers or {}
        assert message.subject == f"stored.aether.{raw.namespace}.evt.{raw.tail}"
        assert (int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])) == (position, before)
        assert headers["Nats-Stream"] == f"AETHER_{raw.namespace}"


async def test_an_event_can_be_appended_from_outside_at_the_right_position(raw: Raw) -> None:
    position = (await raw.call("deposit", args={"amount": "1.00"}))["position"]
    event = {
        "specversion": "1.0", "id": "2", "source": f"/{raw.namespace}/account/Z%C3%BCrich%2F1", "type": "Deposited",
        "time": datetime.now(UTC).isoformat(), "data": {"amount": "5.00"},
    }  # fmt: skip
    subject, stream = f"aether.{raw.namespace}.evt.{raw.tail}", raw.client.jetstream()
    with pytest.raises(APIError) as refused:
        await stream.publish(
            subject, json.dumps([event]).encode(), headers={"Nats-Expected-Last-Subject-Sequence": "0"}
        )
    assert refused.value.err_code == 10071
    await stream.publish(
        subject, json.dumps([event]).encode(), headers={"Nats-Expected-Last-Subject-Sequence": str(position)}
    )
    assert (await raw.call("deposit", args={"amount": "1.00"}))["value"] == "7.00"
    assert [one["id"] for one in await raw.stored()] == ["1", "2", "3"]


async def test_the_table_says_who_is_there_and_who_owns_what(raw: Raw) -> None:
    table = await raw.client.jetstream().key_value(f"AETHER_{raw.namespace}_TABLE")
    keys: list[str] = []
    while not keys:
        with suppress(NoKeysError):  # nats-py may give up before the first row has come
            keys = await table.keys()
    (member,) = [key for key in keys if key.startswith("member.")]
    row = json.loads((await table.get(member)).value or b"")
    assert set(row) == {
        "node",
        "slot",
        "incarnation",
        "session",
        "beat",
        "claim",
        "active",
        "reads",
        "durability",
        "about",
    }
    shard = raw.tail.partition(".")[0]
    lease = json.loads((await table.get(f"lease.{shard}")).value or b"")
    assert set(lease) == {"holder", "session", "incarnation"}
    assert f"member.{lease['holder']}" == member
    assert (await table.get("synced-by")).value == b"server"
    assert all(key.split(".")[0] in ("member", "lease", "synced-by") for key in keys)

"""Actors over HTTP: commands, queries, states, histories, keys, and what goes wrong with them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import quote

import pytest

from aether.errors import ClientUnusable
from aether.gateway.config import GatewayConfig
from aether.gateway.problems import http_problem
from tests.support.actors import GATES
from tests.support.gateway import Served, served
from tests.support.nodes import until


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    async with served() as it:
        yield it


async def test_a_command_answers_its_value_with_version_and_position(one: Served) -> None:
    answer = await one.http.post("/actors/account/alice/deposit", json={"amount": 10})
    assert answer.status_code == 200
    assert answer.json() == {"value": 10, "version": 1, "position": 1}
    assert answer.headers["content-type"] == "application/json"
    assert (await one.http.post("/actors/account/alice/touch")).json()["value"] is None


async def test_a_query_takes_its_arguments_from_the_query_string(one: Served) -> None:
    await one.http.post("/actors/account/alice/deposit", json={"amount": 10})
    assert (await one.http.get("/actors/account/alice/statement")).json() == {"value": 10, "version": 1, "position": 1}
    assert (await one.http.post("/actors/account/alice/statement")).json()["value"] == 10
    refused = await one.http.get("/actors/account/alice/statement?of=today")
    assert (refused.status_code, refused.json()["path"]) == (422, "of")


async def test_a_command_is_not_sent_by_get(one: Served) -> None:
    refused = await one.http.get("/actors/account/alice/deposit?amount=1")
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
    assert refused.json()["code"] == "method_not_allowed"
    assert (await one.http.get("/actors/account/alice")).json()["version"] == 0


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}], ids=["called", "told"])
async def test_a_key_of_another_command_is_refused_by_the_name_of_its_header(
    one: Served, prefer: dict[str, str]
) -> None:
    path, headers = "/actors/account/alice/deposit", {"Idempotency-Key": "order-1", **prefer}
    assert (await one.http.post(path, json={"amount": 10}, headers=headers)).status_code in (200, 202)
    refused = await one.http.post(path, json={"amount": 11}, headers=headers)
    assert (refused.status_code, refused.json()["path"]) == (422, "Idempotency-Key")


async def test_the_same_idempotency_key_is_one_effect_and_one_answer(one: Served) -> None:
    key = {"Idempotency-Key": '"order-1"'}
    first = await one.http.post("/actors/account/alice/deposit", json={"amount": 10}, headers=key)
    again = await one.http.post(
        "/actors/account/alice/deposit", json={"amount": 10}, headers={"Idempotency-Key": "order-1"}
    )
    assert first.json() == again.json() == {"value": 10, "version": 1, "position": 1}
    other = await one.http.post("/actors/account/alice/deposit", json={"amount": 11}, headers=key)
    assert other.status_code == 422
    assert (await one.http.get("/actors/account/alice/statement")).json()["value"] == 10
    for bad in ("", '""', "a b", "x" * 129, "tell:7.0", '"task:1"', "timer:1@2", "retry:4"):
        refused = await one.http.post("/actors/account/a/touch", headers={"Idempotency-Key": bad})
        assert (refused.status_code, refused.json()["path"]) == (422, "Idempotency-Key"), bad


async def test_a_rejection_has_the_actors_own_fields(one: Served) -> None:
    refused = await one.http.post("/actors/account/alice/withdraw", json={"amount": 5})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "urn:aether:problem:rejected",
        "title": "Rejected",
        "status": 409,
        "detail": "insufficient funds",
        "code": "rejected",
        "balance": 0,
        "asked": 5,
    }


async def test_a_bad_argument_is_named(one: Served) -> None:
    for args, path in [
        ({"amount": -1}, "amount"),
        ({"amount": "x"}, "amount"),
        ({}, "amount"),
        ({"amount": 1, "b": 2}, "b"),
    ]:
        refused = await one.http.post("/actors/account/alice/deposit", json=args)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_command")
        assert refused.json()["path"] == path or path in refused.json()["detail"], refused.json()


async def test_what_the_model_has_not_is_404(one: Served) -> None:
    unknown = await one.http.post("/actors/nobody/a/deposit", json={})
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["kind"]) == (404, "unknown_actor", "nobody")
    unknown = await one.http.post("/actors/account/a/rob", json={})
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["command"]) == (404, "unknown_command", "rob")
    for path in ("/actors", "/actors/account/a/deposit/more", "/nothing", "/actors/account/a/aether.state"):
        assert (await one.http.get(path)).status_code == 404, path


async def test_a_bug_in_a_handler_is_500_and_says_nothing_of_its_inside(one: Served) -> None:
    failed = await one.http.post("/actors/account/alice/deposit_then_break", json={"amount": 1})
    assert failed.status_code == 500
    body = failed.json()
    assert (body["code"], body["actor"]) == ("actor_failed", "account/alice")
    assert body["command_id"]
    for secret in ("Traceback", "ZeroDivisionError", "a bug", ".py", "/"):
        assert secret not in failed.text.replace("account/alice", ""), secret


async def test_a_deadline_that_passes_says_what_is_known(one: Served) -> None:
    GATES["http"] = asyncio.Event()
    late = await one.http.post("/actors/waiter/w/wait_for", json={"gate": "http"}, headers={"Prefer": "wait=1"})
    GATES["http"].set()
    assert (late.status_code, late.json()["code"], late.json()["outcome_known"]) == (504, "deadline_exceeded", False)
    assert "memory" not in late.text, "where the pool is, is nobody's business"


async def test_states_have_their_version_as_tag(one: Served) -> None:
    assert (await one.http.get("/actors/account/alice")).json()["version"] == 0
    for amount in (1, 2, 3):
        await one.http.post("/actors/account/alice/deposit", json={"amount": amount})
    now = await one.http.get("/actors/account/alice")
    assert now.headers["etag"] == '"3"'
    assert now.json() == {
        "id": {"kind": "account", "key": "alice"}, "version": 3, "state": {"balance": 6, "deposits": 3}, "position": 3,
    }  # fmt: skip
    for tag in ('"3"', 'W/"3"', '"1", "3"', "*"):
        same = await one.http.get("/actors/account/alice", headers={"If-None-Match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"3"'), tag
    assert (await one.http.get("/actors/account/alice", headers={"If-None-Match": '"2"'})).status_code == 200
    earlier = await one.http.get("/actors/account/alice?version=1")
    assert (earlier.headers["etag"], earlier.json()["state"]["balance"]) == ('"1"', 1)
    ahead = await one.http.get("/actors/account/alice?version=9")
    assert (ahead.status_code, ahead.json()["path"], ahead.json()["latest"]) == (422, "version", 3)
    cases = [("version=x", "version"), ("version=-1", "version"), ("versoin=1", "versoin"), ("time=now", "time")]
    for query, path in [*cases, ("version=1&version=2", "version"), ("version=" + "9" * 30, "version")]:
        refused = await one.http.get(f"/actors/account/alice?{query}")
        assert (refused.status_code, refused.json()["path"]) == (422, path), query
    head = await one.http.head("/actors/account/alice")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", '"3"')


async def test_a_history_is_cloud_events_as_array_or_lines(one: Served) -> None:
    for amount in range(1, 6):
        await one.http.post("/actors/account/alice/deposit", json={"amount": amount})
    whole = await one.http.get("/actors/account/alice/history")
    assert whole.headers["content-type"] == "application/json"
    events = whole.json()
    assert [(event["id"], event["type"], event["data"]) for event in events] == [
        (str(n), "Deposited", {"amount": n}) for n in range(1, 6)
    ]
    assert all(event["specversion"] == "1.0" and event["source"] == "/tests/account/alice" for event in events)
    lines = await one.http.get("/actors/account/alice/history", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == events
    unwanted = {"Accept": "application/x-ndjson;q=0, application/json"}
    array = await one.http.get("/actors/account/alice/history", headers=unwanted)
    assert array.headers["content-type"] == "application/json"
    batch = await one.http.get(
        "/actors/account/alice/history", headers={"Accept": "application/cloudevents-batch+json"}
    )
    assert (batch.headers["content-type"], batch.json()) == ("application/cloudevents-batch+json", events)
    for query, ids in [
        ("after=3", "45"),
        ("limit=2", "12"),
        ("after=1&limit=2", "23"),
        ("limit=1", "1"),
        ("after=5", ""),
    ]:
        part = await one.http.get(f"/actors/account/alice/history?{query}")
        assert [event["id"] for event in part.json()] == list(ids), query
    assert (await one.http.get("/actors/account/nobody/history")).json() == []
    assert (await one.http.get("/actors/account/nobody/history", headers={"Accept": "application/jsonl"})).text == ""
    refused = await one.http.get("/actors/account/alice/history?limit=0")
    assert (refused.status_code, refused.json()["path"]) == (422, "limit")


async def test_keys_come_in_pages_each_once(one: Served) -> None:
    wanted = {f"k{n}" for n in range(23)} | {"a/b", "\U0001f600"}
    for key in wanted:
        await one.http.post(f"/actors/account/{quote(key, safe='')}/deposit", json={"amount": 1})
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = (
            await one.http.get("/actors/account", params={"limit": 4, **({"cursor": cursor} if cursor else {})})
        ).json()
        assert len(page["keys"]) <= 4
        found += page["keys"]
        cursor, pages = page["cursor"], pages + 1
    assert sorted(found) == sorted(wanted)
    assert pages >= 7
    assert (await one.http.get("/actors/notebook")).json() == {"keys": [], "cursor": None}
    for bad in ("x", "!!", "W10", "WzEsMl0", "WzQ3MSwieCJd"):
        refused = await one.http.get(f"/actors/account?cursor={bad}")
        assert (refused.status_code, refused.json()["path"]) == (422, "cursor"), bad


@pytest.mark.parametrize(
    "key", ["a/b", "\u00e9", "\U0001f600", "a b", "a+b", "%2F", "..", ".", "a?b#c", "*.>", "=2F", "\n", "a\\b", "'\"<>"]
)
async def test_any_key_is_one_segment_of_the_path(one: Served, key: str) -> None:
    path = f"/actors/account/{quote(key, safe='').replace('.', '%2E')}"
    sent = f"POST {path}/deposit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n"
    answer = await one.raw(sent.encode() + b'Connection: close\r\n\r\n{"amount":7}')
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert (await one.pool.client.state("account", key)).version == 1


async def test_bounds_are_refused_and_told() -> None:
    GATES["full"] = asyncio.Event()
    async with served(config=GatewayConfig(calls_max=2, body_bytes_max=100)) as one:
        waiting = [
            asyncio.create_task(one.http.post(f"/actors/waiter/w{n}/wait_for", json={"gate": "full"})) for n in range(2)
        ]
        await until(lambda: one.gateway.calls == 2)
        full = await one.http.get("/actors/account/alice")
        assert full.status_code == 429
        assert (full.json()["limit"], full.headers["retry-after"]) == ("calls_max", "1")
        GATES["full"].set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        large = await one.http.post("/actors/notebook/n/note", json={"line": "x" * 100})
        assert (large.status_code, large.json()["limit"]) == (413, "body_bytes_max")


async def test_a_trace_is_passed_on_to_the_events(one: Served) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await one.http.post("/actors/account/alice/deposit", json={"amount": 1}, headers={"traceparent": trace})
    await one.http.post("/actors/account/alice/deposit", json={"amount": 1}, headers={"traceparent": "nonsense"})
    events = (await one.http.get("/actors/account/alice/history")).json()
    assert [event.get("traceparent", "") for event in events] == [trace, ""]


async def test_a_correlation_id_is_passed_on_to_the_events(one: Served) -> None:
    async def post(key: str, **headers: str) -> int:
        answer = await one.http.post(f"/actors/account/{key}/deposit", json={"amount": 1}, headers=headers)
        return answer.status_code

    given = {"X-Correlation-Id": "order-7"}
    assert await post("called", **given) == 200
    assert await post("told", Prefer="respond-async", **given) == 202
    assert await post("plain") == 200
    for bad in ("", "x" * 129, "a b"):
        assert await post("plain", **{"X-Correlation-Id": bad}) == 422, bad
    async with asyncio.timeout(10):
        while not (told := (await one.http.get("/actors/account/told/history")).json()):  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)
    [called] = (await one.http.get("/actors/account/called/history")).json()
    [plain] = (await one.http.get("/actors/account/plain/history")).json()
    assert [told[0]["correlationid"], called["correlationid"]] == ["order-7", "order-7"]
    assert plain["correlationid"] == plain["commandid"]


async def test_a_command_without_a_waiting_caller_is_stored_and_carried_out_once(one: Served) -> None:
    later = {"Prefer": "respond-async", "Idempotency-Key": "later-1"}
    for _ in range(2):
        answer = await one.http.post("/actors/account/alice/deposit", json={"amount": 4}, headers=later)
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
        told = answer.json()
        assert (told["id"], told["command_id"]) == ({"kind": "account", "key": "alice"}, "later-1")
    async with one.http.stream("GET", "/events?after=0&kind=account") as events:
        async for line in events.aiter_lines():
            if line.startswith("data: "):
                break
    await one.http.post(
        "/actors/account/alice/deposit", json={"amount": 3}, headers={"Prefer": "respond-async, wait=5"}
    )
    while (await one.http.get("/actors/account/alice")).json()["state"]["balance"] < 7:
        pass
    assert (await one.http.get("/actors/account/alice")).json()["state"] == {"balance": 7, "deposits": 2}
    refused = await one.http.post("/actors/account/alice/deposit", json={"amount": -4}, headers=later)
    assert (refused.status_code, refused.json()["path"]) == (422, "amount")
    asked = await one.http.post("/actors/account/alice/statement", headers={"Prefer": "respond-async"})
    assert (asked.status_code, asked.json()["value"]) == (200, 7), "a query is answered"


async def test_a_state_as_of_a_time_is_that_before_the_first_later_event(one: Served) -> None:
    start = one.pool.clock.now()
    await one.http.post("/actors/account/alice/deposit", json={"amount": 10})
    await one.pool.clock.advance(minutes=5)
    await one.http.post("/actors/account/alice/deposit", json={"amount": 5})
    await one.pool.clock.advance(minutes=5)

    async def at(**ago: int) -> tuple[int, int]:
        time = (one.pool.clock.now() - timedelta(**ago)).isoformat()
        found = await one.http.get("/actors/account/alice", params={"time": time})
        assert found.headers["etag"] == f'"{found.json()["version"]}"'
        return found.json()["version"], found.json()["state"]["balance"]

    assert start < one.pool.clock.now()
    assert await at(minutes=11) == (0, 0)
    assert await at(minutes=7) == (1, 10)
    assert await at(minutes=1) == (2, 15)
    first = (await one.http.get("/actors/account/alice/history")).json()[0]["time"]
    exactly = await one.http.get("/actors/account/alice", params={"time": first})
    assert exactly.json()["version"] == 1, "an event is there at its own time"
    never = await one.http.get("/actors/account/nobody?time=2020-01-01T00:00:00Z")
    assert never.json()["version"] == 0


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("time=yesterday", "a time is like 2026-11-28T17:00:00Z, not 'yesterday'"),
        ("time=2020-01-01T00:00:00", "needs a zone"),
        ("time=2020-01-01T00:00:00+01:00", "a + is written %2B"),
        ("time=9999-01-01T00:00:00Z", "in the future"),
        ("time=2020-01-01T00:00:00Z&version=1", "a state is that of a version or that of a time"),
        ("time=" + "1" * 5000, "a time is like"),
        ("time=", "a time is like"),
    ],
)
async def test_a_time_that_cannot_be_is_refused_with_the_reason(one: Served, query: str, said: str) -> None:
    refused = await one.http.get(f"/actors/account/alice?{query}")
    assert (refused.status_code, refused.json()["path"]) == (422, "time")
    assert said in refused.json()["detail"]


async def test_options_and_head_end_and_say_what_a_path_takes(one: Served) -> None:
    for path, allowed in [
        ("/actors/account/a/deposit", "OPTIONS, POST"),
        ("/actors/account/a/statement", "GET, HEAD, OPTIONS, POST"),
        ("/events", "GET, HEAD, OPTIONS"),
    ]:
        answer = await one.http.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b""), path
    await one.http.post("/actors/account/a/deposit", json={"amount": 10})
    for path in ("/actors/account/a", "/actors/account/a/statement", "/actors/account/a/history", "/events", "/ui/"):
        answer = await one.http.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
    assert (await one.http.head("/actors/account/a")).headers["etag"] == '"1"'
    assert (await one.http.options("/nothing")).status_code == 404


async def test_a_browser_at_the_root_is_sent_to_the_dashboard(one: Served) -> None:
    sent = await one.http.get("/")
    assert (sent.status_code, sent.headers["location"]) == (307, "/ui/")
    assert (await one.http.get("/", follow_redirects=True)).status_code == 200


async def test_a_wait_that_is_kept_is_said(one: Served) -> None:
    waited = await one.http.get("/actors/account/a/statement", headers={"Prefer": "wait=7"})
    assert waited.headers["preference-applied"] == "wait=7"
    assert "preference-applied" not in (await one.http.get("/actors/account/a/statement")).headers


async def test_a_command_that_may_be_stored_says_with_which_id_it_can_be_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def without_answer(*_: object) -> int:
        return await asyncio.Future()

    async with served(config=GatewayConfig(deadline_s=0.2)) as one:
        with monkeypatch.context() as patch:
            patch.setattr(one.pool.client.untyped._node.inbox, "send", without_answer)
            late = await one.http.post("/actors/account/a/touch", headers={"Prefer": "respond-async"})
        assert (late.status_code, late.json()["code"], late.json()["outcome_known"]) == (
            504,
            "deadline_exceeded",
            False,
        )
        again = {"Prefer": "respond-async", "Idempotency-Key": late.json()["command_id"]}
        assert (await one.http.post("/actors/account/a/touch", headers=again)).status_code == 202


async def test_what_became_of_a_command_without_a_waiting_caller_is_answered_to_the_same_request_that_waits(
    one: Served,
) -> None:
    """Whichever of the two comes first, it is carried out once."""
    for key in ("a", "b"):
        path, later = f"/actors/account/{key}/deposit", {"Prefer": "respond-async", "Idempotency-Key": "later"}
        assert (await one.http.post(path, json={"amount": 4}, headers=later)).status_code == 202
        if key == "a":
            while not (await one.http.get("/actors/account/a")).json()["version"]:
                pass
        answer = await one.http.post(path, json={"amount": 4}, headers={"Idempotency-Key": "later"})
        assert answer.json()["value"] == 4
    await one.http.post("/actors/account/b/deposit", json={"amount": 1}, headers={"Prefer": "respond-async"})
    while (state := (await one.http.get("/actors/account/b")).json()["state"])["balance"] < 5:
        pass
    assert state == {"balance": 5, "deposits": 2}


def test_a_gateway_that_was_stopped_says_whether_something_may_have_been_done() -> None:
    not_sent, sent = (http_problem(ClientUnusable("closed", outcome_known=known)) for known in (True, False))
    assert (not_sent.status, not_sent.headers) == (503, {"Retry-After": "1"})
    assert (sent.status, sent.headers, sent.members) == (504, {}, {"outcome_known": False})
    assert "may have been carried out" in sent.detail

"""What a hostile or broken caller sends: it is refused, costs little, and learns nothing."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from aether.errors import ConfigError
from aether.gateway.access import ByFunction, ByToken, Role, read_tokens
from aether.gateway.config import GatewayConfig, ServerConfig
from aether.gateway.server import address_of
from tests.support.gateway import Served, served
from tests.support.nodes import until

JSON_HEAD = b"Host: x\r\nContent-Type: application/json\r\n"
QUICK = ServerConfig(head_timeout_s=0.2, send_timeout_s=0.3, head_bytes_max=2_000)


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    async with served(config=GatewayConfig(body_timeout_s=0.2, body_bytes_max=10_000), server=QUICK) as it:
        yield it


def posted(path: bytes, body: bytes, headers: bytes = b"") -> bytes:
    size = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + JSON_HEAD + size + headers + b"Connection: close\r\n\r\n" + body


def body_of(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


async def untouched(one: Served) -> None:
    """No actor has any history, and the gateway still answers."""
    assert (await one.http.get("/actors/account")).json() == {"keys": [], "cursor": None}


BODIES = [
    (b"{", 400), (b"[1]", 422), (b"7", 422), (b"null", 422), (b'{"amount":NaN}', 400), (b'{"amount":1}x', 400),
    (b'{"amount":1},"caller":"root"', 400), (b'{"amount":"\xff"}', 400), (b'{"amount":"\\ud800"}', 400),
    (b"\xef\xbb\xbf{}", 400), (b'{"a":' * 5000 + b"1" + b"}" * 5000, 413), (b"[" * 3000, 400),
    (b'{"amount":1e999}', 400),
    (b'{"amount":99999999999999999999999}', 422), (b'{"amount":1.5}', 422), (b'{"amount":true}', 422), (b"\x00", 400),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status"), BODIES)
async def test_a_body_that_is_no_object_of_arguments_is_refused(one: Served, body: bytes, status: int) -> None:
    answer = await one.raw(posted(b"/actors/account/a/deposit", body))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert body_of(answer)["status"] == status
    await untouched(one)


async def test_only_json_is_taken_as_another_sites_page_cannot_send_it(one: Served) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": media_type} if media_type else {}
        refused = await one.http.post("/actors/account/a/deposit", content=b'{"amount":1}', headers=headers)
        assert refused.status_code == 415, media_type
    await untouched(one)


async def test_a_page_of_another_origin_sends_nothing_not_even_without_a_body(one: Served) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"):
        sendings: list[dict[str, Any]] = [{}, {"json": {"amount": 1}}]
        for sent in sendings:
            refused = await one.http.post("/actors/account/a/deposit", headers={"Origin": origin}, **sent)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), origin
    answer = await one.http.get("/actors/account", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = await one.http.options("/actors/account/a/deposit", headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 403
    own = await one.http.post("/actors/account/a/touch", headers={"Origin": one.url})
    assert own.status_code == 200


async def test_cors_is_for_the_origins_that_are_named() -> None:
    async with served(config=GatewayConfig(cors_origins=("https://app.example",))) as one:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        yes = await one.http.options("/actors/account/a/touch", headers={"Origin": "https://app.example", **asked})
        assert yes.headers["access-control-allow-origin"] == "https://app.example"
        sent = await one.http.post("/actors/account/a/touch", headers={"Origin": "https://app.example"})
        assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, "https://app.example")
        no = await one.http.options("/actors/account/a/touch", headers={"Origin": "https://evil.example", **asked})
        assert "access-control-allow-origin" not in no.headers
        assert (
            await one.http.post("/actors/account/a/touch", headers={"Origin": "https://evil.example"})
        ).status_code == 403


async def test_a_name_that_an_attacker_points_here_is_not_answered() -> None:
    """A page whose host name is made to resolve to the loopback is of the same origin, but for its name."""
    async with served(config=GatewayConfig(hosts=("localhost", "127.0.0.1", "::1"))) as one:
        for host, status in [("evil.example", 421), ("127.0.0.1:1", 200), ("localhost", 200), ("LOCALHOST:8", 200),
                             ("[::1]:8", 200), ("localhost.evil.example", 421), ("127.0.0.1.evil", 421)]:  # fmt: skip
            answer = await one.http.get("/actors/account", headers={"Host": host})
            assert answer.status_code == status, host


PATHS = [
    (b"/actors/account/%", 400), (b"/actors/account/%zz", 400), (b"/actors/account/%ff%fe", 400),
    (b"/actors/account/%c3", 400),
    (b"/actors/account/%ed%a0%80", 400), (b"/actors/account/" + b"k" * 201, 422), (b"/actors/account//deposit", 422),
    (b"/actors/account/a/../b", 404), (b"/actors/Account/a", 404), (b"/actors/%61ccount/a", 200), (b"/actors//a", 404),
    (b"//actors/account/a", 404), (b"/actors/account/a/", 404), (b"/actors/account/a?version=%ff", 400),
    (b"/actors/account/a?version=\xc3\xa9", 400), (b"/actors/account/a?version=%", 400),
    (b"/actors/account/a/statement?" + b"x&" * 300, 400), (b"/actors/account/a/__init__", 404),
    (b"/actors/account/a/emit", 404), (b"/actors/account/a/aether.state", 404), (b"/../etc/passwd", 404),
    (b"/actors/account/\xc3\xa9", 400), (b"/actors/account/%00", 200),
]  # fmt: skip


@pytest.mark.parametrize(("path", "status"), PATHS)
async def test_paths_are_taken_apart_before_they_are_decoded(one: Served, path: bytes, status: int) -> None:
    answer = await one.raw(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    await untouched(one)


async def test_headers_that_do_not_fit_are_refused(one: Served) -> None:
    touch = b"POST /actors/account/a/touch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for headers, status in [
        (b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n", 400),
        (b"Idempotency-Key: \xff\xfe\r\n", 422),
        (b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400),
        (b"Content-Length: x\r\n", 400),
        (b"Content-Length: 99999999999\r\n", 413),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Content-Encoding: gzip\r\nContent-Length: 0\r\n", 415),
        (b"Idempotency-Key: task:1\r\n", 422),
        (b"X: " + b"x" * 5_000 + b"\r\n", 431),
    ]:
        answer = await one.raw(touch + headers + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status), (headers[:40], answer)
    await untouched(one)


async def test_a_request_without_a_host_is_refused_but_for_the_old_protocol(one: Served) -> None:
    for protocol, status in ((b"HTTP/1.1", 400), (b"HTTP/1.0", 200)):
        answer = await one.raw(b"GET /actors/account/a " + protocol + b"\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer


async def test_a_body_in_an_encoding_is_not_taken_for_arguments(one: Served) -> None:
    for coding, status in (("gzip", 415), ("identity", 200)):
        headers = {"Content-Encoding": coding}
        answer = await one.http.post("/actors/account/b/deposit", json={"amount": 1}, headers=headers)
        assert answer.status_code == status
        if status == 415:
            assert answer.headers["accept-encoding"] == "identity"


async def test_nothing_that_was_sent_becomes_a_header_of_the_answer(one: Served) -> None:
    evil = b"a%0d%0aSet-Cookie:%20x=1"
    answer = await one.raw(b"GET /actors/account/" + evil + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Set-Cookie" not in head
    assert json.loads(body)["id"]["key"] == "a\r\nSet-Cookie: x=1"
    answer = await one.raw(b"GET /actors/" + evil + b"/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Set-Cookie" not in answer.partition(b"\r\n\r\n")[0]
    answer = await one.raw(b'GET /actors/account/a HTTP/1.1\r\nHost: x\r\nIf-None-Match: "0"\x00\r\n\r\n')
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_slow_body_and_a_body_that_never_comes_are_given_up(one: Served) -> None:
    head = b"POST /actors/account/a/deposit HTTP/1.1\r\n" + JSON_HEAD + b"Content-Length: 12\r\n\r\n"
    for sent in (head, head + b'{"amou'):
        answer = await one.raw(sent)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert body_of(answer)["code"] == "request_timeout"
    await untouched(one)


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_sender_of_a_body_that_is_too_large_hears_so(chunked: bool) -> None:
    """Its connection is not reset while it sends."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(128):
            yield b" " * 65_536

    content = pieces() if chunked else b" " * (8 * 1024 * 1024)
    head = {"Content-Type": "application/json"}
    async with served() as one:
        answer = await one.http.post("/actors/account/a/deposit", content=content, headers=head)
    assert (answer.status_code, answer.json()["limit"]) == (413, "body_bytes_max")


async def test_who_is_refused_before_the_body_is_read_hears_so_and_the_connection_goes_on() -> None:
    body = b" " * (8 * 1024 * 1024)
    async with served(access=ByToken({"reader-reader-reader": (Role.READ, "reader")})) as one:
        reader = {"Authorization": "Bearer reader-reader-reader"}
        for path, headers, status in (
            ("/actors/account/a/deposit", {}, 401),
            ("/actors/account/a/deposit", reader, 403),
            ("/actors/nobody/a/deposit", {}, 404),
            ("/actors/account/a/statement", {**reader, "Idempotency-Key": "a b"}, 422),
        ):
            assert (await one.http.post(path, content=body, headers=headers)).status_code == status
        incoming, outgoing = await asyncio.open_connection("127.0.0.1", one.port)
        for _ in range(3):
            outgoing.write(b"POST /actors/account/a/deposit HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            head = await incoming.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401 ")
            await incoming.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            outgoing.write(b" " * 99_999)
            await outgoing.drain()
            outgoing.write(b" HEAD /docs HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await incoming.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        outgoing.close()


@pytest.mark.parametrize(("announced", "sent"), [(100_000, 30_000), (100_000, 1_000), (1_000, 1_005)])
async def test_a_body_that_is_not_read_any_more_is_bounded(
    one: Served, monkeypatch: pytest.MonkeyPatch, announced: int, sent: int
) -> None:
    """In bytes and in time; so is half a head behind it."""
    monkeypatch.setattr("aether.gateway.server.DROPPED_BYTES_MAX", 20_000)
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", one.port)
    outgoing.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % announced)
    assert (await incoming.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    outgoing.write((b" " * announced + b"GET /a")[:sent])
    with suppress(ConnectionError):  # it is reset where more has come than was read
        rest = await incoming.read()
        assert b"HTTP/1.1" not in rest
    outgoing.close()


async def test_a_body_without_end_and_one_that_is_announced_are_not_waited_for(
    one: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aether.gateway.requests.DROPPED_BYTES_MAX", 20_000)
    head = b"POST /actors/account/a/deposit HTTP/1.1\r\n" + JSON_HEAD
    for rest in (
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 8,
        b"Content-Length: 10001\r\nExpect: 100-continue\r\n\r\n",
        b"Content-Length: 30001\r\n\r\n",
        b"Content-Length: 20000\r\n\r\n" + b" " * 10_001,
    ):
        answer = await one.raw(head + rest)
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert b"100 Continue" not in answer


async def test_a_chunked_body_is_bounded_too(one: Served) -> None:
    head = b"POST /actors/account/a/deposit HTTP/1.1\r\n" + JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await one.raw(head + b"1000\r\n" + b" " * 0x1000 + b"\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    whole = await one.raw(
        head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b'c\r\n{"amount":5}\r\n0\r\n\r\n'
    )
    assert whole.startswith(b"HTTP/1.1 200 "), whole


async def test_a_connection_that_says_nothing_or_half_a_head_is_closed(one: Served) -> None:
    assert await one.raw(b"") == b""
    assert (await one.raw(b"GET /actors HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(b"GET /actors/account HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"null}")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"GET /act")
    assert (await reader.read()).startswith(b"HTTP/1.1 408 "), "a second head is not waited for longer than the first"
    writer.close()


async def test_connections_are_bounded() -> None:
    bound = 40
    async with served(server=ServerConfig(connections_max=bound)) as one:
        held = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(bound)]
        await until(lambda: len(one.server.server_state.connections) == bound)
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        assert await _end(reader) == b"", "one more is closed at once"
        for _, each in held:
            each.close()
        writer.close()
        await until(lambda: not one.server.server_state.connections)
        await untouched(one)


async def _end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_reader_that_takes_nothing_is_given_up(one: Served) -> None:
    for n in range(30):
        await one.pool.client.actor("notebook", "n").note("x" * 300_000 + str(n))
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=1)
    writer.write(b"GET /actors/notebook/n/history HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.read(1)
    await until(lambda: one.gateway.calls == 1)
    await until(lambda: one.gateway.calls == 0)
    assert not one.server.server_state.connections
    writer.close()


async def test_many_idle_streams_cost_little_and_end_with_the_gateway() -> None:
    async with served(server=ServerConfig(connections_max=300)) as one:
        opened = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(200)]
        for _, writer in opened:
            writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in opened:
            await reader.readuntil(b"id: 0\n")
        assert one.gateway.feed.streams == 200
        await one.pool.client.actor("account", "a").deposit(1)
        for reader, _ in opened:
            await reader.readuntil(b"id: 1\n")
        one.server.stop()
        for reader, writer in opened:
            assert b"event: aether.draining" in await reader.read()
            writer.close()


async def test_a_connection_that_was_taken_before_the_end_has_its_first_request_answered() -> None:
    async with served() as one:
        late, idle = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(2)]
        await until(lambda: len(one.server.server_state.connections) == 2)
        one.server.stop()
        await until(lambda: not one.server.servers[0].is_serving())
        late[1].write(b"GET /actors/account HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await late[0].read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert await idle[0].read() == b"", "one that asks nothing is closed"
        await one.running
        for _, writer in (late, idle):
            writer.close()


async def test_a_failure_of_the_gateway_itself_says_nothing_of_its_inside(
    one: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/secret/path.py")

    monkeypatch.setattr(one.pool.client.untyped, "state_answer", broken)
    with caplog.at_level(logging.ERROR):
        failed = await one.http.get("/actors/account/a")
    assert (failed.status_code, failed.json()["code"]) == (500, "gateway_failed")
    assert "secret" not in failed.text
    assert "/srv/secret/path.py" in caplog.text, "the log has it"


# ---------------------------------------------------------------------------------------------------- who may

TOKENS = {
    "reader-reader-reader": (Role.READ, "reader"),
    "caller-caller-caller": (Role.CALL, "billing"),
    "admin-admin-admin-00": (Role.ADMIN, "root"),
}


async def test_tokens_have_roles() -> None:
    async with served(access=ByToken(TOKENS)) as one:
        requests = [
            ("GET", "/actors/account/a", "read"), ("GET", "/actors/account", "read"), ("GET", "/openapi.json", "read"),
            ("GET", "/actors/account/a/history", "read"), ("GET", "/actors/account/a/statement", "read"),
            ("POST", "/actors/account/a/statement", "read"), ("POST", "/actors/account/a/touch", "call"),
        ]  # fmt: skip
        for method, path, role in requests:
            refused = await one.http.request(method, path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="aether"'), path
            for wrong in ("Bearer nobody-nobody-nobody", "Basic reader-reader-reader", "Bearer", "reader"):
                assert (await one.http.request(method, path, headers={"Authorization": wrong})).status_code == 401, (
                    wrong
                )
            for token, (has, _) in TOKENS.items():
                answer = await one.http.request(method, path, headers={"Authorization": f"Bearer {token}"})
                enough = has >= Role[role.upper()]
                assert answer.status_code == (200 if enough else 403), (path, token)
        refused = await one.http.get("/events")
        assert refused.status_code == 401
        for path in ("/healthz", "/docs"):
            assert (await one.http.get(path)).status_code == 200


async def test_a_tokens_name_is_the_caller_that_the_actor_sees() -> None:
    import aether  # noqa: PLC0415 - a model of this test

    class Seen(aether.Actor):
        @aether.command
        def by(self) -> str:
            return self.context.caller

    async with served(aether.Model("seen", actors=[Seen]), access=ByToken(TOKENS)) as one:
        answer = await one.http.post("/actors/seen/a/by", headers={"Authorization": "bearer caller-caller-caller"})
        assert answer.json()["value"] == "billing"


async def test_a_function_of_the_users_decides() -> None:
    asked = []

    async def authorize(request: Request, kind: str, key: str, command: str) -> bool:
        asked.append((request.headers.get("x-user", ""), kind, key, command))
        return key != "secret" and command != "withdraw"

    async with served(access=ByFunction(authorize)) as one:
        user = {"X-User": "ann"}
        assert (await one.http.get("/actors/account/a", headers=user)).status_code == 200
        assert (await one.http.get("/actors/account/secret", headers=user)).status_code == 403
        assert (await one.http.post("/actors/account/a/withdraw", json={"amount": 1}, headers=user)).status_code == 403
        assert (await one.http.get("/events?kind=account&key=secret", headers=user)).status_code == 403
        assert (await one.http.get("/actors/account", headers=user)).status_code == 200
    assert asked == [
        ("ann", "account", "a", ""), ("ann", "account", "secret", ""), ("ann", "account", "a", "withdraw"),
        ("ann", "account", "secret", ""), ("ann", "account", "", ""),
    ]  # fmt: skip


async def test_a_function_that_gives_no_plain_yes_or_fails_keeps_every_caller_out() -> None:
    def broken(request: Request, kind: str, key: str, command: str) -> bool:
        if key == "raise":
            raise RuntimeError("no database")
        return None if key == "none" else "yes"  # type: ignore[return-value]

    async with served(access=ByFunction(broken)) as one:
        for key, status in [("none", 403), ("text", 403), ("raise", 500)]:
            assert (await one.http.post(f"/actors/account/{key}/touch")).status_code == status
        await asyncio.sleep(0)
        assert (await one.pool.client.state("account", "raise")).version == 0


def test_a_file_of_tokens_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# comment\nread  ann  0123456789abcdef\n\nadmin bob fedcba9876543210 # his\n")
    read_tokens(file)
    for line, words in [
        ("read ann", "a role, a name and a token"), ("rule ann 0123456789abcdef", "read, call or admin"),
        ("read ann short", "at least 16"), ("read a/b 0123456789abcdef", "a name is"), ("", "has no token"),
        ("read a 0123456789abcdef\ncall b 0123456789abcdef", "twice"),
        ("read ann 0123456789abcde\u00e9", "at least 16"),
    ]:  # fmt: skip
        file.write_text(line)
        with pytest.raises(ConfigError, match=words) as raised:
            read_tokens(file)
        assert "0123456789" not in raised.value.message, "a token is in no message"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "none")


def test_addresses_are_read() -> None:
    for text, shown, loopback in [
        ("127.0.0.1:80", "127.0.0.1:80", True), (":8080", "127.0.0.1:8080", True), ("localhost:0", "localhost:0", True),
        ("[::1]:1", "[::1]:1", True), ("0.0.0.0:1", "0.0.0.0:1", False), ("[::]:1", "[::]:1", False),
        ("example.org:1", "example.org:1", False), ("127.9.9.9:1", "127.9.9.9:1", True),
    ]:  # fmt: skip
        assert (str(address_of(text)), address_of(text).loopback) == (shown, loopback)
    for bad in ("", "80", "host", "host:", "host:x", "host:70000", "::1:80", "[::1]", "http://x:1"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            address_of(bad)

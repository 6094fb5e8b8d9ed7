"""The gateway over real pools: curl, kills, reloads, drains, and event streams that lose and repeat nothing."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aether
from tests.support.actors import Account, model
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

MODEL = "tests.support.actors:model"
SERVING = re.compile(r"aether\.gateway: serving at (http://\S+) .*pid=(\d+)")


def pool_on(server: NatsServer, namespace: str, *options: str) -> Pool:
    where = ("--nats", server.url, "--namespace", namespace)
    return Pool(MODEL, "--workers", "2", *where, "--http", "127.0.0.1:0", *options)


def gateway_of(pool: Pool, count: int = 1) -> tuple[str, int]:
    """The URL and the pid of the pool's gateway, of the `count`th that has served."""
    found = pool.wait_for(SERVING, count)[count - 1]
    return found[1], int(found[2])


@contextmanager
def gateway(server: NatsServer, namespace: str, *options: str) -> Iterator[tuple[str, Pool]]:
    """`aether gateway` as a process of its own."""
    own = Pool(
        MODEL, "--http", "127.0.0.1:0", "--nats", server.url, "--namespace", namespace, *options,
        program=("aether.cli", "gateway"),
    )  # fmt: skip
    try:
        yield gateway_of(own)[0], own
    finally:
        if own.process.poll() is None:
            own.drain()
        own.close()


def curl(*arguments: str) -> str:
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_calls_an_actor(own_server: NatsServer, namespace: str) -> None:
    with pool_on(own_server, namespace) as pool:
        url, _ = gateway_of(pool)
        sent = ("-H", "Content-Type: application/json", "-d", '{"amount": 10}')
        answer = curl("-X", "POST", f"{url}/actors/account/alice/deposit", *sent)
        assert json.loads(answer) == {"value": 10, "version": 1, "position": json.loads(answer)["position"]}
        assert json.loads(curl(f"{url}/actors/account/alice/statement"))["value"] == 10
        assert json.loads(curl(f"{url}/actors/account")) == {"keys": ["alice"], "cursor": None}
        assert json.loads(curl(f"{url}/healthz")) == {"status": "ok"}
        limits = Path(f"/proc/{gateway_of(pool)[1]}/limits").read_text()
        soft, hard = re.findall(r"Max open files +(\d+) +(\d+)", limits)[0]
        assert int(soft) >= min(4_096, int(hard)), "as many connections as it bears can be open"
        assert json.loads(curl(f"{url}/readyz")) == {"status": "ok"}
        refused = curl("-o", "-", "-w", "%{http_code}", "-H", "Host: evil.example", f"{url}/actors/account")
        assert refused.endswith("421")
        assert pool.drain() == 0
        drained = [line for line in pool.lines if "drained" in line]
        assert "aether.gateway" in drained[0], "the gateway drains before the workers"


def test_a_killed_gateway_comes_back_at_its_place_and_a_reload_refuses_no_request(
    own_server: NatsServer, namespace: str
) -> None:
    with pool_on(own_server, namespace) as pool:
        url, pid = gateway_of(pool)
        os.kill(pid, signal.SIGKILL)
        # Who asks now waits in the socket's queue, which is the supervisor's.
        assert json.loads(curl(f"{url}/actors/account/alice"))["version"] == 0
        again, other = gateway_of(pool, 2)
        assert (again, other != pid) == (url, True)
        pool.reload()
        answered = 0
        while len([line for line in pool.lines if SERVING.search(line)]) < 3:
            assert json.loads(curl(f"{url}/actors/account/a{answered}"))["version"] == 0
            answered += 1
        assert gateway_of(pool, 3)[0] == url
        assert answered > 0
        assert pool.drain() == 0


class Stream:
    """Follows `/events` as a browser does: connects again at its last id, whenever it is cut off."""

    def __init__(self, urls: list[str], query: str = "") -> None:
        self.urls = urls
        self.query = query
        self.last_id = "0"
        self.amounts: list[tuple[str, int]] = []
        self.ids: list[str] = []

    async def follow(self) -> None:
        attempt = 0
        while True:
            url = self.urls[attempt % len(self.urls)]
            attempt += 1
            try:
                async with httpx2.AsyncClient(timeout=httpx2.Timeout(5, read=60)) as http:
                    headers = {"Last-Event-ID": self.last_id}
                    async with http.stream("GET", f"{url}/events{self.query}", headers=headers) as answer:
                        if answer.status_code == 200:
                            await self._read(answer)
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)

    async def _read(self, answer: httpx2.Response) -> None:
        data, event, event_id = "", "", self.last_id
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                event_id = value
            elif name == "event":
                event = value
            elif name == "data":
                data = value
            elif not line:
                if data and not event:
                    found: dict[str, Any] = json.loads(data)
                    self.ids.append(event_id)
                    self.amounts.append((found["source"].rpartition("/")[2], found["data"]["amount"]))
                self.last_id, data, event = event_id, "", ""


async def test_a_stream_loses_and_repeats_nothing_over_kills_of_gateways_and_restarts_of_the_server(
    own_server: NatsServer, namespace: str
) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(pool_on(own_server, namespace))
        urls = [gateway_of(pool)[0], stack.enter_context(gateway(own_server, namespace))[0]]
        streams = [Stream(urls), Stream(urls[::-1]), Stream(urls[:1], "?kind=account&key=k1")]
        following = [asyncio.create_task(stream.follow()) for stream in streams]
        stored = []
        async with aether.connect(own_server.url, model=model, namespace=namespace) as client:
            for n in range(300):
                key = f"k{n % 3}"
                # A command of two events, so that a stream may be cut in the middle of a commit.
                await client.actor(Account, key, deadline_s=50).deposit_twice(2 * n + 1, 2 * n + 2)
                stored += [(key, 2 * n + 1), (key, 2 * n + 2)]
                if n in (60, 180):
                    _, pid = await asyncio.to_thread(gateway_of, pool, 1 if n == 60 else 2)
                    os.kill(pid, signal.SIGKILL if n == 60 else signal.SIGTERM)
                if n == 120:
                    own_server.kill()
                    own_server.start()
        wanted = [stored, stored, [one for one in stored if one[0] == "k1"]]
        async with asyncio.timeout(60):
            for stream, all_of_it in zip(streams, wanted, strict=True):
                while len(stream.amounts) < len(all_of_it):  # noqa: ASYNC110 - other processes make progress
                    await asyncio.sleep(0.05)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        for stream, all_of_it in zip(streams, wanted, strict=True):
            assert stream.amounts == all_of_it
            assert len(set(stream.ids)) == len(stream.ids)


def test_the_same_key_through_two_gateways_is_one_effect(own_server: NatsServer, namespace: str) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(pool_on(own_server, namespace))
        urls = [gateway_of(pool)[0], stack.enter_context(gateway(own_server, namespace))[0]]
        sent = ("-H", "Content-Type: application/json", "-d", '{"amount": 10}', "-H", "Idempotency-Key: order-1")
        answers = [json.loads(curl(f"{url}/actors/account/alice/deposit", *sent)) for url in urls * 2]
        assert answers == [answers[0]] * 4
        assert json.loads(curl(f"{urls[1]}/actors/account/alice"))["state"]["balance"] == 10


HOLDING = """
import asyncio
from pathlib import Path

from aether import Actor, Model, command


class Holder(Actor):
    @command
    async def hold(self, begun: str, until: str) -> str:
        Path(begun).touch()
        while not Path(until).exists():
            await asyncio.sleep(0.01)
        return "held"


model = Model("holding", actors=[Holder])
"""


async def test_a_drain_answers_what_was_asked_and_tells_the_streams(own_server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "holding.py").write_text(HOLDING)
    begun, until = tmp_path / "begun", tmp_path / "until"
    where = ("--nats", own_server.url, "--http", "127.0.0.1:0")
    with Pool("holding:model", "--workers", "1", *where, directory=tmp_path) as pool:
        url, pid = await asyncio.to_thread(gateway_of, pool)
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http, http.stream("GET", "/events") as events:
            lines = events.aiter_lines()
            async for line in lines:
                if line.startswith("id: "):
                    break
            args = {"begun": str(begun), "until": str(until)}
            call = asyncio.create_task(http.post("/actors/holder/h/hold", json=args))
            while not begun.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
            pool.process.send_signal(signal.SIGTERM)
            assert "event: aether.draining" in [line async for line in lines]
            assert not call.done()
            until.touch()
            answer = await call
        assert (answer.status_code, answer.json()["value"]) == (200, "held")
        assert await asyncio.to_thread(pool.process.wait, 30) == 0
        assert pid not in (0, pool.process.pid)


def run_gateway(*options: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-m", "aether.gateway", MODEL, *options]
    if code:
        program = [sys.executable, "-c", code]
    return subprocess.run(
        program, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_can_reach_needs_authentication(address: str) -> None:
    done = run_gateway("--http", address)
    assert done.returncode == 4
    assert "needs authentication" in done.stderr
    pool = Pool(MODEL, "--http", address)
    assert pool.process.wait(timeout=60) == 4
    pool.close()
    assert any("needs authentication" in line for line in pool.lines)


def test_with_tokens_it_listens_anywhere(own_server: NatsServer, namespace: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("call ann 0123456789abcdef\n")
    with Pool(MODEL, "--nats", own_server.url, "--namespace", namespace, "--http", "0.0.0.0:0", "--http-tokens",
              str(tokens)) as pool:  # fmt: skip
        url = gateway_of(pool)[0].replace("0.0.0.0", "127.0.0.1")
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        assert curl(*status, f"{url}/actors/account") == "401"
        assert curl(*status, "-H", "Authorization: Bearer 0123456789abcdef", f"{url}/actors/account") == "200"
        assert curl(*status, f"{url}/healthz") == "200"


def test_without_the_extra_it_says_which_one_is_missing() -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; "
        "from aether.gateway.process import run_gateway; from aether.gateway.options import GatewayOptions; "
        f"sys.exit(run_gateway(GatewayOptions(model={MODEL!r})))"
    )
    done = run_gateway(code=code)
    assert done.returncode == 4
    assert "pip install 'aether-actors[gateway]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pool_that_is_not_there_is_a_failure_to_boot(own_server: NatsServer, namespace: str) -> None:
    done = run_gateway("--http", "127.0.0.1:0", "--nats", own_server.url, "--namespace", namespace)
    assert done.returncode == 3
    assert "cannot serve" in done.stderr
    held = run_gateway("--http", own_server.url.removeprefix("nats://"), "--nats", own_server.url)
    assert held.returncode == 4
    assert "cannot listen" in held.stderr

"""`aether dev`: one command gives a pool, HTTP and the dashboard, and what is saved is seen in the browser."""

import asyncio
import json
import re
import socket
from pathlib import Path

import httpx2

from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.saving import put

MODEL = """
from aether import Actor, Model, query

WORD = "{word}"


class Speaker(Actor):
    @query
    def {name}(self) -> str:
        return WORD


model = Model("speaker", actors=[Speaker])
"""
DASHBOARD = re.compile(r"aether: the dashboard is at (http://\S+/ui/);")
CALLED_OFF = re.compile(r"aether: the reload is called off: the new code does not load")


def dev(server: NatsServer, directory: Path, http: str) -> Pool:
    options = ("--nats", server.url, "--namespace", fresh_namespace(), "--workers", "1", "--http", http)
    return Pool("speaker:model", *options, directory=directory, program=("aether.cli", "dev"))


async def test_what_is_saved_is_seen_over_http_and_on_the_dashboard(nats_server: NatsServer, tmp_path: Path) -> None:
    put(tmp_path, "speaker.py", MODEL.format(word="one", name="say"))
    with dev(nats_server, tmp_path, "127.0.0.1:0") as pool:
        dashboard = (await asyncio.to_thread(pool.wait_for, DASHBOARD))[0][1]
        # A connection that is idle when the gateway is replaced is closed, maybe as the next request is written to it.
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(base_url=dashboard.removesuffix("ui/"), timeout=60, limits=limits) as http:

            async def until(path: str, text: str) -> None:
                while text not in (await http.get(path)).text:  # noqa: ASYNC110 - the pool makes progress
                    await asyncio.sleep(0.05)

            await until("/actors/speaker/s/say", '"one"')
            assert "say" in (await http.get("/ui/actor?kind=speaker&key=s")).text

            put(tmp_path, "speaker.py", MODEL.format(word="two", name="speak"))
            await until("/actors/speaker/s/speak", '"two"')
            await until("/ui/actor?kind=speaker&key=s", "speak")

            put(tmp_path, "speaker.py", "def model(:")
            await asyncio.to_thread(pool.wait_for, CALLED_OFF)
            assert any(re.search(r"speaker\.py:1: .*SyntaxError", line) for line in pool.lines), "".join(pool.lines)
            assert json.loads((await http.get("/actors/speaker/s/speak")).text)["value"] == "two"
        wrote = "".join(pool.lines)
        assert "INFO aether.worker: serving" in wrote
        assert "INFO aether.gateway: serving at" in wrote
        assert await asyncio.to_thread(pool.drain) == 0


async def test_where_the_port_is_taken_a_free_one_is_said(nats_server: NatsServer, tmp_path: Path) -> None:
    put(tmp_path, "speaker.py", MODEL.format(word="one", name="say"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with dev(nats_server, tmp_path, f"127.0.0.1:{taken}") as pool:
            url = (await asyncio.to_thread(pool.wait_for, DASHBOARD))[0][1]
            assert f":{taken}/" not in url
            async with httpx2.AsyncClient(timeout=60) as http:
                assert (await http.get(url)).status_code == 200

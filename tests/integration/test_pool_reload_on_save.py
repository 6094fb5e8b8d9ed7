"""`aether run --reload`: what is saved runs a moment later, and what does not load is shown and harms nothing."""

import asyncio
import re
from pathlib import Path

import aether
from aether.connecting import connect_untyped
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.saving import put

MODEL = """
from aether import Actor, Model, query
from words import WORD


class Speaker(Actor):
    @query
    def say(self) -> str:
        return WORD


model = Model("speaker", actors=[Speaker])
"""
READY = re.compile(r"aether: 1 worker ready")
CALLED_OFF = re.compile(r"aether: the reload is called off: the new code does not load")


async def test_what_is_saved_is_what_runs(nats_server: NatsServer, tmp_path: Path) -> None:
    put(tmp_path, "words.py", 'WORD = "one"')
    put(tmp_path, "speaker.py", MODEL)
    namespace = fresh_namespace()
    options = ("--workers", "1", "--nats", nats_server.url, "--namespace", namespace, "--reload")
    with Pool("speaker:model", *options, directory=tmp_path) as pool:
        async with connect_untyped(nats_server.url, namespace=namespace) as untyped:

            async def said() -> bytes:
                return bytes((await untyped.call(aether.ActorId("speaker", "s"), "say")).value)

            async def until(word: str) -> None:
                while await said() != f'"{word}"'.encode():
                    pass

            assert await said() == b'"one"'

            put(tmp_path, "words.py", 'WORD = "two"')
            await until("two")
            assert any("aether: saved: words.py" in line for line in pool.lines)

            put(tmp_path, "words.py", "from more_words import WORD\nWORD = (")
            await asyncio.to_thread(pool.wait_for, CALLED_OFF)
            assert any(re.search(r"words\.py:2: .*SyntaxError", line) for line in pool.lines), "".join(pool.lines)
            assert await said() == b'"two"'

            put(tmp_path, "words.py", "from more_words import WORD")
            await asyncio.to_thread(pool.wait_for, CALLED_OFF, 2)

            put(tmp_path, "more_words.py", 'WORD = "three"')
            await until("three")

            put(tmp_path, "more_words.py", 'WORD = "four"')
            await until("four")
        assert await asyncio.to_thread(pool.drain) == 0


async def test_without_the_option_nothing_is_reloaded(nats_server: NatsServer, tmp_path: Path) -> None:
    put(tmp_path, "words.py", 'WORD = "one"')
    put(tmp_path, "speaker.py", MODEL)
    options = ("--workers", "1", "--nats", nats_server.url, "--namespace", fresh_namespace())
    with Pool("speaker:model", *options, directory=tmp_path) as pool:
        put(tmp_path, "words.py", 'WORD = "two"')
        pool.reload()  # which comes after what a look at the files would have found
        await asyncio.to_thread(pool.wait_for, READY, 2)
        assert not [line for line in pool.lines if "saved" in line]

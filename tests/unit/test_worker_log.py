"""A worker's lines: of one form, and with the command that they were written for."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, cast

import pytest

from aether import Actor, ActorFailed, ActorId, ConfigError, Model, Runtime, command
from aether.config import LogConfig, from_environment
from aether.ports import EventStore
from aether.supervisor.console import Console
from aether.worker_log import CommandFilter, FieldFormatter, JsonFormatter
from tests.support.nodes import command as sent
from tests.support.nodes import node, send
from tests.support.talkative import LEFT, Talker, log, model


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What loggers write in JSON, as in a worker."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("host-0"))
    handler.addFilter(CommandFilter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


WRITTEN: dict[str, list[str]] = {
    "plain": ["from a library", "applied"],
    "waiting": ["before", "after", "to a thread"],
    "in_thread": ["in a thread"],
    "leave": ["later"],
    "asked": ["asked"],
}


@pytest.mark.parametrize("name", WRITTEN)
async def test_every_line_of_a_handler_says_for_which_command_it_is(name: str, lines: io.StringIO) -> None:
    async with node(model=model) as runtime:
        await send(runtime, ActorId("talker", "käse"), sent(name, id="c-1"))
        await asyncio.gather(*LEFT)
        LEFT.clear()
    own = [line for line in read(lines) if line["logger"] == "shop.orders"]
    assert [line["message"] for line in own] == WRITTEN[name]
    for line in own:
        of = {field: line[field] for field in ("actor", "command", "command_id", "correlation_id")}
        assert of == {"actor": "talker/käse", "command": name, "command_id": "c-1", "correlation_id": "c-1"}


async def both(runtime: Runtime) -> None:
    talkers = [runtime.actor(Talker, str(n), command_id=f"of {n}") for n in range(8)]
    await asyncio.gather(*(getattr(one, name)() for one, name in zip(talkers, [*WRITTEN, *WRITTEN], strict=False)))
    await asyncio.gather(*LEFT)
    LEFT.clear()


async def test_commands_that_run_together_keep_their_lines_apart(lines: io.StringIO) -> None:
    async with node(model=model) as runtime:
        await both(runtime)
    own = [line for line in read(lines) if line["logger"] == "shop.orders"]
    assert len(own) > 8
    assert all(line["command_id"] == f"of {line['actor'].removeprefix('talker/')}" for line in own)


def telling(store: EventStore) -> EventStore:
    """A store that writes a line whenever something is appended, right behind a turn."""
    publish = store.publish

    def told(*commit: Any) -> None:
        log.info("stored")
        publish(*commit)

    cast("Any", store).publish = told
    return store


@pytest.mark.parametrize("name", WRITTEN)
async def test_what_is_written_for_no_command_says_none(name: str, lines: io.StringIO) -> None:
    async with node(model=model, wrap=telling) as runtime:
        await asyncio.gather(*(send(runtime, ActorId("talker", key), sent(name)) for key in "abc"))
        asyncio.get_running_loop().call_soon(log.info, "outside")
        await runtime.actor(Talker, "t").plain()
        await asyncio.gather(*LEFT)
        LEFT.clear()
    others = [line for line in read(lines) if line["message"] in ("stored", "outside")]
    assert {line["message"] for line in others} == {"stored", "outside"}
    assert not [line for line in others if "actor" in line or "command_id" in line]


BOUND: ContextVar[str] = ContextVar("BOUND", default="")


class Binder(Actor):
    """Leaves something in the context, as loggers with bound values do."""

    @command
    def bind(self, value: str) -> str:
        """What was bound before."""
        before = BOUND.get()
        BOUND.set(value)
        return before


async def test_what_a_handler_leaves_in_its_context_is_not_there_for_the_next_command() -> None:
    token = BOUND.set("of the start")
    async with node(model=Model("tests", actors=[Binder])) as runtime:
        assert await runtime.actor(Binder, "b").bind("one") == "of the start"
        assert await runtime.actor(Binder, "b").bind("two") == "of the start"
    BOUND.reset(token)


async def test_a_line_keeps_its_own_fields_and_gets_the_others(lines: io.StringIO) -> None:
    async with node(model=model) as runtime:
        with pytest.raises(ActorFailed):
            await send(runtime, ActorId("talker", "t"), sent("break_down", id="c-1"))
        await send(runtime, ActorId("talker", "t"), sent("plain", id="c-2"))
    failed = next(line for line in read(lines) if line["message"] == "a handler failed")
    assert (failed["level"], failed["logger"], failed["worker"]) == ("ERROR", "aether.turn", "host-0")
    assert (failed["actor"], failed["command_id"], failed["correlation_id"]) == ("talker/t", "c-1", "c-1")
    assert failed["exception"].endswith("ZeroDivisionError: a bug\nin two lines")
    assert next(line for line in read(lines) if line["message"] == "from a library")["amount"] == 10


class Odd:
    """A value that JSON does not know."""

    def __str__(self) -> str:
        return "odd"


def formatted(formatter: logging.Formatter, message: str, **extra: Any) -> str:
    record = logging.getLogger("x").makeRecord("x", logging.WARNING, "f.py", 1, message, (), None, extra=extra)
    record.created = 1_700_000_000.5
    return formatter.format(record)


def test_json_is_one_line_whatever_is_in_it() -> None:
    looped: list[Any] = []
    looped.append(looped)
    text = formatted(
        JsonFormatter("host-0"),
        'two\nlines, "ä" and \udc80',
        odd=Odd(),
        level="mine",
        many=[1, 2.5, None],
        nan=float("nan"),
        keys={(1, 2): 3},
        looped=looped,
    )
    assert "\n" not in text
    line = json.loads(text)
    assert (line["time"], line["level"], line["message"]) == (
        "2023-11-14T22:13:20.500Z",
        "WARNING",
        'two\nlines, "ä" and \udc80',
    )
    assert (line["odd"], line["level_"], line["many"], line["nan"]) == ("odd", "mine", [1, 2.5, None], "nan")
    assert (line["keys"], line["looped"]) == ("{(1, 2): 3}", "[[...]]")


def test_text_has_the_fields_behind_the_message() -> None:
    assert formatted(FieldFormatter("host-0"), "it is so", actor="a/b", n=2).endswith(
        "WARNING x: it is so actor=a/b n=2"
    )


def test_what_callers_say_begins_no_line_of_text() -> None:
    """A key may hold anything."""
    fields = {"actor": "a/b\n2026-01-01 ERROR", "correlation_id": "\x1b[31mü\r\u2028\udc80"}
    text = formatted(FieldFormatter("host-0"), "it is so", **fields)
    assert text.endswith(r"it is so actor=a/b\n2026-01-01 ERROR correlation_id=\x1b[31mü\r\u2028\udc80")


@pytest.mark.parametrize("setting", ["level", "format"])
def test_a_setting_that_cannot_be_is_named(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"log_{setting} is one of .*, not 'loud'") as wrong:
        LogConfig(**{setting: "loud"})
    assert wrong.value.setting == f"log_{setting}"


def test_settings_come_from_the_environment_in_any_case() -> None:
    given = from_environment(LogConfig, {"AETHER_LOG_LEVEL": "debug", "AETHER_LOG_FORMAT": "JSON"})
    assert given == LogConfig(level="DEBUG", format="json")
    assert from_environment(LogConfig, {"AETHER_LOG_LEVEL": "debug"}, level="error").level == "ERROR"


def test_the_supervisor_says_its_lines_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    Console()("2 workers ready")
    assert capsys.readouterr().err == "aether: 2 workers ready\n"
    say = Console(LogConfig(level="warning", format="json"))
    say("2 workers ready")
    say("worker 1 exited with 1", "ERROR")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "aether.supervisor", "worker 1 exited with 1")

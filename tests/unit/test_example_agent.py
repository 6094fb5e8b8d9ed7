"""The agent: each thing that is said has one answer, the right one, whatever crashes on the way."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from aether import Rejected, TaskFailed
from aether.config import RuntimeConfig
from aether.testing import given, local_pool
from aether.testing.pool import LocalPool
from examples.agent import chat
from examples.agent.language_model import LanguageModel, Message, ToolCall, answer_to
from examples.agent.model import model
from examples.agent.session import (
    AnswerFailed,
    ModelSaid,
    Session,
    ToolAnswered,
    ToolsCalled,
    UserReminded,
    UserSaid,
)
from examples.agent.work import Reply

QUICK = RuntimeConfig(tell_retry_first_s=0.01, replay_retry_first_s=0.001, replay_retry_max_s=0.01)
SAID = ["hello there", "what is the weather in Berlin", "and the weather in Cairo and the weather in Lima"]
SEEN = ["You said: hello there", "Berlin: rain", "Cairo: sun; Lima: fog"]


async def answered(pool: LocalPool, key: str, count: int) -> list[str]:
    """What the user sees of the model, once there are so many answers."""
    async with asyncio.timeout(30):
        while True:
            events = [one.event async for one in pool.client.history(Session, key)]
            answers = [event.text for event in events if isinstance(event, ModelSaid)]
            if len(answers) >= count:
                return answers
            await pool.clock.advance(seconds=1)  # between two attempts
            await asyncio.sleep(0.005)


def test_the_model_asks_for_tools_and_uses_what_they_found() -> None:
    asked = [Message("user", "weather in Lima")]
    (call,) = answer_to(asked)
    assert not isinstance(call, str)
    assert (call.tool, call.argument) == ("weather", "Lima")
    assert answer_to([*asked, Message("tool", "fog", call=call.id)]) == ["fog "]


async def test_a_conversation_is_its_history() -> None:
    async with local_pool(model, config=QUICK) as pool:
        session = pool.client.actor(Session, "a")
        for count, text in enumerate(SAID, 1):
            await session.say(text)
            await answered(pool, "a", count)
        assert await answered(pool, "a", 3) == SEEN
        assert [one.text for one in await session.messages() if one.role == "user"] == SAID


async def test_one_thing_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_pool(model, config=QUICK) as pool:
        session = pool.client.actor(Session, "a")
        await session.say("hello there")
        with pytest.raises(Rejected, match="still thinking"):
            await session.say("are you there?")
        assert await answered(pool, "a", 1) == SEEN[:1]


async def test_a_chat_that_was_left_shows_the_open_answer_before_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, opened, lines = list[str](), asyncio.Event(), ["thank you\n", "\n"]
    stream = LanguageModel.stream

    async def held(self: LanguageModel, conversation: Sequence[Message]) -> AsyncIterator[str | ToolCall]:
        await opened.wait()
        async for piece in stream(self, conversation):
            yield piece

    def show(*words: str) -> None:
        shown.append(" ".join(words))
        opened.set()

    monkeypatch.setattr(LanguageModel, "stream", held)
    monkeypatch.setattr(chat, "print", show, raising=False)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: lines.pop(0)))
    async with local_pool(model, config=QUICK) as pool, asyncio.timeout(30):
        monkeypatch.setattr(chat, "connect", lambda model: nullcontext(pool.client))
        await pool.client.actor(Session, "a").say("weather in Lima")
        await chat.main("a")
    assert shown == ["user: weather in Lima", "model: Lima: fog", "model: You said: thank you"]


def test_when_a_tool_has_failed_what_else_was_asked_for_is_cancelled() -> None:
    """Its failure would be taken for that of the next answer."""
    calls = [ToolCall(f"call-0-{number}", "weather", place) for number, place in enumerate(("Cairo", "Lima"))]
    asked = given(Session, UserSaid("weather in Cairo and weather in Lima"), model=model)
    asked.when(Session.model_answered, Reply("", calls)).then(ToolsCalled(calls, ["test-task-1", "test-task-2"]))
    failed = given(Session, UserSaid("weather?"), ToolsCalled(calls, ["one", "two"]), ToolAnswered(calls[0].id, "sun"))
    outcome = failed.when(Session.fail, TaskFailed("no weather", "ConnectionError", 5))
    outcome.then(AnswerFailed("no weather"))
    assert outcome.cancelled_tasks == ("two",)


async def test_a_day_later_the_user_is_reminded_once() -> None:
    async with local_pool(model, config=QUICK) as pool:
        await pool.client.actor(Session, "a").say("hello there")
        await answered(pool, "a", 1)
        await pool.clock.advance(hours=12)
        await pool.client.actor(Session, "a").say("hello there")
        await answered(pool, "a", 2)
        await pool.clock.advance(hours=23)
        events = [one.event async for one in pool.client.history(Session, "a")]
        assert not any(isinstance(event, UserReminded) for event in events)
        await pool.crash()
        await pool.clock.advance(hours=48)
        async with asyncio.timeout(10):
            while not isinstance(events[-1], UserReminded):
                events = [one.event async for one in pool.client.history(Session, "a")]
                await asyncio.sleep(0.01)
        assert sum(isinstance(event, UserReminded) for event in events) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_crashes_lose_and_repeat_nothing_that_the_user_sees(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    monkeypatch.setattr("examples.agent.model.LanguageModel", lambda: LanguageModel(fails=0.4, word_s=0.001))
    async with local_pool(model, workers=3, config=QUICK) as pool:
        done = asyncio.Event()

        async def crash_now_and_then() -> None:
            while not done.is_set():
                await asyncio.sleep(rng.uniform(0.005, 0.05))
                await pool.crash(rng.randrange(3))

        crashing = asyncio.ensure_future(crash_now_and_then())
        for count, text in enumerate(SAID, 1):
            await asyncio.gather(*(pool.client.actor(Session, key).say(text) for key in "abcd"))
            await asyncio.gather(*(answered(pool, key, count) for key in "abcd"))
        done.set()
        await crashing
        for key in "abcd":
            assert await answered(pool, key, 3) == SEEN
            events = [one.event async for one in pool.client.history(Session, key)]
            assert [event.text for event in events if isinstance(event, UserSaid)] == SAID

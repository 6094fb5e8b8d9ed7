"""What the agent asks of the outside world: tasks, each run at least once, its result taken once."""

import asyncio
from dataclasses import dataclass, field

from aether import Retry, TaskContext, task
from examples.agent.language_model import Message, ToolCall

WEATHER_OF = {"Berlin": "rain", "Cairo": "sun", "Lima": "fog"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole message of the model: a text, or calls of tools."""

    text: str
    calls: list[ToolCall] = field(default_factory=list[ToolCall])


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool found."""

    call: str
    text: str


@task(retry=Retry(first_s=0.05, cap_s=5, attempts=20), timeout_s=60)
async def complete(context: TaskContext, conversation: list[Message]) -> Reply:
    """Ask the model for its next message. A stream that breaks is asked for again, from its beginning."""
    words, calls = list[str](), list[ToolCall]()
    async for piece in context.resources.model.stream(conversation):
        if isinstance(piece, ToolCall):
            calls.append(piece)
        else:
            words.append(piece)
    return Reply("".join(words).strip(), calls)


@task(retry=Retry(first_s=0.05, cap_s=5, attempts=5), timeout_s=10)
async def use_tool(call: ToolCall) -> ToolResult:
    """Use a tool. What it cannot do is a result too, which the model reads."""
    await asyncio.sleep(0.01)
    if call.tool != "weather":
        return ToolResult(call.id, f"there is no tool {call.tool}")
    weather = WEATHER_OF.get(call.argument.title(), "unknown")
    return ToolResult(call.id, f"{call.argument.title()}: {weather}")

"""A stand-in for a language model behind an API: it streams its answers word by word, and is often down.

It knows the time and the weather only through tools. What it answers depends on the conversation alone, so that a test
can say what the user must see, however often it had to be asked.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

WEATHER = re.compile(r"\bweather in (\w+)", re.IGNORECASE)


class ModelDown(Exception):
    """The connection to the model broke, maybe in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool used, and will go on when it has the result."""

    id: str
    tool: str
    argument: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `role` is user, model or tool; a tool's message answers the call `call`."""

    role: str
    text: str
    call: str = ""
    calls: list[ToolCall] = field(default_factory=list[ToolCall])


class LanguageModel:
    """The model; `fails` is how often, of all times that it is asked, its connection breaks."""

    def __init__(self, fails: float = 0.3, word_s: float = 0.01) -> None:
        self._fails = fails
        self._word_s = word_s

    async def stream(self, conversation: Sequence[Message]) -> AsyncIterator[str | ToolCall]:
        """The next message, piece by piece: words, or calls of tools. Raises `ModelDown` at any point."""
        pieces = answer_to(conversation)
        breaks_at = random.randrange(len(pieces)) if random.random() < self._fails else -1  # noqa: S311 - play
        for number, piece in enumerate(pieces):
            await asyncio.sleep(self._word_s)
            if number == breaks_at:
                raise ModelDown("the connection to the model broke")
            yield piece


def answer_to(conversation: Sequence[Message]) -> list[str | ToolCall]:
    """What the model says next."""
    said = max(number for number, message in enumerate(conversation) if message.role == "user")
    places = WEATHER.findall(conversation[said].text)
    found = [message.text for message in conversation[said:] if message.role == "tool"]
    if places and not found:
        return [ToolCall(f"call-{said}-{number}", "weather", place) for number, place in enumerate(places)]
    text = "; ".join(sorted(found)) if found else f"You said: {conversation[said].text}"
    return [f"{word} " for word in text.split()]

"""A handler or a policy that tells more than a commit can hold fails as soon as that is certain."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from aether import Actor, ActorFailed, ActorId, InvalidCommand, Model, PolicyContext, command, event, policy
from aether.memory.server import InMemoryServer
from tests.support.nodes import command as sent
from tests.support.nodes import history, node, send

FAN = ActorId("fan", "f")
TELLS_MAX = 8_192 // 64 + 1
"""More cannot be in a commit of 8 KiB."""


@dataclass(frozen=True)
class Spread:
    """Many are to hear of it."""

    text: str


class Fan(Actor):
    """Tells for ever, unless it is stopped."""

    @command
    def heed(self, text: str) -> None:
        """Nothing."""

    @command
    def spread(self, text: str) -> None:
        """By a policy."""
        self.emit(Spread(text))

    @command
    def tell_on(self, text: str) -> None:
        """By itself."""
        self.tell_on_and_on(text)

    @command
    def tell_on_and_catch(self, text: str) -> None:
        """What was told before is no better for it."""
        try:
            self.tell_on_and_on(text)
        except InvalidCommand:
            return

    @command(blocking=True)
    def tell_on_in_a_thread(self, text: str) -> None:
        """By itself, in a thread."""
        self.tell_on_and_on(text)

    def tell_on_and_on(self, text: str) -> None:
        for n in numbered():
            self.tell(Fan.heed, f"n{n}", text)

    @event
    def spread_out(self, e: Spread) -> None:
        """Nothing."""


told: list[int] = []


def numbered() -> Iterator[int]:
    for n in count():
        assert n <= TELLS_MAX, "it is not stopped"
        told.append(n)
        yield n


@policy
def to_all(event: Spread, context: PolicyContext[Fan]) -> None:
    for n in numbered():
        context.tell(Fan.heed, f"n{n}", event.text)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("tell_on", InvalidCommand, r"tell_on has told \d+ commands; a commit takes \d+ bytes at most"),
        ("tell_on_in_a_thread", InvalidCommand, r"tell_on_in_a_thread has told \d+ commands"),
        ("tell_on_and_catch", InvalidCommand, "the events, the reply and what was sent of tell_on_and_catch take"),
        ("spread", ActorFailed, r"the policy to_all failed: InvalidCommand: spread has told \d+ commands"),
    ],
)
@pytest.mark.parametrize("length", [1, 1_000])
async def test_it_fails_before_it_has_told_all(name: str, error: type[Exception], says: str, length: int) -> None:
    told.clear()
    server, model = InMemoryServer(payload_bytes_max=8_192), Model("fans", actors=[Fan], policies=[to_all])
    async with node(server, model=model, tells=True) as runtime:
        with pytest.raises(error, match=says):
            await send(runtime, FAN, sent(name, text="x" * length))
        assert length == 1 or len(told) <= 9
        assert await history(runtime, FAN) == []

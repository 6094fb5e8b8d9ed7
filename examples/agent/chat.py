"""Chat with the agent: `python -m examples.agent.chat [SESSION]`. Say "weather in Berlin" to see it use a tool.

Stop it, or the pool, at any time: the session goes on where it was.
"""

import asyncio
import sys

from aether import AetherError, EventStream, connect
from examples.agent.model import model
from examples.agent.session import AnswerFailed, ModelSaid, Session, UserReminded


async def main(key: str) -> None:
    """Read lines, and print what the agent says."""
    async with (
        connect(model=model) as client,
        client.subscribe(ModelSaid, AnswerFailed, UserReminded) as events,
    ):
        session, begun = client.actor(Session, key), await client.state(Session, key)
        for message in begun.state.conversation:
            if message.text:
                print(f"{message.role}: {message.text}")
        if begun.state.thinking:  # about what was said before
            await answer(events, key, begun.version)
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await session.say(line)
            await answer(events, key, begun.version)


async def answer(events: EventStream[ModelSaid | AnswerFailed | UserReminded], key: str, seen: int) -> None:
    """Print the next thing that the agent says after version `seen` of the session."""
    async for one in events:
        if one.actor_id.key == key and one.version > seen and not isinstance(one.event, UserReminded):
            print("model:", one.event.text if isinstance(one.event, ModelSaid) else f"({one.event.why})")
            return


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except AetherError as error:
        sys.exit(f"chat: {error}")

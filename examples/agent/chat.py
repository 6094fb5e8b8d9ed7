"""Chat with the agent: `python -m examples.agent.chat [SESSION]`. Say "weather in Berlin" to see it use a tool.

Stop it, or the pool, at any time: the session goes on where it was.
"""

import asyncio
import sys

from aether import AetherError, connect
from examples.agent.model import model
from examples.agent.session import AnswerFailed, ModelSaid, Session, UserReminded


async def main(key: str) -> None:
    """Read lines, and print what the agent says."""
    async with (
        connect(model=model) as client,
        client.subscribe(ModelSaid, AnswerFailed, UserReminded) as events,
    ):
        session = client.actor(Session, key)
        for message in await session.messages():
            print(f"{message.role}: {message.text}")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await session.say(line)
            async for one in events:
                if one.actor_id.key == key and not isinstance(one.event, UserReminded):
                    print("model:", one.event.text if isinstance(one.event, ModelSaid) else f"({one.event.why})")
                    break


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except AetherError as error:
        sys.exit(f"chat: {error}")

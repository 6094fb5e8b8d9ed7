"""The agent as a model: `aether run examples.agent.model:model`, then `python -m examples.agent.chat`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aether import Model
from examples.agent.language_model import LanguageModel
from examples.agent.session import Session
from examples.agent.work import complete, use_tool


@dataclass(frozen=True)
class Resources:
    """What tasks use."""

    model: LanguageModel


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Resources]:
    """Each worker has its connection to the model."""
    yield Resources(LanguageModel())


model = Model("agent", actors=[Session], tasks=[complete, use_tool], lifespan=lifespan)

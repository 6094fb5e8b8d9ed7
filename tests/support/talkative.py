"""Actors whose handlers write to a logger of their own, wherever they run."""

import asyncio
import logging
from dataclasses import dataclass

from aether import Actor, Model, command, event, query

log = logging.getLogger("shop.orders")
LEFT: list[asyncio.Task[None]] = []


@dataclass(frozen=True, slots=True)
class Said:
    """Something was said."""


def deep() -> None:
    """A function that knows no actor."""
    log.info("from a library", extra={"amount": 10})


class Talker(Actor):
    """Says where it is."""

    said: int = 0

    @command
    def plain(self) -> None:
        """From a plain handler and its event."""
        deep()
        self.emit(Said())

    @command
    async def waiting(self) -> None:
        """From an asynchronous one, and its thread."""
        log.info("before")
        await asyncio.sleep(0)
        log.info("after")
        await asyncio.to_thread(log.info, "to a thread")

    @command(blocking=True)
    def in_thread(self) -> None:
        """From a blocking one."""
        log.info("in a thread")

    @command
    def leave(self) -> None:
        """From a task that goes on."""
        LEFT.append(asyncio.ensure_future(_later()))

    @query
    def asked(self) -> None:
        """From a query."""
        log.info("asked")

    @command
    def break_down(self) -> None:
        """From nowhere."""
        raise ZeroDivisionError("a bug\nin two lines")

    @event
    def on_said(self, e: Said) -> None:
        """Talk while it is applied."""
        log.info("applied")
        self.said += 1


async def _later() -> None:
    await asyncio.sleep(0)
    log.info("later")


model = Model("talkative", actors=[Talker])

"""The signals that a worker lives by, kept from users' code that sets handlers of its own.

A handler, a task or a library may set another handler for SIGTERM in the worker's process: without Aether's the worker
never hears that it is to drain, and is killed in the end. Everything here runs on the event loop in the main thread.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any

LOOK_EVERY_S = 1.0

log = logging.getLogger("aether.worker")


class WorkerSignals:
    """Calls these functions for their signals, and has SIGINT ignored where it was, whatever others set."""

    def __init__(self, calls: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls = calls
        self._set: dict[signal.Signals, Any] = {}
        for number in calls:
            self._take(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # its supervisor hears Ctrl-C, and has it drain
            self._set[signal.SIGINT] = signal.SIG_IGN

    async def keep(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Set the handlers anew. One that the event loop was given instead of ours cannot be seen, and is replaced."""
        for number, ours in list(self._set.items()):
            if signal.getsignal(number) != ours:
                extra = {"signal": number.name, "handler": repr(signal.getsignal(number))}
                log.error("users' code has taken a signal that the worker lives by; it is taken back", extra=extra)
            self._take(number)

    def _take(self, number: signal.Signals) -> None:
        call = self._calls.get(number)
        if call is None:
            signal.signal(number, signal.SIG_IGN)
        else:
            self._loop.add_signal_handler(number, call)
        self._set[number] = signal.getsignal(number)

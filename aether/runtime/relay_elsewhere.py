"""Relays what does not go into the inbox stream: schedules to the timers, cancellations of tasks to the tasks."""

import asyncio

from aether.core.relay import Relay
from aether.errors import Unavailable
from aether.ports import Inbox, Tasks, Timers
from aether.runtime.task_notes import token_of_waiting
from aether.sends import BY_ACTOR, CancelSchedule, CancelTask, Send, SetSchedule

ARM_AT_ONCE = 64
"""So many schedules are armed together: one actor may set thousands, and the tells behind them wait."""


class RelayElsewhere:
    """For one shard: what waits in `relay` and is no tell."""

    def __init__(self, relay: Relay, inbox: Inbox, tasks: Tasks | None, timers: Timers | None) -> None:
        self._relay = relay
        self._inbox = inbox
        self._tasks = tasks
        self._timers = timers

    async def bring(self, send: Send) -> None:
        """Bring on its way what waits first, and what may go with it. Raises `Unavailable`."""
        match send:
            case CancelTask() if self._tasks is not None:
                await self._tasks.cancel(send.id, BY_ACTOR)
                if token := token_of_waiting(await self._tasks.row(send.id)):
                    self._tasks.hurry(token)  # it ends now, and not when its next attempt is due
                self._relay.brought()
            case SetSchedule() | CancelSchedule() if self._timers is not None:
                await self._arm(self._timers)
            case _:
                raise Unavailable(f"{type(send).__name__} of {send.source} cannot be brought on its way here")

    async def _arm(self, timers: Timers) -> None:
        """Arm the schedules with which what waits begins, together: of each name the last setting that is known."""
        relay = self._relay
        settings = relay.settings(ARM_AT_ONCE)
        arming = [timers.arm(one, self._inbox.end_of_commits) for one in settings if not relay.is_superseded(one)]
        if len(arming) == 1:  # mostly: without a task for it
            await arming[0]
        else:
            outcomes = await asyncio.gather(*arming, return_exceptions=True)
            if failed := [one for one in outcomes if isinstance(one, BaseException)]:
                raise failed[0]
        unsynced_s = timers.unsynced_s
        synced_s = asyncio.get_running_loop().time() + unsynced_s if unsynced_s else 0.0
        for _ in settings:
            relay.brought(synced_s)

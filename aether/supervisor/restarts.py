"""What becomes of a slot whose worker has ended: whose fault it was, and when the next worker starts.

Pure. An end that was asked for is no failure. A ready worker that was killed from outside (by an operator, the kernel
short of memory) is replaced at once, because its code did nothing wrong; so many kills that they are a loop count after
all. Any other end of a ready worker is restarted at once the first time and ever later when it comes back soon.
"""

import signal
from dataclasses import replace

from aether.supervisor.deadlines import restart_delay_s
from aether.supervisor.state import Server, Slot, SupervisorConfig
from aether.worker_protocol import Loss

LOSSES_MAX = 32
"""Losses that one slot's next worker gets to know; the oldest are forgotten."""


def after_end(slot: Slot, code: int | None, config: SupervisorConfig, now_s: float, loss: Loss | None = None) -> Slot:
    """The slot, empty, due for its next worker. `code` is None when the last one could not be forked.

    `loss` is of this end. What the last worker was to append it has appended when it was ready.
    """
    losses = slot.losses if slot.ready_at_s is None else ()
    empty = Slot(
        number=slot.number,
        replaces=slot.replaces if code is None else slot.incarnation,
        fork_at_s=now_s,
        temporary=slot.temporary,
        losses=(losses if loss is None else (*losses, loss))[-LOSSES_MAX:],
        kills_s=recent(slot.kills_s, config, now_s, config.kills_max),
    )
    if was_asked_to_end(slot):
        return empty
    if slot.ready_at_s is None:
        boot_failures_s = recent((*slot.boot_failures_s, now_s), config, now_s, config.crash_limit)
        return _failed(replace(empty, boot_failures_s=boot_failures_s), slot.failures + 1, config)
    failures = 0 if now_s - slot.ready_at_s >= config.stable_s else slot.failures
    by_others = code == -signal.SIGKILL and not slot.killed
    if by_others and len(empty.kills_s) < config.kills_max:
        return replace(empty, failures=failures, kills_s=(*empty.kills_s, now_s))
    return _failed(empty, failures + 1, config)


def server_after_end(server: Server, code: int, config: SupervisorConfig, now_s: float) -> Server:
    """The embedded server, dead: its next start is at once after a kill, later each time when it dies by itself."""
    kills_s = recent(server.kills_s, config, now_s, config.kills_max)
    if code == -signal.SIGKILL and len(kills_s) < config.kills_max:
        exits_s = recent(server.exits_s, config, now_s, config.crash_limit)
        return Server(pid=None, start_at_s=now_s, exits_s=exits_s, kills_s=(*kills_s, now_s))
    exits_s = recent((*server.exits_s, now_s), config, now_s, config.crash_limit)
    start_at_s = now_s + restart_delay_s(len(exits_s) - 1, config)
    return Server(pid=None, start_at_s=start_at_s, exits_s=exits_s, kills_s=kills_s)


def was_asked_to_end(slot: Slot) -> bool:
    """Whether the supervisor asked the worker to end, and it ended without being killed."""
    return slot.stopping_at_s is not None and not slot.killed


def recent(times_s: tuple[float, ...], config: SupervisorConfig, now_s: float, most: int) -> tuple[float, ...]:
    """Those of the times that count against a limit: the newest `most` of the window."""
    return tuple(at_s for at_s in times_s if at_s > now_s - config.crash_window_s)[-most:]


def _failed(slot: Slot, failures: int, config: SupervisorConfig) -> Slot:
    return replace(slot, failures=failures, fork_at_s=slot.fork_at_s + restart_delay_s(failures - 1, config))

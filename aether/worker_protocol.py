"""What a supervisor and its workers exchange: what a worker is given at its fork, what it reports, and what is found of
one that has died. Values only; the pipes are in `aether.system.lifeline` and `aether.supervisor.worker_pipes`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedHandler:
    """What a worker was running: a command of an actor, or, without a command, the actor's replay.

    `correlation_id` is "" where the command came with none.
    """

    kind: str
    key: str
    command: str = ""
    command_id: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What a worker was running when it ended.

    - `active`: the handlers that were on the stacks of its event loop and of its threads.
    - `crash`: those of them that a fatal signal may have come from: only the one of the thread that crashed, where the
      interpreter has said which it was. `hang`: those that may have kept the event loop: only the loop's own, where
      other threads got to run.
    - `stacks`: of all threads, written by the interpreter when it crashed; for people.
    """

    active: tuple[NotedHandler, ...] = ()
    crash: tuple[NotedHandler, ...] = ()
    hang: tuple[NotedHandler, ...] = ()
    stacks: str = ""


NOTHING_NOTED = Noted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A worker that a handler has ended: how, and which; `incarnation` is the worker's."""

    handler: NotedHandler
    cause: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a supervisor gives a worker that it forks: which process of the pool it is.

    - `slot`: its place, from 0; `slots`: how many are to serve at the fork, a hint of how many siblings come. `node`:
      the supervisor's name in the cluster.
    - `incarnation`: unique to this process, `<run>-<count>`, where all workers of one start of a supervisor share the
      run. `replaces`: the incarnation that held the slot before and that the supervisor has reaped, so it is certainly
      dead; None when there was none.
    - `claim`: names the lock of the node's name on this boot of this machine, which the supervisor and its workers hold
      as long as they live; empty when nothing could be locked. So a process of another run with this claim is certainly
      dead, and one of this run is dead when its slot is this worker's.
    - `status_fd`: the worker writes `WORKER_READY` when it serves, `WORKER_UNREADY` when it does not any more, twice a
      second from its loop `WORKER_JOINED` while it has joined and is not ready yet and `WORKER_ALIVE` from then on, and
      `WORKER_LEFT` when it has left and only has to end.
    - `parent_fd`: at end-of-file the supervisor is gone and the worker must go too.
    - `note_fd`: the memory in which the worker notes which handlers it runs; -1 for none.
    - `losses`: what is to be appended to histories before their shards are served: see `Loss`.
    """

    slot: int
    slots: int
    node: str
    incarnation: str
    replaces: str | None
    claim: str = ""
    status_fd: int
    parent_fd: int
    note_fd: int = -1
    losses: tuple[Loss, ...] = ()


WORKER_READY = b"R"
WORKER_UNREADY = b"U"
WORKER_LEFT = b"L"
WORKER_STUCK = b"S"
"""The server is there and does not say what becomes of what is stored."""

WORKER_JOINED = b"J"
"""It may run handlers, so its loop is watched; it says nothing about when it will be ready."""

WORKER_ALIVE = b"."
WORKER_ALIVE_EVERY_S = 0.5

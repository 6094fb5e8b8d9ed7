"""What the runs of tasks need of their worker."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from aether.config import RuntimeConfig
from aether.errors import AetherError
from aether.model.definition import DeclaredCommand
from aether.ports import Clock, Inbox, Tasks
from aether.runtime.counters import Counters
from aether.runtime.task_apart import Apart
from aether.tracing.spans import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWorker:
    """What a run needs of its worker.

    - `ttl_s`: how long a start that was taken stays with its worker. `threads`: where plain functions are called.
    - `resources`: what the model's lifespan made. `command_type`: a command of the model by kind and name.
    - `foreign`: what to say of what the model does not take: `Unavailable` while workers of another version are there.
    - `cancelled`: why a task is cancelled, "" when it is not known to be. `left`: the function of a
      `TaskRun` runs no more.
    - `apart`: who runs apart, of what has lost workers. `tracing`: what gives each attempt a span.
    """

    tasks: Tasks
    inbox: Inbox
    shards: int
    clock: Clock
    config: RuntimeConfig
    counters: Counters
    jitter: Callable[[], float]
    ttl_s: float
    resources: Callable[[], Any]
    command_type: Callable[[str, str], DeclaredCommand]
    foreign: Callable[[AetherError], AetherError]
    threads: Executor = field(default_factory=Executor)
    cancelled: Callable[[str], str] = lambda task_id: ""
    left: Callable[[Any], None] = lambda run: None
    apart: Apart = field(default_factory=Apart)
    tracing: Tracing | None = None

"""The bank's model in workers that lack a safeguard: `tests.chaos.bank.without:cancel`, or another of `WITHOUT`.

The supervisor imports it, so its workers are made so. A check that passes such a run would find nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aether import Model, TaskContext
from aether.core.actor.agenda import Agenda
from aether.runtime import task_run
from aether.runtime.task_runner import TaskRunner
from aether.sends import CancelTask
from tests.chaos.bank.model import model


def _cancel() -> None:
    """A cancelled task goes on, and its actor waits for it."""
    opens: Any = Agenda.open

    def opened(agenda: Agenda, sends: Any) -> None:
        opens(agenda, [send for send in sends if not isinstance(send, CancelTask)])

    patched: Any = Agenda
    patched.open = opened
    runner: Any = TaskRunner
    runner._hear_cancelled = lambda self, task_id, reason: None


def _key() -> None:
    """Each attempt has a key of its own."""

    def context(*, task_id: str, attempt: int, **others: Any) -> TaskContext:
        return TaskContext(task_id=f"{task_id}-{attempt}", attempt=attempt, **others)

    vars(task_run)["TaskContext"] = context


def _both() -> None:
    _cancel()
    _key()


WITHOUT: Mapping[str, Callable[[], None]] = {"cancel": _cancel, "key": _key, "both": _both}


def __getattr__(name: str) -> Model:
    if name not in WITHOUT:
        raise AttributeError(name)
    WITHOUT[name]()
    return model

"""Tasks: how many wait, which run and which have failed, forms to try one again now or to stop it, and the part of an
actor's page.

To try a task again needs `call`, to stop it `admin`. A form names a task by its id: whose it is is read from the store.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aether.errors import InvalidCommand
from aether.gateway.access import Role
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.browser import form_of
from aether.gateway.dashboard.failure_pages import ago, ahead
from aether.gateway.dashboard.letter_pages import FORM_BYTES_MAX, TEXT_CHARS_MAX, Done
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.rights import CANCEL_TASK, RETRY_TASK, Rights
from aether.gateway.dashboard.soon import soon
from aether.gateway.problems import http_problem
from aether.gateway.requests import read_body
from aether.ids import ActorId
from aether.runtime.task_notes import GIVEN_UP, WAITS
from aether.task_view import FailedTask
from aether.untyped_client import VERSION_MAX, UntypedClient
from aether.waiting_tells import RunningTask

TASKS_BYTES_MAX = 45_000
"""About how large the list of failed tasks is in a page."""

RUNNING_BYTES_MAX = 15_000
OF_ACTOR_MAX = 5
"""Failed tasks, and running ones, on the page of an actor."""

NAMES_SHOWN_MAX = 100
"""Tasks that are counted by name."""


@dataclass(frozen=True, slots=True)
class ShownTask:
    """A task that has failed as a page shows it. `may_retry`, `may_cancel`: there is a button for it."""

    id: str
    task: str
    actor_id: ActorId
    state: str
    attempt: int
    attempts: int
    error: str
    message: str
    failed_at: datetime | None
    ago: str
    next_at: datetime | None
    ahead: str
    given_back: int
    command_id: str
    correlation_id: str
    may_retry: bool
    may_cancel: bool


class _Found(NamedTuple):
    """A task that a form names: its id, its name and its actor."""

    id: str
    task: str
    actor_id: ActorId


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A task that a worker runs as a page shows it. `may_cancel`: there is a button for it."""

    id: str
    task: str
    actor_id: ActorId
    attempt: int
    since: str
    member: str
    may_cancel: bool


class TaskPages:
    """The page of tasks, and the tasks on the page of an actor. `has_tasks`: whether the model has any."""

    def __init__(
        self, client: UntypedClient, config: GatewayConfig, pages: Pages, rights: Rights, *, has_tasks: bool
    ) -> None:
        self._client = client
        self._has_tasks = has_tasks
        self._config = config
        self._pages = pages
        self._rights = rights

    async def show(self, visit: Visit) -> None:
        """The page."""
        await self._show(visit, None)

    async def send(self, visit: Visit) -> None:
        """Do what a form asks for with a task, and show the page. A problem when the visitor may not."""
        exchange = visit.exchange
        body = await read_body(exchange.receive, exchange.headers, FORM_BYTES_MAX, self._config.body_timeout_s)
        fields = form_of(body, exchange.headers)
        act, id = fields.get("do", ""), fields.get("id", "")
        if act not in ("retry", "cancel"):
            raise InvalidCommand(f"it is retry or cancel, not {act[:40]!r}", path="do")
        try:
            found = await self._found(id, runs=act == "cancel")
            done = await (self._retry(visit, found) if act == "retry" else self._cancel(visit, found))
        except InvalidCommand as error:
            await self._show(visit, Done(False, error.message), status=http_problem(error).status)
            return
        await self._show(visit, done, found.id if act == "cancel" else "")

    async def of_actor(self, visit: Visit, actor_id: ActorId) -> dict[str, Any]:
        """What an actor's page shows: its own tasks; None when the store or the workers do not say them soon."""
        if not self._has_tasks:
            return {"tasks": [], "more_tasks": 0, "running": [], "more_running": 0}
        deadline_s, actor = self._config.deadline_s, str(actor_id)
        failed = await soon(self._client.tasks.failed(deadline_s))
        found = await soon(self._client.running_tasks(deadline_s=deadline_s))
        own = [one for one in reversed(failed or ()) if one.note.actor == actor]
        running = [one for one in (found[0] if found else ()) if one.actor == actor]
        sees = bool(own) and await self._rights.may_see_errors(visit)
        tasks = [await self._task(visit, one, actor_id, sees) for one in own[:OF_ACTOR_MAX]]
        runs = [await self._run(visit, one) for one in running[:OF_ACTOR_MAX]]
        return {
            "tasks": None if failed is None else tasks,
            "more_tasks": max(0, len(own) - OF_ACTOR_MAX),
            "running": None if found is None else runs,
            "more_running": max(0, len(running) - OF_ACTOR_MAX),
        }

    async def _found(self, id: str, *, runs: bool) -> _Found:
        """A task by its id: one that has failed, or, if asked for, one that a worker says it runs."""
        try:
            failed = await self._client.tasks.one(id, self._config.deadline_s)
        except InvalidCommand:
            if runs:
                running, _ = await self._client.running_tasks(deadline_s=self._config.deadline_s)
                for one in running:
                    if one.id == id:
                        return _Found(id, one.task, _actor_of(one.actor))
            raise
        return _Found(failed.id, failed.note.task, _actor_of(failed.note.actor))

    async def _retry(self, visit: Visit, found: _Found) -> Done:
        of = found.actor_id
        await self._rights.caller(visit.exchange, Role.CALL, of.kind, of.key, RETRY_TASK)
        await self._client.tasks.retry(found.id, self._config.deadline_s)
        return Done(True, f"{found.task} of {of} is tried again now.")

    async def _cancel(self, visit: Visit, found: _Found) -> Done:
        of = found.actor_id
        await self._rights.caller(visit.exchange, Role.ADMIN, of.kind, of.key, CANCEL_TASK)
        await self._client.tasks.cancel(found.id, self._config.deadline_s)
        return Done(True, f"{found.task} of {of} is stopped, if it is not done: its actor is told that it failed.")

    async def _show(self, visit: Visit, done: Done | None, gone: str = "", status: int = 200) -> None:
        """The page. `gone`: a task that is not shown, because a worker may not have heard yet that it is stopped."""
        kind, key = visit.options.text("kind") or None, visit.options.text("key") or None
        skip = visit.options.number("skip", 0, 0, VERSION_MAX) or 0
        deadline_s = self._config.deadline_s
        sees = await self._rights.may_see_errors(visit)
        backlog, every, (runs, not_told) = await asyncio.gather(
            self._client.tasks.backlog(deadline_s),
            self._client.tasks.failed(deadline_s),
            self._client.running_tasks(deadline_s=deadline_s),
        )
        named = [(one, _actor_of(one.note.actor)) for one in reversed(every) if one.id != gone]
        running, more_running = await self._running(visit, [one for one in runs if one.id != gone], kind, key)
        wanted = await self._rights.readable(visit, named, kind, key)
        tasks: list[ShownTask] = []
        room = TASKS_BYTES_MAX
        for one, of in wanted[skip:]:
            if room < 0:
                break
            tasks.append(await self._task(visit, one, of, sees))
            room -= _bytes(tasks[-1], key or "")
        until = skip + len(tasks)
        await self._pages.answer(
            visit,
            "tasks.html",
            status=status,
            kind=kind,
            key=key,
            done=done,
            backlog=sorted(backlog, key=lambda one: (-one.waiting - one.taken, one.task))[:NAMES_SHOWN_MAX],
            more_names=max(0, len(backlog) - NAMES_SHOWN_MAX),
            running=running,
            more_running=more_running + not_told,
            tasks=tasks,
            total=len(wanted),
            skip=skip,
            next_skip=until if until < len(wanted) else None,
            sees=sees,
            now=datetime.now(UTC),
        )

    async def _running(
        self, visit: Visit, runs: Sequence[RunningTask], kind: str | None, key: str | None
    ) -> tuple[list[ShownRun], int]:
        """What runs, as much as there is room for, and how much more does."""
        named = [(one, _actor_of(one.actor)) for one in runs]
        wanted = await self._rights.readable(visit, named, kind, key)
        found: list[ShownRun] = []
        room = RUNNING_BYTES_MAX
        for one, of in wanted:
            if room < 0:
                break
            found.append(await self._run(visit, one))
            room -= 1_000 + 7 * len(of.key.encode()) + 3 * len((key or "").encode()) + 10 * len(one.id)
        return found, len(wanted) - len(found)

    async def _run(self, visit: Visit, one: RunningTask) -> ShownRun:
        of = _actor_of(one.actor)
        may_cancel = await self._rights.may(visit, Role.ADMIN, of.kind, of.key, CANCEL_TASK)
        since = ago(one.runs_s).removesuffix(" ago")
        return ShownRun(one.id, one.task, of, one.attempt, since, one.member, may_cancel)

    async def _task(self, visit: Visit, one: FailedTask, of: ActorId, sees: bool) -> ShownTask:
        note, now_s = one.note, datetime.now(UTC).timestamp()
        return ShownTask(
            one.id,
            note.task,
            of,
            note.state,
            note.attempt,
            note.attempts,
            note.error_type,
            note.error[:TEXT_CHARS_MAX] + "…" * (len(note.error) > TEXT_CHARS_MAX) if sees else "",
            datetime.fromtimestamp(note.at_s, UTC) if note.at_s else None,
            ago(now_s - note.at_s),
            datetime.fromtimestamp(note.next_s, UTC) if note.next_s else None,
            ahead(note.next_s - now_s),
            note.given_back,
            note.causationid,
            note.correlationid,
            note.state == WAITS and await self._rights.may(visit, Role.CALL, of.kind, of.key, RETRY_TASK),
            note.state != GIVEN_UP and await self._rights.may(visit, Role.ADMIN, of.kind, of.key, CANCEL_TASK),
        )


def _actor_of(text: str) -> ActorId:
    return ActorId(*text.split("/", 1))


def _bytes(one: ShownTask, key: str) -> int:
    """What a task takes at most: a character is five bytes as text, three for each of UTF-8 in an address."""
    texts = (one.message, one.error, one.id, one.command_id, one.correlation_id, one.task)
    return 1_500 + 7 * len(one.actor_id.key.encode()) + 3 * len(key.encode()) + 5 * sum(len(x.encode()) for x in texts)

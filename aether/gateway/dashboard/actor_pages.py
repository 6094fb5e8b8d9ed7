"""The pages about actors: lists of keys, one actor with its past, and its commands as forms."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from aether.errors import (
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Unavailable,
    UnknownCommand,
    nothing_stored,
)
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.browser import form_of
from aether.gateway.dashboard.failure_pages import FailurePages
from aether.gateway.dashboard.fields import Given
from aether.gateway.dashboard.forms import Form
from aether.gateway.dashboard.keys import find_keys
from aether.gateway.dashboard.letter_pages import LetterPages
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.past import read_past
from aether.gateway.dashboard.schedule_pages import SchedulePages
from aether.gateway.dashboard.task_pages import TaskPages
from aether.gateway.dashboard.trace_search import BEFORE
from aether.gateway.dashboard.trees import path_text, raw_text, tree
from aether.gateway.problems import HttpProblem, http_problem
from aether.gateway.requests import read_body
from aether.ids import ActorId
from aether.model.definition import ActorType, DeclaredCommand, JsonSchema
from aether.model.model import Model
from aether.model.schema_reading import signature_text, type_text
from aether.names import shard_of
from aether.untyped_client import VERSION_MAX, UntypedClient

MayCall = Callable[[Visit, str, str, str], Awaitable[bool]]
"""Whether a visitor may send a command to an actor: kind, key and command."""

ANSWER_CHARS_MAX = 20_000

PARTS = {
    "failures": "failures",
    "letters": "dead letters",
    "tasks": "failed tasks",
    "running": "running tasks",
    "schedules": "schedules",
}
"""Parts of an actor's page that others tell, and what the page calls those that did not come in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command that a form sent. `value` is its answer as JSON text."""

    good: bool
    title: str
    detail: str = ""
    value: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class OfActor:
    """The pages that have a part on an actor's page."""

    failures: FailurePages
    letters: LetterPages
    schedules: SchedulePages
    tasks: TaskPages


class ActorPages:
    """Pages of actors."""

    def __init__(
        self,
        model: Model,
        client: UntypedClient,
        config: GatewayConfig,
        pages: Pages,
        may_call: MayCall,
        parts: OfActor,
    ) -> None:
        self._model = model
        self._client = client
        self._config = config
        self._pages = pages
        self._may_call = may_call
        self._parts = parts
        self._document: JsonSchema = model.schema()

    async def show_list(self, visit: Visit) -> None:
        """The kinds, or the actors of one kind."""
        kind = visit.options.text("kind")
        if kind is None:
            await self._pages.answer(visit, "kinds.html", actors=self._document["actors"])
            return
        self._model.actor_type(kind)
        begins = visit.options.text("begins") or ""
        cursor = visit.options.text("cursor")
        page = await find_keys(self._client, kind, cursor, begins, self._config.deadline_s)
        await self._pages.answer(
            visit, "keys.html", kind=kind, about=self._document["actors"][kind], begins=begins, cursor=cursor, page=page
        )

    async def show_actor(self, visit: Visit) -> None:
        """One actor at a version: state, history, forms."""
        actor_type, actor_id = self._asked(visit)
        version = visit.options.number("version", None, 0, VERSION_MAX)
        past = await read_past(self._client, actor_type, actor_id, version, self._config.deadline_s)
        step = past.step
        changed = step.difference.paths if step is not None and step.difference is not None else frozenset()
        commands = [
            (
                command,
                self._signature(actor_id.kind, command),
                await self._may_call(visit, actor_id.kind, actor_id.key, command.name),
            )
            for command in sorted(actor_type.commands.values(), key=lambda one: one.query)
        ]
        parts = self._parts
        failures, letters, schedules, tasks = await asyncio.gather(
            parts.failures.of_actor(visit, actor_id.kind, actor_id.key),
            parts.letters.of_actor(visit, actor_id),
            parts.schedules.of_actor(actor_id),
            parts.tasks.of_actor(visit, actor_id),
        )
        told = {**failures, **letters, **schedules, **tasks}
        await self._pages.answer(
            visit,
            "actor.html",
            not_told=[words for name, words in PARTS.items() if told[name] is None],
            actor_id=actor_id,
            past=past,
            tree=tree(past.state, changed),
            steps=[(one, raw_text(one.event.data)) for one in reversed(past.steps)],
            commands=commands,
            shard=shard_of(actor_id, self._client.shards),
            path_text=path_text,
            before=BEFORE,
            **told,
        )

    async def show_state(self, visit: Visit) -> None:
        """The whole state as JSON."""
        _, actor_id = self._asked(visit)
        version = visit.options.number("version", None, 0, VERSION_MAX)
        answer = await self._client.state_answer(actor_id, version, deadline_s=self._config.deadline_s)
        await visit.exchange.answer(bytes(answer.value), X_Content_Type_Options="nosniff")

    async def show_command(self, visit: Visit) -> None:
        """The empty form of a command."""
        actor_id, declared = self._asked_command(visit)
        await self._show_form(visit, actor_id, declared, self._form(actor_id.kind, declared, None))

    async def send_command(self, visit: Visit) -> None:
        """Send what a form holds, and show the answer; or show the form with one item more or less."""
        actor_id, declared = self._asked_command(visit)
        exchange, config = visit.exchange, self._config
        body = await read_body(exchange.receive, exchange.headers, config.body_bytes_max, config.body_timeout_s)
        fields = form_of(body, exchange.headers)
        command_id = fields.pop("command_id", "") or token_urlsafe(12)
        given = Given(fields)
        form = self._form(actor_id.kind, declared, given)
        if given.edits:
            await self._show_form(visit, actor_id, declared, form, command_id)
            return
        args = form.arguments()
        if args is not None:
            try:
                declared.decode_args(args)
            except InvalidCommand as error:
                form.note(error)
                args = None
        if args is None:
            wrong = Outcome(False, "Not sent: see the marked fields")
            await self._show_form(visit, actor_id, declared, form, command_id, wrong, 422)
            return
        try:
            outcome, status = await self._call(visit, actor_id, declared, args, command_id), 200
        except AetherError as error:
            if isinstance(error, InvalidCommand):
                form.note(error)
            problem = http_problem(error)
            outcome, status = _refused(problem), problem.status
            if isinstance(error, DeadlineExceeded | Unavailable | Overloaded):  # the same form may be sent again
                await self._show_form(visit, actor_id, declared, form, command_id, outcome, status)
                return
        await self._show_form(visit, actor_id, declared, form, None, outcome, status)

    # ------------------------------------------------------------------------------------------------ parts

    def _asked(self, visit: Visit) -> tuple[ActorType, ActorId]:
        kind, key = visit.options.text("kind"), visit.options.text("key")
        if not kind or not key:
            raise InvalidCommand("an actor has a kind and a key", path="key" if kind else "kind")
        return self._model.actor_type(kind), ActorId(kind, key)

    def _asked_command(self, visit: Visit) -> tuple[ActorId, DeclaredCommand]:
        actor_type, actor_id = self._asked(visit)
        name = visit.options.text("name") or ""
        if name not in actor_type.commands:
            known = ", ".join(sorted(actor_type.commands))
            raise UnknownCommand(
                f"{actor_id.kind} has no command {name!r}; it has: {known}", kind=actor_id.kind, command=name
            )
        return actor_id, actor_type.commands[name]

    def _signature(self, kind: str, command: DeclaredCommand) -> str:
        return signature_text(self._schema(kind, command)["args"], self._document)

    def _schema(self, kind: str, command: DeclaredCommand) -> dict[str, Any]:
        found: dict[str, Any] = self._document["actors"][kind]["commands"][command.name]
        return found

    def _form(self, kind: str, declared: DeclaredCommand, given: Given | None) -> Form:
        return Form(self._schema(kind, declared)["args"], self._document, given)

    async def _call(
        self, visit: Visit, actor_id: ActorId, declared: DeclaredCommand, args: bytes, command_id: str
    ) -> Outcome:
        try:
            answer = await self._client.caller.call(
                actor_id,
                declared.name,
                args,
                deadline_s=self._config.deadline_s,
                command_id=command_id,
                caller=visit.caller,
            )
        except DeadlineExceeded as late:
            raise (nothing_stored(late) if declared.query else late) from None
        text = msgspec.json.format(bytes(answer.value), indent=2).decode()
        if len(text) > ANSWER_CHARS_MAX:
            text = f"{text[:ANSWER_CHARS_MAX]}…\n({len(text):,} characters)"
        return Outcome(True, "Answered", value=text, version=answer.version)

    async def _show_form(
        self,
        visit: Visit,
        actor_id: ActorId,
        declared: DeclaredCommand,
        form: Form,
        command_id: str | None = None,
        outcome: Outcome | None = None,
        status: int = 200,
    ) -> None:
        await self._pages.answer(
            visit,
            "command.html",
            status=status,
            actor_id=actor_id,
            command=declared,
            signature=self._signature(actor_id.kind, declared),
            reply=type_text(self._schema(actor_id.kind, declared)["reply"], self._document),
            form=form,
            command_id=command_id or token_urlsafe(12),
            outcome=outcome,
            allowed=await self._may_call(visit, actor_id.kind, actor_id.key, declared.name),
            api=f"/actors/{quote(actor_id.kind)}/{quote(actor_id.key, safe='')}/{declared.name}",
        )


def _refused(problem: HttpProblem) -> Outcome:
    """What a problem document would say, for people."""
    known = problem.members.get("outcome_known", True)
    more = "" if known else " Whether it was carried out is not known: send the same form again, it counts once."
    details = {name: value for name, value in problem.members.items() if name not in ("outcome_known", "path")}
    value = msgspec.json.format(orjson.dumps(details, default=str), indent=2).decode() if details else None
    return Outcome(False, problem.code.replace("_", " ").capitalize(), problem.detail + more, value)

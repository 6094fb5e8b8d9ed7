"""What the handler that runs in a turn reaches: its context, and what it emits, asks, tells, schedules and starts.

It runs on the event loop; the handler may be in a thread. Whatever comes from outside the handler that runs now is
refused. It stores nothing: what is emitted and sent is in the turn's draft.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from aether.core.actor.commit_draft import CommitDraft, EmittedEvent
from aether.errors import ActorFailed, InvalidCommand
from aether.model.definition import ActorCommand, Context, PolicyType
from aether.model.proxy import ActorRef
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from aether.runtime.ask_errors import refusal_to_ask
from aether.runtime.fold import Fold
from aether.runtime.handler import Handler
from aether.runtime.mailbox import Mailbox
from aether.runtime.pending_command import PendingCommand
from aether.runtime.protocols import Machine
from aether.runtime.running import running as running_command
from aether.runtime.sent_schedule import ScheduleSetting, set_by
from aether.runtime.sent_task import started_by
from aether.runtime.sent_tell import told_by
from aether.runtime.worker_context import WorkerContext
from aether.sends import CancelSchedule, CancelTask, Send, SetSchedule, StartTask
from aether.tells import Tell

SendT = TypeVar("SendT", bound=Send)


class TurnScope:
    """The part of a `Turn` that its handlers reach, through their machine. It declares all that a turn keeps."""

    __slots__ = (
        "_awaited",
        "_broken",
        "_checkpoint",
        "_fold",
        "_handler",
        "_machine",
        "_mailbox",
        "_now",
        "_now_s",
        "_policy",
        "_reply",
        "_running",
        "_touched",
        "_worker",
        "draft",
        "inboxseq",
        "rebuild",
    )  # fmt: skip

    def __init__(self, machine: Machine, worker: WorkerContext, fold: Fold, mailbox: Mailbox) -> None:
        self.draft: CommitDraft[PendingCommand] = CommitDraft(machine.source, fold.version)
        self.rebuild = False
        self.inboxseq = fold.inboxseq
        """The last tell that is applied, or that the commit applies, by its sequence in the inbox."""
        self._machine = machine
        self._worker = worker
        self._fold = fold
        self._mailbox = mailbox
        self._running: PendingCommand | None = None
        self._reply = b""
        self._now_s = 0.0
        self._now: datetime | None = None
        self._handler: Handler | None = None
        self._awaited: PendingCommand | None = None
        self._broken: BaseException | None = None
        """Why nothing more can be emitted: an event has failed, or a policy runs."""
        self._policy: PolicyType | None = None
        self._checkpoint: object | None = None
        self._touched = False

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a handler."""
        running = self._running or self._awaited
        if running is None:
            raise RuntimeError("there is no command to tell of outside a command handler")
        return running.context(self._time())

    def _time(self) -> datetime:
        """When the running command began: the time of its events."""
        now = self._now
        if now is None:
            now = self._now = self._worker.time_of(self._now_s)
        return now

    def emit(self, event: object) -> None:
        """Record the event and apply it at once. Raises `ActorFailed` in a query or for an event without a handler.

        An event that failed may be applied by half, so its command fails whatever the handler makes of the error.
        """
        running = self._running
        if running is None or running_command.get() is not running:  # a task that a handler left behind has its own
            raise RuntimeError("an event can only be emitted by the command handler that runs now")
        if self._broken is not None:
            raise self._broken
        try:
            self._apply(running, event)
        except BaseException as error:
            self._broken = error
            raise

    def _apply(self, running: PendingCommand, event: object) -> None:
        fold = self._fold
        if running.type.query:
            raise ActorFailed(f"the query {running.type.name} emitted an event", actor=str(self._machine.actor_id))
        actor_type = self._machine.actor_type
        event_type = actor_type.event_type_of(event)
        body, same = event_type.encode_checked(event)
        if not self._touched:
            self._checkpoint = actor_type.checkpoint(fold.state)
            self._touched = True
        fold.state = actor_type.evolve(fold.state, same)
        if fold.checker is not None:
            fold.checker.applied(event_type, body, event_type.schema_version)
        emitted = EmittedEvent(event_type.name, event_type.schema_version, body)
        handler = self._handler
        if handler is None or not handler.in_thread:
            self.draft.emit(emitted)
        else:
            with handler.lock:  # it may be left just now
                if self._running is not running:
                    raise RuntimeError("the handler's command is over: nothing of it is stored any more")
                self.draft.emit(emitted)
        if event_type.policies:
            self._react(event_type.policies, same)

    def _react(self, policies: Sequence[PolicyType], event: object) -> None:
        """Run the policies of an event that was applied. While one runs, nothing is emitted or asked."""
        actor_id = self._machine.actor_id
        try:
            for policy in policies:
                self._policy, self._broken = policy, policy.refusal(actor_id)
                policy.run(event, actor_id, self._fold.state, self._machine)
            self._broken = None
        finally:
            self._policy = None

    def ask(self, kind: ActorRef, key: str) -> Any:
        """A proxy of another actor. Raises `ActorFailed` in a handler that cannot await, RuntimeError outside."""
        running = self._running
        if running is None or running_command.get() is not running:
            raise RuntimeError("another actor can only be asked by the command handler that runs now")
        if self._broken is not None:
            raise self._broken
        if self._handler is None:
            raise refusal_to_ask(self._machine.actor_id, running.type)
        return self._handler.ask(kind, key, alone=not self.draft.replies)

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell an actor something, once the commit of this command is stored. Raises like `emit`, `InvalidCommand`."""
        if self._policy is not None:
            self._policy.check_tell(kind, command)
        to, actor_id = ActorCommand(kind, key, command), self._machine.actor_id

        def made(running: PendingCommand) -> Tell:
            self._check_room(running)
            return told_by(running, actor_id, self._worker, to, args, kwargs)

        self._send(made)

    def _check_room(self, running: PendingCommand) -> None:
        """Raise `InvalidCommand` where no commit can hold what was sent already: its handler need not go on."""
        most = self._worker.commit_bytes_max
        if self.draft.sent_bytes > most:
            count = len(self.draft.sent or ())
            raise InvalidCommand(f"{running.type.name} has told {count} commands; a commit takes {most} bytes at most")

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Have an actor run a command at a time, from the commit of this command on. Raises like `tell`."""
        if self._policy is not None:
            self._policy.check_tell(to.kind, to.command)
        actor_id, draft, agenda = self._machine.actor_id, self.draft, self._fold.agenda
        version, sent = draft.version_before, draft.sent or ()

        def made(running: PendingCommand) -> SetSchedule:
            setting = ScheduleSetting(name, when, to, args, kwargs)
            return set_by(
                running, actor_id, self._worker, setting, self._time(), version=version, sent=sent, agenda=agenda
            )

        self._send(made)

    def cancel_schedule(self, name: str) -> None:
        """Have no further ticks of a schedule; one that is not there is let be. Raises like `_check_may_cancel`."""
        self._check_may_cancel("a schedule")
        agenda, sent = self._fold.agenda, self.draft.sent or ()
        is_open = agenda is not None and name in agenda.schedules
        if is_open or any(isinstance(one, SetSchedule) and one.name == name for one in sent):
            self._send(lambda _: CancelSchedule(name=name))

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Have a task run, once the commit of this command is stored; its id. Raises like `tell`."""
        machine, draft, agenda = self._machine, self.draft, self._fold.agenda
        version, sent = draft.version_before, draft.sent or ()
        start = self._send(
            lambda running: started_by(
                running,
                machine.actor_id,
                self._worker,
                call,
                then,
                failed,
                version=version,
                sent=sent,
                agenda=agenda,
            )
        )
        return start.id

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task any more. One that is not open is let be. Raises like `_check_may_cancel`."""
        self._check_may_cancel("a task")
        agenda = self._fold.agenda
        is_open = agenda is not None and task_id in agenda.tasks
        if is_open or any(isinstance(one, StartTask) and one.id == task_id for one in self.draft.sent or ()):
            self._send(lambda _: CancelTask(id=task_id))

    def _check_may_cancel(self, what: str) -> None:
        """Raises RuntimeError outside a handler, and `ActorFailed` in a query."""
        query = self._sender().type
        if query.query:
            raise ActorFailed(f"the query {query.name} cancelled {what}", actor=str(self._machine.actor_id))

    def _sender(self) -> PendingCommand:
        """The command whose handler this is. Raises RuntimeError outside one."""
        running = self._running
        if running is None or running_command.get() is not running:
            raise RuntimeError("only the command handler that runs now can send something")
        return running

    def _send(self, made: Callable[[PendingCommand], SendT]) -> SendT:
        """Add what is made for the running command to what it sends. Raises RuntimeError outside its handler."""
        running = self._sender()
        send = made(running)
        handler = self._handler
        args_bytes = len(send.args) if isinstance(send, Tell) else 0
        if handler is None or not handler.in_thread:
            self.draft.send(send, args_bytes)
            return send
        with handler.lock:
            if self._running is not running:
                raise RuntimeError("the handler's command is over: nothing of it is stored any more")
            self.draft.send(send, args_bytes)
        return send

"""From a delivered command to the machine it is for: read, checked, refused or put into a mailbox.

The hot half of a runtime. Plain calls, no coroutine, so that it can be compiled. It owns the registry and whatever can
be looked up for a command; when it opens and closes is its runtime's business.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeGuard

from aether.codec import digest
from aether.core.health import Need
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Unavailable,
    UnknownActor,
    UnknownCommand,
)
from aether.ids import ActorId
from aether.log_lines import type_name
from aether.model.definition import ActorType, CommandType, DeclaredCommand
from aether.model.model import Model
from aether.names import shard_of
from aether.ports import Delivery, StoredCommit, TellPlace
from aether.runtime.counters import CommandCounts, Counters
from aether.runtime.deadlocks import encode_waits
from aether.runtime.giving_up import decode_until, encode_count
from aether.runtime.gone_kind import GoneKind
from aether.runtime.machine import VirtualMachine
from aether.runtime.pending_command import PendingCommand
from aether.runtime.registry import Registry
from aether.runtime.state_at_version import StateAtVersion
from aether.runtime.state_query import StateQuery, decode_state_args
from aether.runtime.unschedule import Unschedule
from aether.runtime.untaken_command import UntakenCommand, untaken_told
from aether.runtime.worker_context import WorkerContext
from aether.wire import (
    DEADLINE_AHEAD_MAX_S,
    GIVE_UP_COMMAND,
    NOT_TAKEN,
    STATE_COMMAND,
    SYSTEM_COMMAND_PREFIX,
    UNSCHEDULE_COMMAND,
    WAITS_COMMAND,
    Command,
    checked_command,
    decode_command,
    encode_answer,
    encode_error,
)

log = logging.getLogger("aether.runtime")

_UNSCHEDULE = Unschedule()

_OF_OPERATORS: Final = (UNSCHEDULE_COMMAND, GIVE_UP_COMMAND)
"""Commands that every kind has, one that is gone too."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CLOCK_SKEW_S = 5.0
"""How far a client's clock may be ahead before its deadlines are refused as too late."""


class Router:
    """Closed, it refuses every command; `open` gives it what its machines run on."""

    def __init__(self, counters: Counters, state_at_version: StateAtVersion, shards: int, active_vms_max: int) -> None:
        self._counters = counters
        self._state_at_version = state_at_version
        self._shards = shards
        self._active_vms_max = active_vms_max
        self._model: Model | None = None
        self._actor_types: dict[str, ActorType] = {}
        self._state_queries: dict[str, StateQuery] = {}
        self._counts: dict[CommandType, CommandCounts] = {}
        self._worker: WorkerContext | None = None
        self._made = 0
        self.registry = Registry(self._make, active_vms_max)

    def load(self, model: Model) -> None:
        """Take the model whose commands are read."""
        self._model = model
        self._actor_types = dict(model.actor_types)
        self._state_queries = {kind: StateQuery(type_) for kind, type_ in model.actor_types.items()}
        for kind, type_ in model.actor_types.items():
            commands: list[CommandType] = [*type_.commands.values(), self._state_queries[kind]]
            for command in commands:
                self._counts[command] = self._counters.of(kind, command.name)

    def open(self, worker: WorkerContext) -> None:
        """Take commands from now on, and do the work of the stages `deliveries` and `arrivals`."""
        self._worker = worker
        worker.pipeline.deliveries.bind(self._decode_all)
        worker.pipeline.arrivals.bind(self._enqueue_all)

    def close(self) -> None:
        """Refuse commands, and end every machine without an answer to its callers."""
        self._worker = None
        for machine in self.registry:
            machine.abandon()
        self.registry = Registry(self._make, self._active_vms_max)

    def discard(self, machine: VirtualMachine) -> None:
        """Take out a machine that has ended."""
        self.registry.discard(machine)

    def receive(self, delivery: Delivery) -> None:
        """Take one command from the transport; it is answered once, or dropped by the reply fence."""
        self._counters.commands += 1
        if self._worker is None:
            self._decode_all([delivery])
        else:
            self._worker.pipeline.deliveries.add(delivery)

    def stored(self, commit: StoredCommit) -> None:
        """A commit was stored, here or by another writer: its machine looks whether it is news."""
        machine = self.registry.get(commit.actor_id)
        if machine is not None:
            machine.stored(commit)

    def actor_type(self, kind: str) -> ActorType:
        """The type of a kind. Raises `UnknownActor`, `Unavailable` without a model."""
        known = self._actor_types.get(kind)
        if known is not None:
            return known
        if self._model is None:
            raise Unavailable("the runtime has no model")
        return self._model.actor_type(kind)

    def command_type(self, kind: str, command: str) -> DeclaredCommand:
        """A command of the model. Raises `UnknownActor`, `UnknownCommand`, `Unavailable` without a model."""
        actor_type = self.actor_type(kind)
        found = actor_type.commands.get(command)
        if found is None:
            raise unknown_command(command, actor_type)
        return found

    def _decode_all(self, deliveries: list[Delivery]) -> None:
        now_s = arrived_s = 0.0
        for delivery in deliveries:
            try:
                if not now_s and self._worker is not None:
                    now_s, arrived_s = self._worker.clock.wall_s(), self._worker.clock.boot_s()
                self._decode(delivery, now_s, arrived_s)
            except BaseException as error:  # SystemExit too: arguments are made by users' code
                self._not_decoded(delivery, error)

    def _enqueue_all(self, arrivals: list[PendingCommand]) -> None:
        now_s = 0.0
        for pending in arrivals:
            delivery = pending.deliveries[0]
            try:
                if not now_s and self._worker is not None:
                    now_s = self._worker.clock.boot_s()
                self.registry.use(delivery.actor_id, now_s).receive(pending)
            except AetherError as error:  # there is no room, or no such kind
                self._not_taken(delivery, error, pending.counts)
            except BaseException as error:
                machine = self.registry.get(delivery.actor_id)
                if machine is not None:
                    machine.fault(error)
                why = Unavailable(f"{delivery.actor_id} could not be reached: a fault of its worker")
                self._not_taken(delivery, why, pending.counts)

    def _counts_of(self, delivery: Delivery) -> CommandCounts:
        """Where a command that was not taken is counted: under no name when the model does not have it."""
        try:
            name = _command_of(delivery).command
        except AetherError:
            name = ""
        known = self._counters.by_command.get((delivery.actor_id.kind, name))
        return known if known is not None else self._counters.of("", "")

    def _not_decoded(self, delivery: Delivery, error: BaseException) -> None:
        """A command cannot be read, or the model does not take it; or the worker takes nothing now."""
        worker, told = self._worker, delivery.told
        if worker is not None and told is not None and not isinstance(error, Unavailable | DeadlineExceeded):
            self._tell_not_decoded(delivery, told, error, worker)
            return
        if worker is not None and _may_be_foreign(error):
            error = worker.foreign(error)
        self._not_taken(delivery, error, self._counts_of(delivery))

    def _tell_not_decoded(
        self, delivery: Delivery, told: TellPlace, error: BaseException, worker: WorkerContext
    ) -> None:
        """It waits for another version, or fails, or ends."""
        why = error if isinstance(error, AetherError) else _failure(delivery, error)
        why.details[NOT_TAKEN] = True
        if why is not error and not told.given_up:
            self._note_failure(delivery, error)
        elif _may_be_foreign(why) and not told.given_up:
            why = worker.foreign(why)
        if not self._told(delivery, told, why, worker):
            self._not_taken(delivery, why, self._counts_of(delivery))

    def _told(self, delivery: Delivery, told: TellPlace, error: AetherError, worker: WorkerContext) -> bool:
        """Whether a tell that the model does not take was handed to its actor all the same.

        It has to commit that the tell is given up, or, where tells need not be in order, that those behind it go on.
        """
        actor_type = self._actor_types.get(delivery.actor_id.kind)
        if (actor_type is None or actor_type.tells_in_order) and not told.given_up:
            return False
        command, counts = told.command, self._counts_of(delivery)
        expires_s = command.deadline.timestamp()
        untaken, arrived_s = UntakenCommand(command.command, error), worker.clock.boot_s()
        pending = PendingCommand(command, untaken, None, delivery, expires_s, counts, arrived_s=arrived_s)
        worker.pipeline.arrivals.add(pending)
        return True

    def _not_taken(self, delivery: Delivery, error: BaseException, counts: CommandCounts) -> None:
        if isinstance(error, AetherError):
            try:
                self._respond(delivery, encode_error(error))
                counts.refused(error)
                return
            except BaseException as unspeakable:  # an error of users' own
                error = unspeakable
        counts.failed += 1
        self._note_failure(delivery, error)
        self._respond(delivery, encode_error(_failure(delivery, error)))

    def _note_failure(self, delivery: Delivery, error: BaseException) -> None:
        """Users' code that made an argument has failed."""
        log.error("a command could not be taken", exc_info=error, extra={"actor": str(delivery.actor_id)})
        if self._worker is not None:
            with suppress(AetherError):
                self._worker.note_failure(delivery.actor_id, _command_of(delivery), error)

    def _decode(self, delivery: Delivery, now_s: float, arrived_s: float) -> None:
        worker = self._worker
        if worker is None:
            raise Unavailable("the worker is stopping")
        command = _command_of(delivery)
        name = command.command
        if delivery.told is None and name in _OF_OPERATORS:
            self._route_operators(delivery, command, worker, now_s, arrived_s)
            return
        actor_type = self.actor_type(delivery.actor_id.kind)
        expires_s = _unix_s(command.deadline)
        _check_deadline(command, expires_s, now_s)
        untaken = untaken_told(command) if delivery.told is not None else None
        if untaken is not None:
            counts = self._counts_of(delivery)
            arrival = PendingCommand(command, untaken, None, delivery, expires_s, counts, arrived_s=arrived_s)
            worker.pipeline.arrivals.add(arrival)
            return
        if name.startswith(SYSTEM_COMMAND_PREFIX):
            self._route_system(delivery, command, actor_type, worker, arrived_s)
            return
        command_type = actor_type.commands.get(name)
        if command_type is None:
            raise unknown_command(name, actor_type)
        if command_type.query and delivery.told is not None:
            raise InvalidCommand(f"{name} is a query, and a query cannot be told: it does nothing", path="command")
        args = command_type.decode_args(bytes(command.args))
        if worker.health.trouble and not command_type.query:
            _check_appends(worker)
        given = "" if command.attempt or command_type.query else digest(name, args, bytes(command.args))
        worker.pipeline.arrivals.add(
            PendingCommand(
                command,
                command_type,
                args,
                delivery,
                expires_s,
                self._counts[command_type],
                given,
                arrived_s=arrived_s,
            )
        )

    def _route_operators(
        self, delivery: Delivery, command: Command, worker: WorkerContext, now_s: float, arrived_s: float
    ) -> None:
        """End a schedule, or have tells given up, whether the model has the actor's kind or not."""
        expires_s = _unix_s(command.deadline)
        _check_deadline(command, expires_s, now_s)
        if command.command == GIVE_UP_COMMAND:
            self._give_up(delivery, command, worker)
            return
        name = _UNSCHEDULE.decode_args(bytes(command.args))
        if worker.health.trouble:
            _check_appends(worker)
        given = "" if command.attempt else digest(command.command, name)
        counts = self._counts_of(delivery)
        worker.pipeline.arrivals.add(
            PendingCommand(command, _UNSCHEDULE, name, delivery, expires_s, counts, given, arrived_s=arrived_s)
        )

    def _give_up(self, delivery: Delivery, command: Command, worker: WorkerContext) -> None:
        until, telling = decode_until(bytes(command.args)), worker.telling
        if telling is None or not worker.owns(delivery.shard):
            raise Unavailable(f"{delivery.actor_id} is not served here now")
        count = telling.give_up(delivery.shard, delivery.actor_id, until)
        self._respond(delivery, encode_answer(encode_count(count), 0, 0))

    def _route_system(
        self, delivery: Delivery, command: Command, actor_type: ActorType, worker: WorkerContext, arrived_s: float
    ) -> None:
        if command.command == WAITS_COMMAND:
            waits = encode_waits(worker.asks.waits_of(delivery.actor_id), bytes(command.args))
            self._respond(delivery, encode_answer(waits, 0, 0))
            return
        if command.command != STATE_COMMAND:
            raise unknown_command(command.command, actor_type)
        version = decode_state_args(bytes(command.args))
        expires_s = command.deadline.timestamp()
        query = self._state_queries[actor_type.kind]
        counts = self._counts[query]
        if version is not None:
            left_s = expires_s - worker.clock.wall_s()
            self._state_at_version.answer(delivery, actor_type, version, left_s, worker, counts)
            return
        worker.pipeline.arrivals.add(
            PendingCommand(command, query, delivery.actor_id, delivery, expires_s, counts, arrived_s=arrived_s)
        )

    def _respond(self, delivery: Delivery, answer: bytes) -> None:
        if self._worker is not None:
            self._worker.respond(delivery, answer)
        else:
            delivery.respond(answer)

    def _make(self, actor_id: ActorId) -> VirtualMachine:
        """A machine, where we hold its shard. Else what comes would wait in it for the shard to be ours again.

        Another owner may have answered that meanwhile, and a refusal that is not stored would be undone.
        """
        assert self._worker is not None
        actor_type, shard = self._type_of_machine(actor_id.kind), shard_of(actor_id, self._shards)
        if not self._worker.owns(shard):
            raise Unavailable(f"{actor_id} is not served here now")
        self._made += 1
        self._counters.activations += 1
        return VirtualMachine(self._made, actor_id, actor_type, shard, self._worker)

    def _type_of_machine(self, kind: str) -> ActorType:
        """The type of a kind; one that is gone takes tells that are given up (`_told`), and `aether.unschedule`."""
        try:
            return self.actor_type(kind)
        except UnknownActor:
            return GoneKind(kind)


def _command_of(delivery: Delivery) -> Command:
    """The command itself. Raises `InvalidCommand`."""
    told = delivery.told
    return decode_command(delivery.payload) if told is None else checked_command(told.command)


def _failure(delivery: Delivery, error: BaseException) -> ActorFailed:
    """What is said of users' code that made an argument and has failed."""
    why = f"the command could not be taken: {type_name(error)}; see the worker's log"
    return ActorFailed(why, actor=str(delivery.actor_id))


def _may_be_foreign(error: BaseException) -> TypeGuard[AetherError]:
    """Whether another version of the model may take what this one does not."""
    if isinstance(error, InvalidCommand):
        return error.path != "deadline"
    return isinstance(error, UnknownActor | UnknownCommand)


def _check_appends(worker: WorkerContext) -> None:
    """Refuse what may have to be stored while the store takes nothing: its handler would run for nothing."""
    why = worker.health.why(Need.APPENDS)
    if why:
        raise Unavailable(f"nothing was done: {Need.APPENDS.value}: {why}")


def unknown_command(command: str, actor_type: ActorType) -> UnknownCommand:
    """What to say of a command that the type does not have."""
    known = ", ".join(sorted(actor_type.commands))
    message = f"{actor_type.kind} has no command {command!r}; it has: {known}"
    return UnknownCommand(message, kind=actor_type.kind, command=command)


def _unix_s(time: datetime) -> float:
    """`time.timestamp()` in a third of the time: that divides whole numbers of Python."""
    since = time - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / 1_000_000


def _check_deadline(command: Command, expires_s: float, now_s: float) -> None:
    ahead_s = expires_s - now_s
    if ahead_s <= 0:
        raise DeadlineExceeded(f"the deadline of {command.command} has passed")
    if ahead_s > DEADLINE_AHEAD_MAX_S + CLOCK_SKEW_S:
        raise InvalidCommand(f"a deadline is at most {DEADLINE_AHEAD_MAX_S:.0f} s ahead", path="deadline")

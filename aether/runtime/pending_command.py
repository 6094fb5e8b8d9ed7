"""A command that has no answer yet, from its arrival at the worker to its answer.

It waits in a mailbox or runs in a turn. It has one owner at a time, on the event loop: the router,
its machine's mailbox, a turn.
"""

from datetime import datetime
from typing import Any

from aether.codec import digest
from aether.config import RuntimeConfig
from aether.core.actor.commit_draft import IdRetention
from aether.errors import InvalidCommand
from aether.model.definition import CommandType, Context
from aether.ports import Delivery
from aether.runtime.counters import CommandCounts
from aether.wire import Command, decided, encode_error, instant


class PendingCommand:
    """A command in a mailbox or a turn, and the callers who wait for its answer.

    - `id`: the command's own.
    - `expires_s`: the latest deadline of its deliveries, Unix seconds.
    - `fresh`: its deliveries were the first send of its id, and no append that may be stored holds it.
    - `arrived_s`: when its first delivery arrived, boot time in seconds.
    - `told`: where it stands in the inbox, if it comes from there.
    - `counts`: where the outcome is counted; `late`: its handler was still at work at its deadline, which is counted.
    - `digest`: of the command and arguments that the caller gave the id to; empty for an id that the library made.
      `remembered_until_s`: until when an id that the caller gave is remembered, Unix seconds.
    """

    __slots__ = (
        "args",
        "arrived_s",
        "command",
        "counts",
        "deliveries",
        "digest",
        "expires_s",
        "fresh",
        "id",
        "late",
        "remembered_until_s",
        "told",
        "type",
    )

    def __init__(
        self,
        command: Command,
        type_: CommandType,
        args: Any,
        delivery: Delivery,
        expires_s: float,
        counts: CommandCounts,
        digest: str = "",
        *,
        arrived_s: float,
    ) -> None:
        self.command = command
        self.id = command.id
        self.type = type_
        self.args = args
        self.deliveries = [delivery]
        self.expires_s = expires_s
        self.fresh = command.attempt == 1
        self.digest = digest
        self.remembered_until_s = 0.0
        self.counts = counts
        self.arrived_s = arrived_s
        self.late = False
        self.told = delivery.told

    def merge(self, other: "PendingCommand") -> None:
        """Another delivery of the same command: its callers get the same answer, and it has their longest deadline."""
        self.deliveries.extend(other.deliveries)
        self.fresh = self.fresh and other.fresh
        self.expires_s = max(self.expires_s, other.expires_s)

    def is_same(self, other: "PendingCommand") -> bool:
        """Whether another command with this id is this command, with the same arguments."""
        if self.command.command != other.command.command:
            return False
        if bytes(self.command.args) == bytes(other.command.args):
            return True
        return self._digest() == other._digest()

    def _digest(self) -> str:
        return digest(self.type.name, self.args, bytes(self.command.args))

    def context(self, now: datetime) -> Context:
        """What its handler knows of it; `now` is when the handler began."""
        command = self.command
        return Context(
            command_id=command.id,
            correlation_id=command.correlationid or command.id,
            caller=command.caller,
            deadline=command.deadline,
            now=now,
            traceparent=command.traceparent,
            scheduled_for=None if self.told is None else self.told.due,
        )

    def retention(self, now_s: float, window_s: float | None, config: RuntimeConfig) -> IdRetention:
        """What is stored of its id, which the caller gave.

        Such an id is remembered for the actor type's own `window_s` or the configured one, from its commit, and in any
        case until its deadline and a margin.
        """
        wanted_s = now_s + (config.command_window_s if window_s is None else window_s)
        self.remembered_until_s = until_s = max(wanted_s, self.expires_s + config.command_log_margin_s)
        return IdRetention(instant(until_s), self.digest)

    def may_leave_unstored(self, stored_format: int) -> bool:
        """Whether the outcome of a command without events may leave although nothing of it is stored.

        It must not when the command may be carried out all the same: by another send of it that arrives late, or by an
        append that is late. The one finds what is stored, the other finds its position taken
        (docs/decisions/stored-refusals.md). `stored_format` is the newest that all members read.
        """
        return self.type.query or self.fresh or stored_format < 1


def other_command(pending: PendingCommand) -> bytes:
    """The answer to a command whose id belongs to another one."""
    message = f"the command id {pending.id} was given to another command, or to other arguments"
    return decided(encode_error(InvalidCommand(message, path="id")))

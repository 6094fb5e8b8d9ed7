"""The answer that a command has already: from the actor's command log, before its handler runs."""

from aether.core.actor.command_log import out_of_time_name
from aether.runtime.fold import LOST_ONCE, Fold
from aether.runtime.pending_command import PendingCommand, other_command
from aether.runtime.worker_context import WorkerContext
from aether.wire import encode_error


def earlier_answer(
    fold: Fold, pending: PendingCommand, worker: WorkerContext, now_s: float, replies: int
) -> bytes | None:
    """The answer that the log has of a command that comes again, or a refusal when the log is full; else None.

    `now_s` is the time, Unix seconds; `replies` are as many more commands that the turn under way will add to the log.
    """
    command_log, command_id = fold.command_log, pending.id
    if command_log is None:
        return None
    if pending.type.query:  # of queries only those are remembered that have ended workers
        if command_log.get(f"{LOST_ONCE}{command_id}") is None:
            return None
        pending.counts.duplicate += 1
        return command_log.get(command_id)
    command_log.forget_expired(now_s)
    answer = command_log.get(command_id)
    if answer is None and not pending.command.attempt:
        answer = command_log.get(out_of_time_name(command_id, pending.command.deadline))
    if answer is not None:
        worker.counters.duplicates += 1
        digest = command_log.digest(command_id)
        if pending.digest and digest not in ("", pending.digest):
            pending.counts.invalid += 1
            return other_command(pending)
        pending.counts.duplicate += 1
        return answer
    if len(command_log) + replies >= worker.config.command_log_max:
        pending.counts.overloaded += 1
        why = f"{fold.actor_id} remembers {len(command_log)} commands, the most it may"
        return encode_error(worker.admission.refusal(why, "command_log_max"))
    return None

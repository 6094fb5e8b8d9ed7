"""What a commit's outcome means for its callers: their answers; and what a stored one means for its actor's fold."""

from aether.core.actor.command_log import CommandLog, out_of_time_name
from aether.core.actor.commit_draft import CommitDraft
from aether.errors import Unavailable
from aether.ids import Position, Version
from aether.runtime.fold import Fold
from aether.runtime.mailbox import Mailbox
from aether.runtime.pending_command import PendingCommand
from aether.wire import encode_answer, encode_error, is_out_of_time


def answer_committed(
    draft: CommitDraft[PendingCommand], position: Position, fold: Fold, mailbox: Mailbox, margin_s: float
) -> None:
    """The draft is stored at `position`: give its answers. The fold has its events already.

    A command that the library named is remembered until its deadline and `margin_s`. One without events that was sent
    again meanwhile is put back: its outcome has to be stored.
    """
    before = fold.position
    fold.version, fold.position = Version(draft.version), position
    command_log = fold.command_log
    if command_log is None:
        command_log = fold.command_log = CommandLog()
    again: list[PendingCommand] = []
    for reply in draft.replies:
        pending = reply.pending
        if reply.fresh and not pending.fresh:
            again.append(pending)
            continue
        if reply.reply is not None:
            pending.counts.ok += 1
            answer = encode_answer(reply.reply, reply.version, position)
        else:
            assert reply.error is not None
            answer = reply.error
        if reply.stored and (pending.told is None or not pending.command.attempt):  # a tell is known by its sequence
            expires_s = pending.remembered_until_s or pending.expires_s + margin_s
            name, command = pending.id, pending.command
            if reply.error is not None and not command.attempt and is_out_of_time(answer):
                name = out_of_time_name(name, command.deadline)
            command_log.add(name, answer, expires_s, before, pending.digest)
        mailbox.answer(pending, answer)
    if again:
        mailbox.put_back_all(again)


def answer_not_stored(draft: CommitDraft[PendingCommand], mailbox: Mailbox, reason: str) -> None:
    """The store has refused the draft: nothing of its commands has happened, and their callers hear so."""
    answer = encode_error(Unavailable(f"nothing was stored: {reason}"))
    for reply in draft.replies:
        if reply.reply is not None:  # else its refusal is counted
            reply.pending.counts.unavailable += 1
        mailbox.answer(reply.pending, answer)

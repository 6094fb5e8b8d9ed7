"""What is said of asks that cannot be: to the handler that asks, and to the caller of a handler that did.

Not compiled: `split` of a group of errors takes no compiled function.
"""

from aether.errors import ActorFailed, AetherError, DeadlineExceeded, Overloaded, Rejected, Unavailable, asked_by
from aether.ids import ActorId
from aether.log_lines import type_name, words
from aether.model.definition import CommandType

GROUP_SHOWN_MAX = 3
"""So many errors of a group are named."""


def refusal_to_ask(actor_id: ActorId, type_: CommandType) -> ActorFailed:
    """What a handler hears that asks and cannot await."""
    command = type_.name
    if type_.blocking:
        advice = "write it as `async def` and call what blocks with `await asyncio.to_thread(...)`"
        message = f"{command} is a blocking handler, which cannot await an answer; {advice}"
    else:
        message = f"{command} is a plain handler, which cannot await an answer; write it as `async def`"
    return ActorFailed(message, actor=str(actor_id))


def passed_on(error: BaseException, asked: str, command: str) -> AetherError:
    """What the caller of a command hears when its handler has not caught the error of an ask.

    `asked` is what was asked, as `account/bob.deposit`. A rejection is passed on and says who has rejected. No answer
    in time is the command's own deadline, which is the same: nothing of the command is stored. All else is the failure
    of the handler, also what is wrong with the arguments that it gave.
    """
    assert isinstance(error, AetherError)
    text = f"{asked}: {error.message}"
    if isinstance(error, Rejected):
        rejected = Rejected(text)
        rejected.details = {"rejected_by": asked, **error.details}
        return rejected
    if isinstance(error, DeadlineExceeded | Unavailable | Overloaded):
        late = f"{command} did not finish before its deadline; it waited for {text}"
        return DeadlineExceeded(late, outcome_known=True)
    if not isinstance(error, ActorFailed):
        return ActorFailed(f"{asked}: {type(error).__name__}: {error.message}")
    failed = ActorFailed(text)
    failed.details = error.details
    return failed


def too_late(error: BaseException) -> BaseException:
    """The first error in a task group's that says only of asks that they had no answer in time; else the error."""
    if not isinstance(error, BaseExceptionGroup) or error.split(_is_late_ask)[1] is not None:
        return error
    late: BaseException = error
    while isinstance(late, BaseExceptionGroup):
        late = late.exceptions[0]
    return late


def _is_late_ask(error: BaseException) -> bool:
    return bool(asked_by(error)) and isinstance(error, DeadlineExceeded | Unavailable | Overloaded)


def of_group(error: BaseException) -> str:
    """What the first errors in a task group's error say, to be added to what that says; empty for all others."""
    if not isinstance(error, BaseExceptionGroup):
        return ""
    return f": {'; '.join(f'{type_name(one)}: {words(one)}' for one in error.exceptions[:GROUP_SHOWN_MAX])}"

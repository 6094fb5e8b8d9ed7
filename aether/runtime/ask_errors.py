"""What is said of asks that cannot be: to the handler that asks, and to the caller of a handler that did."""

from aether.errors import ActorFailed, AetherError, DeadlineExceeded, Overloaded, Rejected, Unavailable
from aether.ids import ActorId
from aether.model.definition import CommandType


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

"""The chat session: one actor, whose history is the conversation."""

from dataclasses import dataclass, field

from aether import Actor, After, Rejected, TaskFailed, command, event, query
from examples.agent.language_model import Message, ToolCall
from examples.agent.work import Reply, ToolResult, complete, use_tool

REMIND_AFTER_DAYS = 1


@dataclass(frozen=True, slots=True)
class UserSaid:
    """The user wrote something."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelSaid:
    """The model's answer, which the user sees."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolsCalled:
    """The model wants to know something before it answers: its calls, and the task of each."""

    calls: list[ToolCall]
    tasks: list[str]


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A tool has found something."""

    call: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """There is no answer: model or tools could not be reached."""

    why: str


@dataclass(frozen=True, slots=True)
class UserReminded:
    """A day after the last answer the user is asked whether that was all."""


class Session(Actor):
    """One conversation; the key is its number."""

    conversation: list[Message] = field(default_factory=list[Message])
    thinking: bool = False
    open_calls: dict[str, str] = field(default_factory=dict[str, str])

    @command
    def say(self, text: str) -> None:
        """Say something to the model. Raises `Rejected` while it thinks about what was said before."""
        if self.thinking:
            raise Rejected("one thing after the other: it is still thinking")
        self.emit(UserSaid(text))
        self.cancel_schedule("reminder")
        self._ask_model()

    @command
    def model_answered(self, reply: Reply) -> None:
        """The model's next message is there."""
        if not reply.calls:
            self.emit(ModelSaid(reply.text))
            self.schedule("reminder", After(days=REMIND_AFTER_DAYS), Session.remind, self.id.key)
            return
        tasks = [
            self.start_task(use_tool(call), then=Session.tool_answered, failed=Session.fail) for call in reply.calls
        ]
        self.emit(ToolsCalled(reply.calls, tasks))

    @command
    def tool_answered(self, result: ToolResult) -> None:
        """A tool has found something; when it was the last one, the model goes on."""
        if result.call not in self.open_calls:
            return
        self.emit(ToolAnswered(result.call, result.text))
        if not self.open_calls:
            self._ask_model()

    @command
    def fail(self, failure: TaskFailed) -> None:
        """Model or tools could not be reached, however often it was tried. What else was asked for is not needed."""
        if self.thinking:
            for task in self.open_calls.values():  # or its failure would be that of the next answer
                self.cancel_task(task)
            self.emit(AnswerFailed(failure.message))

    @command
    def remind(self) -> None:
        """A day has passed."""
        self.emit(UserReminded())

    @query
    def messages(self) -> list[Message]:
        """The conversation so far."""
        return self.conversation

    def _ask_model(self) -> None:
        self.start_task(complete(self.conversation), then=Session.model_answered, failed=Session.fail)

    @event
    def _user_said(self, e: UserSaid) -> None:
        self.conversation.append(Message("user", e.text))
        self.thinking = True

    @event
    def _model_said(self, e: ModelSaid) -> None:
        self.conversation.append(Message("model", e.text))
        self.thinking = False

    @event
    def _tools_called(self, e: ToolsCalled) -> None:
        self.conversation.append(Message("model", "", calls=e.calls))
        self.open_calls = dict(zip((call.id for call in e.calls), e.tasks, strict=True))

    @event
    def _tool_said(self, e: ToolAnswered) -> None:
        self.conversation.append(Message("tool", e.text, call=e.call))
        del self.open_calls[e.call]

    @event
    def _failed(self, e: AnswerFailed) -> None:
        self.thinking = False
        self.open_calls = {}

    @event
    def _reminded(self, e: UserReminded) -> None:
        self.conversation.append(Message("model", "Was that all?"))

"""What the attempts of one call have come to: how long to wait for the next answer, and what to say at the deadline.

Pure: the caller sends, waits and tells. One call, one writer.
"""

from aether.errors import AetherError, ClientUnusable, DeadlineExceeded, Overloaded, Unavailable
from aether.ids import ActorId

PATIENCE_DOUBLINGS_MAX = 2
"""How often an attempt that got no answer doubles how long the next one waits."""


class Attempts:
    """The attempts of one command; `patience_s` is how long the next one waits for its answer.

    `sends` counts those that may have reached a worker.
    """

    __slots__ = ("_actor_id", "_command", "_last", "_maybe_done", "_reached", "_unanswered", "count", "patience_s",
                 "sends")  # fmt: skip

    def __init__(self, actor_id: ActorId, command: str, patience_s: float) -> None:
        self.count = 0
        self.sends = 0
        self.patience_s = patience_s
        self._actor_id = actor_id
        self._command = command
        self._last: AetherError | None = None
        self._reached = False
        self._maybe_done = False
        self._unanswered = 0

    def failed(self, error: Unavailable, *, sent: bool) -> None:
        """No answer came; when it was sent, a worker may have carried it out all the same."""
        self.count += 1
        self._last, self._reached = error, sent
        if sent:
            self.sends += 1
            self._maybe_done = True
            self._unanswered += 1
            if self._unanswered <= PATIENCE_DOUBLINGS_MAX:
                self.patience_s *= 2

    def refused(self, error: AetherError, *, decided: bool) -> bool:
        """The answer was an error: whether to ask again. Raises an error that is final.

        A decided error is final. Another one says only what became of this attempt: it is final while no earlier
        attempt was sent and left unanswered, because that one may have been carried out, or may still be.
        """
        self.count += 1
        self.sends += 1
        self._last, self._reached = error, True
        if isinstance(error, Unavailable | Overloaded):
            return True
        if decided or not self._maybe_done:
            raise error
        return not isinstance(error, DeadlineExceeded)

    @property
    def what(self) -> str:
        """The command and the actor, for people."""
        return f"{self._command} of {self._actor_id}"

    @property
    def last(self) -> AetherError | None:
        """What the last attempt has come to."""
        return self._last

    def closed(self) -> ClientUnusable:
        """What to raise when the client is closed before an answer has come."""
        if self._maybe_done:
            message = f"the client was closed before {self.what} was answered; it may have been carried out"
            return ClientUnusable(message, outcome_known=False)
        return ClientUnusable(f"the client was closed before {self.what} was answered; nothing was done")

    @property
    def reached_no_worker(self) -> bool:
        """Whether the last attempt reached no worker, and no earlier one may have been carried out."""
        return self._last is not None and not self._reached and not self._maybe_done

    def conclusion(self, why: str = "") -> AetherError:
        """What to raise at the deadline; `why` is what workers say of their not serving."""
        last, what = self._last, self.what
        if last is None:
            return DeadlineExceeded(f"the deadline of {what} passed before it was sent", outcome_known=True)
        if self._maybe_done:
            message = f"no answer to {what} before the deadline, after {self.count} attempts; the last: {last}"
            return DeadlineExceeded(message, outcome_known=False)
        if self._reached:
            return last
        text = f"{what} could not be sent to a worker in {self.count} attempts; {why or f'the last: {last}'}"
        return Unavailable(text)

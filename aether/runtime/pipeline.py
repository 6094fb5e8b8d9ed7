"""The seven stages of a worker's commands, in their order: the one place that declares them.

An item enters a stage, the stage's work is done to all of its items at once, and what comes out enters a later stage.
The owner of the work binds it (`Stage.bind`); any part of the runtime adds items.

| stage | goes in | work | comes out |
|---|---|---|---|
| `outcomes` | commits whose append has an outcome | `Committer`: hand each to its machine | answers; turns; replays |
| `deliveries` | commands as the transport delivered them | `Router`: decode and check | arrivals; refusals |
| `arrivals` | pending commands | `Router`: into the mailbox of the actor's machine | turns; activations |
| `turns` | machines with commands that wait | `WorkerContext`: run the handlers | drafts; commits; answers |
| `drafts` | turns whose last command has emitted events | `WorkerContext`: encode these, end the turn | commits |
| `commits` | commits in line | `Committer`: append as many as may be in flight | later an outcome |
| `answers` | answers | `WorkerContext`: the reply fence, then the transport | |

Outcomes come first, because what waits for one may go on in the same run. A replay, a handler that is awaited or in a
thread, and an append end beside the pipeline: each adds its result to a stage, which is a later run.
"""

from collections.abc import Callable

from aether.ports import Delivery
from aether.runtime.pending_command import PendingCommand
from aether.runtime.pending_commit import PendingCommit
from aether.runtime.protocols import Machine, RunningTurn
from aether.runtime.stage import Stage, StagePipeline


class OutgoingAnswer:
    """An encoded answer, and the delivery whose caller gets it. `measured`: the command whose time ends with it."""

    __slots__ = ("answer", "delivery", "measured")

    def __init__(self, delivery: Delivery, answer: bytes, measured: PendingCommand | None) -> None:
        self.delivery = delivery
        self.answer = answer
        self.measured = measured


class CommandPipeline(StagePipeline):
    """The stages of one runtime. `soon` calls back in the event loop's next iteration."""

    __slots__ = ("answers", "arrivals", "commits", "deliveries", "drafts", "outcomes", "turns")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        super().__init__(soon)
        self.outcomes: Stage[PendingCommit] = self.add_stage()
        self.deliveries: Stage[Delivery] = self.add_stage()
        self.arrivals: Stage[PendingCommand] = self.add_stage()
        self.turns: Stage[Machine] = self.add_stage()
        self.drafts: Stage[RunningTurn] = self.add_stage()
        self.commits: Stage[PendingCommit] = self.add_stage()
        self.answers: Stage[OutgoingAnswer] = self.add_stage()

"""What the supervisor decides, as a fold: `step(state, input) -> (state, effects)`.

Pure: no process, clock or randomness is touched here. One writer, the supervisor's loop. The order of a step: the
pause is forgiven, `inputs.take` takes the input in, then `due.advance` does all that is due by now, whatever the input
was; so a missed `Tick` costs time and never a decision. The shape is gunicorn's arbiter (reap, check, act), with its
decisions taken out of its system calls.
"""

from aether.supervisor.deadlines import forgive_pause
from aether.supervisor.inputs import take
from aether.supervisor.next_actions import advance
from aether.supervisor.state import Effect, Input, Phase, State, SupervisorConfig
from aether.supervisor.step import Step


def step(state: State, event: Input, config: SupervisorConfig, now_s: float) -> tuple[State, list[Effect]]:
    """The next state and what is to be done, in order. A state that is done stays as it is."""
    if state.phase is Phase.DONE:
        return state, []
    under_way = Step(forgive_pause(state, config, now_s), config, now_s)
    take(under_way, event)
    advance(under_way)
    return under_way.state, under_way.effects

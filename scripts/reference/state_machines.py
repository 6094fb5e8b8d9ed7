"""The page of the state machines: each table of the core as a diagram."""

from aether.core.actor import lifecycle
from aether.core.cluster import handoff
from aether.core.transitions import mermaid

INTRODUCTION = """# State machines

Two things in a worker have a life of several states. Each is one literal table in the core, and these diagrams are
drawn from the tables. A step that a table does not have raises `IllegalTransition` and leaves the state as it is.
"""

MACHINE = """## A virtual machine

`aether/core/actor/lifecycle.py`. `replayed`: the history has been read. `turn begun`: commands run. `turn empty`: they
emitted nothing. `replay needed`: only the history can tell what the state is. `abandoned`: the shard is lost.
"""

SHARD = """## A shard, as one member sees it

`aether/core/cluster/handoff.py`. A lease is acquired, then the shard is started; it is stopped, then the lease is
released. `unknown`: a write without an outcome. `owned`: the table shows a write of ours whose outcome was unknown.
"""


def page() -> str:
    """The text of the page."""
    machine = mermaid(lifecycle.TRANSITIONS, lifecycle.Phase.REPLAYING)
    shard = mermaid(handoff.TRANSITIONS, handoff.Phase.NOT_HELD)
    return "\n".join([INTRODUCTION, MACHINE, _block(machine), SHARD, _block(shard)])


def _block(text: str) -> str:
    return f"```mermaid\n{text}\n```\n"

"""The page of the state machines, and its pictures: each table of the core as a diagram."""

from aether.core.actor import lifecycle
from aether.core.cluster import handoff
from scripts.reference.state_diagram import draw

INTRODUCTION = """# State machines

Two things in a worker have a life of several states. Each is one literal table in the core, and these diagrams are
drawn from the tables. A step that a table does not have raises `IllegalTransition` and leaves the state as it is.

A column is a state, an arrow goes from one state to the next, and its words are the triggers.
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
    machine = "![The states of a virtual machine](state-machine-of-an-actor.svg)\n"
    shard = "![The states of a shard](state-machine-of-a-shard.svg)\n"
    return f"{INTRODUCTION}\n{MACHINE}\n{machine}\n{SHARD}\n{shard}"


def machine_picture() -> str:
    """The states of a virtual machine as SVG."""
    return draw("The states of a virtual machine", lifecycle.TRANSITIONS, lifecycle.Phase.REPLAYING)


def shard_picture() -> str:
    """The states of a shard, as one member sees it, as SVG."""
    return draw("The states of a shard, as one member sees it", handoff.TRANSITIONS, handoff.Phase.NOT_HELD)

"""The pictures of the state machines: every transition of the table once, and nothing that a browser would fetch."""

import re
from enum import Enum

from aether.core.actor import lifecycle
from scripts.reference.state_diagram import draw

ARROW = re.compile(r'<path d="M(\d+) (\d+)H(\d+)"')
TEXT = re.compile(r'<text x="(\d+)" y="(\d+)"[^>]*>([^<]+)</text>')


def test_a_diagram_has_each_step_of_the_table_once() -> None:
    picture = draw("A machine", lifecycle.TRANSITIONS, lifecycle.Phase.REPLAYING)
    states = {int(x): text for x, y, text in TEXT.findall(picture) if y == "40"}
    labels = {int(y): text for _, y, text in TEXT.findall(picture) if y != "40"}
    drawn = [
        (states[int(start)], trigger, states[int(end)])
        for start, y, end in ARROW.findall(picture)
        for trigger in labels[int(y) - 5].split(", ")
    ]
    table = [(before.value, trigger.value, after.value) for (before, trigger), after in lifecycle.TRANSITIONS.items()]
    assert sorted(drawn) == sorted(table)
    assert next(iter(states.values())) == lifecycle.Phase.REPLAYING.value
    assert picture.count("<circle") == 1
    assert picture.count('rx="3"') == 1, "one state cannot be left"


def test_a_step_back_to_itself_and_names_with_signs_are_drawn() -> None:
    class Phase(Enum):
        A = "a & b"

    class Trigger(Enum):
        AGAIN = "x < y"

    picture = draw("<&>", {(Phase.A, Trigger.AGAIN): Phase.A}, Phase.A)
    assert "<title>&lt;&amp;&gt;</title>" in picture
    assert ">a &amp; b</text>" in picture
    assert ">x &lt; y</text>" in picture
    assert "h16v8h-16" in picture

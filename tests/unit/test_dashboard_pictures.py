"""Trees, differences, rings, charts and boards: pure functions of the dashboard."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.cluster.overview import ShardOverview, ShardState
from aether.gateway.dashboard.pictures import ARCS_MAX, Line, ceiling, chart, colours_of, number, ring
from aether.gateway.dashboard.trees import CHANGES_MAX, ITEMS_MAX, NODES_MAX, Node, difference, tree
from aether.model.drawing import FAILING, Busy, Traffic, draw
from tests.support.actors import model as actors_model
from tests.support.every_type import model as every_type_model

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 2}, [("a", "1", "2")]),
        ({"a": 1}, {"b": 1}, [("a", "1", None), ("b", None, "1")]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, [("a[2]", None, "3")]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [("a[1]", "2", None)]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [("a[0].b", "1", "2")]),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({"a": None}, {"a": {}}, [("a", "null", "{}")]),
        (1, 2, [("state", "1", "2")]),
        ({"a": [1, 1]}, {"a": [1]}, [("a[1]", "1", None)]),
    ],
)
def test_a_difference_names_places_and_values(before: Any, after: Any, changes: list[tuple[str, str, str]]) -> None:
    assert [(one.place, one.before, one.after) for one in difference(before, after).changes] == changes


@given(JSON, JSON)
def test_a_difference_is_empty_for_equals_only_and_its_places_are_in_the_trees(before: Any, after: Any) -> None:
    found = difference(before, after)
    assert bool(found.changes) == (repr(_sorted(before)) != repr(_sorted(after)))
    marked = tree(after, found.paths)
    assert marked.changed == bool(found.changes)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def nodes(one: Node) -> int:
    return 1 + sum(map(nodes, one.children))


def test_a_large_state_is_a_small_tree_that_has_what_changed() -> None:
    before = {"rows": {f"k{number}": [number] * 50 for number in range(5_000)}, "n": 1}
    after = {**before, "rows": {**before["rows"], "k4711": [1]}, "n": 2}  # type: ignore[dict-item]
    found = difference(before, after)
    assert found.hidden > 0
    assert len(found.changes) == CHANGES_MAX
    shown = tree(after, found.paths)
    assert nodes(shown) <= NODES_MAX + ITEMS_MAX
    rows = shown.children[0]
    assert rows.children[-1].name == "k4711"
    assert rows.hidden + len(rows.children) == rows.size == 5_000
    assert [one.name for one in shown.children] == ["rows", "n"]


def shards(*states: ShardState) -> list[ShardOverview]:
    return [ShardOverview(number, state, "a-0", "a-1", 1) for number, state in enumerate(states)]


def elements(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter())  # noqa: S314 - it is our own


def classes(svg: str) -> list[str]:
    return sorted(element.get("class", "") for element in elements(svg) if element.tag.endswith("path"))


def test_a_ring_says_who_holds_what_and_what_moves() -> None:
    colours = {"a-0": "c0", "a-1": "c1"}
    assert classes(ring(shards(ShardState.HELD, ShardState.HELD), colours)) == ["arc c0"]
    assert classes(ring(shards(ShardState.HELD, ShardState.MOVING), colours)) == ["arc c0", "arc c0", "arc to c1"]
    lost = ring(shards(ShardState.ORPHANED, ShardState.FREE), colours)
    assert classes(lost) == ["arc free", "arc orphaned"]
    assert "2 without worker" in lost
    assert "all held" in ring(shards(ShardState.HELD), colours)


def test_a_ring_of_many_shards_is_small_and_shows_the_worst() -> None:
    many = shards(*[ShardState.HELD] * 65_535, ShardState.ORPHANED)
    drawn = ring(many, {"a-0": "c0"})
    assert len(drawn) < 60 * ARCS_MAX
    assert classes(drawn) == ["arc c0", "arc orphaned"]


def test_a_chart_has_a_gap_where_nothing_was_measured() -> None:
    drawn = chart([Line("all", "c0", [None, 1.0, 2.0, None, 4.0])], "/s", "Rate & more")
    path = next(one for one in elements(drawn) if one.get("class") == "line c0").get("d", "")
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert "Rate &amp; more" in drawn


@given(st.floats(1e-6, 1e9))
def test_a_scale_ends_above_what_it_shows_and_not_far_above(value: float) -> None:
    assert value * 0.99999 <= ceiling(value) <= value * 2.5001


def test_numbers_are_short() -> None:
    assert [number(one) for one in (0, 0.046, 1, 1.25, 99.9, 223.4, 12_345, 1_234_567)] == [
        "0", "0.046", "1", "1.2", "99.9", "223", "12.3k", "1,235k",
    ]  # fmt: skip


def test_eight_workers_have_eight_colours_and_keep_them() -> None:
    names = [f"host-{number}" for number in range(8)]
    colours = colours_of(names)
    assert len(set(colours.values())) == 8
    assert len(colours_of([f"n{number}" for number in range(40)])) == 40


@pytest.mark.parametrize("one", [actors_model, every_type_model])
def test_a_board_has_every_name_and_no_style_of_its_own(one: Any) -> None:
    document = one.schema()
    drawn = draw(document)
    words = " ".join("".join(element.itertext()) for element in elements(drawn) if element.tag.endswith("text"))
    for kind, actor in document["actors"].items():
        assert {kind, *actor["commands"], *actor["events"]} <= set(words.split())
    assert "style" not in drawn
    assert "<script" not in drawn


def test_a_board_says_a_commands_traffic_at_its_note_only() -> None:
    traffic: dict[Busy, Traffic] = {
        ("account", "deposit"): Traffic("12/s ▲ 3 failed", True),
        ("nobody", "deposit"): Traffic("9/s"),
        ("account", "withdraw"): Traffic("7/s"),
    }
    drawn = draw(actors_model.schema(), traffic)
    found = [
        text
        for one in elements(drawn)
        if one.tag.endswith("}g")
        for text in [list(one.itertext())]
        if "12/s ▲ 3 failed" in text
    ]
    assert [text[1] for text in found] == ["deposit"]
    assert "9/s" not in drawn
    bordered = [one for one in elements(drawn) if any(part.get("stroke") == FAILING for part in one)]
    assert [list(one.itertext())[1] for one in bordered] == ["deposit"]


def test_a_board_shows_a_policy_between_its_events_and_what_it_lists() -> None:
    document = {**actors_model.schema(), "policies": {
        "on_deposit": {"description": "Why & how.", "events": [{"kind": "account", "event": "Deposited"}],
                       "tells": [{"kind": "ledger", "command": "enter"}, {"kind": "mail", "command": "write"}]},
        "on_all": {"description": "", "events": [{"kind": "account", "event": "Closed"}], "tells": None},
    }}  # fmt: skip
    drawn, plain = draw(document), draw(actors_model.schema())
    found = [text for one in elements(drawn) if one.tag.endswith("}g") for text in [list(one.itertext())]]
    added = found[len([one for one in elements(plain) if one.tag.endswith("}g")]) :]
    assert added == [
        ["account.Deposited", "Deposited", "of account"],
        ["ledger.enter", "enter", "of ledger"],
        ["mail.write", "write", "of mail"],
        ["Why & how.", "on_deposit", "tells 2 commands"],
        ["account.Closed", "Closed", "of account"],
        ["on_all", "on_all", "its tells are not listed"],
    ]
    paths = [len([one for one in elements(one) if one.tag.endswith("}path")]) for one in (drawn, plain)]
    assert paths[0] - paths[1] == 5  # the line above them, and from each event and to each command
    assert "policy" in drawn
    assert "policy" not in plain


def test_a_board_shows_a_task_and_a_schedule_between_what_starts_them_and_what_they_run() -> None:
    place, paid, failed = ({"kind": "order", "command": name} for name in ("place", "paid", "failed"))
    document = {
        **actors_model.schema(),
        "tasks": {"charge": {"args": {"properties": {"cents": {}}}, "result": {}, "description": "Take & give."},
                  "alone": {"args": {}, "result": {}, "description": ""}},
        "starts": [{"by": place, "task": "charge", "then": paid, "failed": failed},
                   {"by": {"policy": "on_all"}, "task": "charge", "then": paid, "failed": None}],
        "schedules": [{"by": place, "name": "hold", "when": "After(minutes=15)", "run": failed},
                      {"by": paid, "name": "hold", "when": "After(minutes=15)", "run": None}],
    }  # fmt: skip
    traffic: dict[Busy, Traffic] = {("charge",): Traffic("2/s ▲ 1 failed", True), ("order", "place"): Traffic("4/s")}
    drawn, plain = draw(document, traffic), draw(actors_model.schema())
    found = [list(one.itertext()) for one in elements(drawn) if one.tag.endswith("}g")]
    assert found[len([one for one in elements(plain) if one.tag.endswith("}g")]) :] == [
        ["order.place", "place", "of order", "4/s"],
        ["the policy on_all", "on_all", "policy"],
        ["order.paid", "paid", "of order, gets the result"],
        ["order.failed", "failed", "of order, when it failed"],
        ["charge(cents: anything (optional)) -> anything\nTake & give.", "charge", "cents", "2/s ▲ 1 failed"],
        ["alone() -> anything", "alone", "no arguments"],
        ["order.place", "place", "of order", "4/s"],
        ["order.paid", "paid", "of order"],
        ["order.failed", "failed", "of order"],
        ["hold: After(minutes=15)", "hold", "After(minutes=15)"],
    ]
    assert not {"task", "schedule"} & {one.text for one in elements(plain)}

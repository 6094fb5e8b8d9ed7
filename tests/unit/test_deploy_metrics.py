"""The Grafana dashboard and the alert rules: every expression parses and asks for metrics and labels that exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from aether.core.metrics.catalogue import ATTEMPT_OUTCOMES, METRICS, TASK_OUTCOMES, MetricType
from aether.runtime.counters import CommandCounts

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "aether.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "aether-alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "5m", "$job": "aether"}
"""What Grafana puts into an expression before Prometheus sees it."""

OUTCOMES = {
    "aether_commands": set(CommandCounts().outcomes()),
    "aether_tasks": set(TASK_OUTCOMES),
    "aether_task_attempts": set(ATTEMPT_OUTCOMES),
}

OF_THE_SCRAPER = {"job", "instance"}


def exposed() -> dict[str, set[str]]:
    """The labels of each series that the gateway has, by name."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = {*metric.labels, *OF_THE_SCRAPER}
        if metric.type is MetricType.HISTOGRAM:
            found[f"{metric.name}_bucket"] = {*labels, "le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
        else:
            found[metric.name] = labels
    return found


def of_dashboard() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield f"{panel['title']} {target['refId']}", expression


EXPRESSIONS = [*of_dashboard(), *((str(rule["alert"]), str(rule["expr"])) for rule in ALERTS)]
PLACES = {"dashboard": [one for _, one in of_dashboard()], "alerts": [str(rule["expr"]) for rule in ALERTS]}


def selectors(expression: str) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(promql.parse(expression), visit)
    return found


def grouped_by(expression: str) -> list[set[str]]:
    """The labels of each `by`."""
    found: list[set[str]] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            found.append(set(node.modifier.labels))
        return True

    promql.walk(promql.parse(expression), visit)
    return found


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_every_expression_asks_for_what_there_is(name: str, expression: str) -> None:
    there, asked = exposed(), selectors(expression)
    assert asked
    labels: set[str] = set()
    for selector in asked:
        assert selector.name in there, selector.name
        labels |= there[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in there[selector.name], matcher.name
            if matcher.name == "outcome":
                assert set(matcher.value.split("|")) <= OUTCOMES[selector.name.removesuffix("_total")]
    assert all(one <= labels for one in grouped_by(expression))


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_several_gateways_are_not_counted_as_several_pools(name: str, expression: str) -> None:
    """Right around a series, or its rate, there is a `max`: each gateway of a pool gives the same numbers."""
    if not expression.startswith("absent("):
        around = re.findall(
            r"(\w+)(?: by \([\w, ]*\))? ?\((?:(?:rate|increase)\()?aether_", expression.replace("\n", " ")
        )
        assert len(around) == len(selectors(expression))
        assert set(around) == {"max"}


@pytest.mark.parametrize("of", ["dashboard", "alerts"])
def test_tells_schedules_tasks_and_dead_letters_are_watched(of: str) -> None:
    asked = {one.name for expression in PLACES[of] for one in selectors(expression)}
    assert {"aether_tells_given_up_total", "aether_dead_letters", "aether_inbox_pending", "aether_ticks_skipped_total",
            "aether_tasks_total", "aether_task_attempts_total"} <= asked  # fmt: skip


@pytest.mark.parametrize(
    "wrong", ["rate(aether_commands_total[5m]", "sum by (kind (aether_active_actors)", "aether_commands_total{kind=}"]
)
def test_a_wrong_expression_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        promql.parse(wrong)


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    assert len(ALERTS) > 10
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert promql.parse_duration(rule.get("for", "1m"))
        used = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        assert set(used) <= {"job"}, rule["alert"]


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["description"].endswith(".") for panel in PANELS)
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "job"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == {*variables, "__rate_interval"}

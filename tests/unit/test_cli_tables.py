"""Tables on a screen: however long a key and however narrow the screen, every column is there with all that it says."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from aether.cli import render

LONG = "order/" + "k" * 200
ID = "660d8071-3fae-5ee8-9946-b7a7cf826058"
TASK = {
    "id": ID, "task": "never", "actor": "order/o-7", "state": "given up", "attempt": 2, "attempts": 2,
    "error": "ConnectionError: the bank does not answer", "next_at": "2026-01-31T12:00:00Z",
}  # fmt: skip
LETTER = {
    "id": 20363, "state": "dead", "actor": "order/o-7", "command": "write", "count": 1, "failures": 10,
    "at": "2026-01-31T12:00:00Z", "error": "actor_failed: write failed: ValueError: broken",
}  # fmt: skip
SCHEDULE = {
    "next": "2026-01-31T12:00:00Z", "actor": "order/o-7", "name": "expiry", "rule": "0 0 9 * * *",
    "zone": "Europe/Berlin", "catch_up": "one", "target": "order/o-7", "command": "expire",
}  # fmt: skip
TABLES: list[tuple[Callable[[Sequence[Mapping[str, Any]]], None], dict[str, Any]]] = [
    (lambda rows: render.write_tasks(rows, failed=True, table=True), TASK),
    (lambda rows: render.write_inbox(rows, table=True, left_out=0), LETTER),
    (lambda rows: render.write_schedules(rows, table=True), SCHEDULE),
]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[int], Callable[[], str]]:
    """Makes stdout a screen so wide; then what is on it, without its styles."""

    def make(width: int) -> Callable[[], str]:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("LINES", "50")
        return lambda: re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().out)

    return make


@pytest.mark.parametrize("width", [20, 80, 120, 200, 400])
@pytest.mark.parametrize("key", ["order/o-7", LONG], ids=["short", "long"])
@pytest.mark.parametrize(("write", "row"), TABLES, ids=["tasks", "inbox", "schedules"])
def test_nothing_of_a_table_is_left_out(
    screen: Callable[[int], Callable[[], str]],
    write: Callable[[Sequence[Mapping[str, Any]]], None],
    row: dict[str, Any],
    key: str,
    width: int,
) -> None:
    on_it = screen(width)
    write([{**row, "actor": key}, row])
    shown = on_it()
    for name in row:
        title = {"at": "given up at"}.get(name, name)
        assert title in shown, "every column has its title"
    letters = re.sub(r"\s", "", shown)
    for name, value in row.items():
        if name not in ("error", "actor", "target", "command", "name", "task", "rule"):  # which may be folded
            assert str(value) in shown, name
    assert letters.count("k") >= key.count("k")


def test_a_long_key_is_folded_where_the_rest_has_room(screen: Callable[[int], Callable[[], str]]) -> None:
    on_it = screen(120)
    render.write_inbox([{**LETTER, "actor": LONG}], table=True, left_out=0)
    lines = on_it().splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) > 3

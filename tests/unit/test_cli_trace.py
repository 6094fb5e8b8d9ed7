"""`aether trace` over a stand-in for the pool: what it asks for, and what it prints."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.correlation import Trace, TracedEvent, TraceStep
from aether.correlation_search import TRACE_COMMITS_MAX, read_since
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position, Version
from tests.support.command_line import Pool, Run, runner

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ORDER, ROOM = ActorId("order", "o-7"), ActorId("room", "12\n13")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


STEPS = (
    TraceStep(0, "call", ORDER, "", "c-1", "c-1", "done", "", AT, Position(4),
              (TracedEvent("Placed", Version(1), {"cents": 5}), TracedEvent("Paid", Version(2), None))),
    TraceStep(1, "tell", ROOM, "confirm", "tell:4.0", "c-1", "rejected", "sold out", AT, Position(5)),
    TraceStep(1, "tell", ORDER, "go", "tell:4.1", "c-1", "done", "", AT, Position(6)),
    TraceStep(1, "tell", ORDER, "wait", "tell:4.2", "c-1", "open"),
    TraceStep(1, "schedule", ORDER, "expiry", "", "c-1", "sent", "", AT, Position(4), (), AT + timedelta(hours=1)),
    TraceStep(1, "task", ORDER, "charge", "", "c-1", "sent", "", AT, Position(4)),
)  # fmt: skip


def pool_with(steps: Sequence[TraceStep] = STEPS, *, complete: bool = True) -> Pool:
    return Pool(traced=Trace("o-7", tuple(steps), Position(0), Position(12_345), complete))


def test_a_trace_is_lines_on_a_terminal(run: Run) -> None:
    pool = pool_with()
    ran = run("trace", "o-7", pool=pool, terminal=True)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "2026-01-31 12:00:00.000  call order/o-7: Placed 1, Paid 2",
        "2026-01-31 12:00:00.000    tell room/12 13.confirm: rejected: sold out",
        "2026-01-31 12:00:00.000    tell order/o-7.go: no events",
        "                           tell order/o-7.wait: not run yet, as far as was read",
        "2026-01-31 12:00:00.000    schedule order/o-7.expiry: due 2026-01-31 13:00:00.000",
        "2026-01-31 12:00:00.000    task order/o-7.charge",
    ]
    assert ran.err == ""
    assert pool.asked == [("trace", "o-7", timedelta(hours=1), TRACE_COMMITS_MAX, None)]


def test_a_deep_trace_is_indented_so_far_and_says_its_depth(run: Run) -> None:
    """A circle of policies is thousands of steps deep."""
    steps = [TraceStep(depth, "tell", ORDER, "go", f"t-{depth}", "", "done", "", AT) for depth in (19, 20, 21, 9_999)]
    lines = run("trace", "o-7", pool=pool_with(steps), terminal=True).out.splitlines()
    assert [line[len("2026-01-31 12:00:00.000  ") :] for line in lines] == [
        f"{'  ' * 19}tell order/o-7.go: no events",
        f"{'  ' * 20}tell order/o-7.go: no events",
        f"{'  ' * 20}[21] tell order/o-7.go: no events",
        f"{'  ' * 20}[9999] tell order/o-7.go: no events",
    ]


def test_a_trace_is_json_for_programs(run: Run) -> None:
    for arguments in ({"terminal": False}, {"terminal": True}):
        given = ["--json"] if arguments["terminal"] else []
        lines = run("trace", "o-7", *given, pool=pool_with(), **arguments).out.splitlines()
        first, *_, open_, schedule, task = [json.loads(line) for line in lines]
        assert first == {
            "depth": 0, "how": "call", "actor": {"kind": "order", "key": "o-7"}, "name": "", "command_id": "c-1",
            "causation_id": "c-1", "outcome": "done", "error": "", "time": "2026-01-31T12:00:00Z", "position": 4,
            "due": None,
            "events": [{"type": "Placed", "version": 1, "data": {"cents": 5}},
                       {"type": "Paid", "version": 2, "data": None}],
        }  # fmt: skip
        assert schedule["due"] == "2026-01-31T13:00:00Z"
        assert (open_["time"], open_["position"], task["how"]) == (None, None, "task")


def test_what_was_not_read_is_said(run: Run) -> None:
    ran = run("trace", "o-7", "--limit", "12345", pool=pool_with(complete=False))
    assert ran.err == "the limit of 12,345 commits was reached: later ones were not read; see --limit and --since\n"
    ran = run("trace", "o-7", "--since", "2h", pool=pool_with(()))
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "nothing has this correlation id in the 12,345 commits since 2h; see --since\n"


def test_a_tick_is_shown_with_when_it_was_due(run: Run) -> None:
    steps = [TraceStep(0, "tick", ORDER, "go", "timer:s@x", "", "done", "", AT, due=AT - timedelta(days=30))]
    (line,) = run("trace", "o-7", pool=pool_with(steps), terminal=True).out.splitlines()
    assert line == "2026-01-31 12:00:00.000  tick order/o-7.go: no events, due 2026-01-01 12:00:00.000"


def test_how_far_the_reading_is_stands_in_a_line_that_is_gone_before_what_comes_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Read(Pool):
        async def trace(self, *given: Any, progress: Any = None, **options: Any) -> Trace:
            progress(5, 10)
            return await super().trace(*given, progress=progress, **options)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for error, said in ((None, ""), (Unavailable("the server is gone"), "unavailable: the server is gone\n")):
        pool = Read(traced=Trace("o-7", STEPS, Position(0), Position(10), True), error=error)
        assert run("trace", "o-7", pool=pool, terminal=True).err == f"\rread 5 of 10 commits\r\033[K{said}"


def test_it_asks_for_what_the_options_say(run: Run) -> None:
    pool = pool_with()
    run("trace", "o-7", "--since", "2026-01-31T12:00:00Z", "--limit", "5", pool=pool)
    assert pool.asked == [("trace", "o-7", AT, 5, None)]


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("999999999d", timedelta(days=999_999_999)),
        ("2026-01-31T12:00:00Z", AT),
        ("2026-01-31 13:00:00+01:00", AT),
    ],
)
def test_a_beginning_is_a_time_or_how_long_ago(text: str, since: datetime | timedelta) -> None:
    assert read_since(text) == since


@pytest.mark.parametrize(
    "text", ["", "0s", "2", "h", "-1h", "2w", "2026-01-31", "2026-01-31T12:00:00", "9" * 5_000 + "s", "15mx", "015m"]
)
def test_what_is_no_beginning_is_bad_input(text: str, run: Run) -> None:
    with pytest.raises(InvalidCommand, match="since: it is 90s"):
        read_since(text)
    pool = pool_with()
    assert run("trace", "o-7", f"--since={text}", pool=pool).code == 2
    assert pool.asked == []


@pytest.mark.parametrize("given", [("",), ("x" * 129,), ("o-7", "--limit", "0")])
def test_what_is_no_id_or_limit_is_bad_input(given: tuple[str, ...], run: Run) -> None:
    pool = pool_with()
    assert run("trace", *given, pool=pool).code == 2
    assert pool.asked == []

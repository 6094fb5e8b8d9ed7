"""`aether tasks`: what waits, what has failed, and what is done about it."""

import json

import pytest

from aether.ports import TaskBacklog
from aether.runtime.task_notes import GIVEN_UP, TaskNote
from aether.task_view import FailedTask
from tests.support.command_line import Pool, Run, Tasks, runner

WAITING = FailedTask(
    "one",
    TaskNote(
        task="charge", actor="booking/a", attempt=2, attempts=8, error="no", error_type="ConnectionError", at_s=0.5,
        next_s=60.0, token="t", given_back=1, causationid="c1", correlationid="r1",
    ),
)  # fmt: skip
LOST = FailedTask("two", TaskNote(task="mail", actor="order/1", state=GIVEN_UP, attempt=3, attempts=3, error="never"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def test_ls_counts_the_tasks_of_each_name(run: Run) -> None:
    pool = Pool(tasks=Tasks(counts=[TaskBacklog("charge", 3, 2), TaskBacklog("mail", 0, 0)]))
    ran = run("tasks", "ls", pool=pool)
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"task": "charge", "waiting": 3, "taken": 2},
        {"task": "mail", "waiting": 0, "taken": 0},
    ]
    assert run("tasks", "ls", pool=Pool()).code == 0


def test_ls_lists_what_has_failed(run: Run) -> None:
    ran = run("tasks", "ls", "--failed", pool=Pool(tasks=Tasks(notes=[WAITING, LOST])))
    first, second = [json.loads(line) for line in ran.out.splitlines()]
    assert first == {
        "id": "one", "task": "charge", "actor": "booking/a", "state": "waits", "attempt": 2, "attempts": 8,
        "error": "ConnectionError: no", "failed_at": "1970-01-01T00:00:00.500000Z",
        "next_at": "1970-01-01T00:01:00Z",
    }  # fmt: skip
    assert (second["state"], second["error"], second["next_at"]) == ("given up", "never", "")


def test_show_has_what_the_list_leaves_out(run: Run) -> None:
    pool = Pool(tasks=Tasks(notes=[WAITING]))
    shown = json.loads(run("tasks", "show", "one", pool=pool).out)
    assert (shown["given_back"], shown["command_id"], shown["correlation_id"]) == (1, "c1", "r1")
    none = run("tasks", "show", "other", pool=pool)
    assert none.code == 2
    assert "there is no failed task other" in none.err


def test_retry_and_cancel_name_the_task(run: Run) -> None:
    pool = Pool(tasks=Tasks(notes=[WAITING]))
    assert run("tasks", "retry", "one", pool=pool).out == "charge of booking/a is tried again now\n"
    assert (
        run("tasks", "cancel", "three", pool=pool).out
        == "three is cancelled, if it is not done: its actor hears of it from a worker that has the task\n"
    )
    assert pool.tasks.asked == [("retry", "one"), ("cancel", "three")]

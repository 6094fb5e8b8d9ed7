"""`aether inbox`: what waits, what is dead, and what is done about it."""

import json
from dataclasses import replace

import pytest

from aether import ActorId, DeadLetter
from aether.core.inbox_floor import InboxNeed
from aether.errors import ActorFailed
from aether.inbox_needs import InboxContent
from aether.ports import InboxSize
from aether.waiting_tells import WaitingTells
from aether.wire import ErrorBody, instant
from tests.support.command_line import Pool, Run, runner


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def letter(id: int, key: str = "alice") -> DeadLetter:
    error = ActorFailed("deposit failed: ValueError: broken", actor=f"account/{key}")
    return DeadLetter(
        id=id, actor_id=ActorId("account", key), command="deposit", args={"amount": 10}, error=error, failures=10,
        at=instant(0.0), source=ActorId("account", "bob"), command_id="tell:7.0", correlation_id="c1",
    )  # fmt: skip


def waiting(actor: str, failures: int = 0) -> WaitingTells:
    error = ErrorBody("actor_failed", "no") if failures else None
    return WaitingTells(
        actor=actor, shard=3, count=2, first=40, command="deposit", waits_s=1.26, failures=failures, error=error,
        member="node-0",
    )  # fmt: skip


def test_ls_shows_what_waits_and_what_is_dead(run: Run) -> None:
    ran = run("inbox", "ls", pool=Pool(dead=[letter(17)], waiting=[waiting("account/carol", 2), waiting("order/1")]))
    assert ran.code == 0
    first, second, third = [json.loads(line) for line in ran.out.splitlines()]
    assert first == {
        "state": "waiting", "id": 40, "actor": "account/carol", "command": "deposit", "count": 2, "failures": 2,
        "error": "actor_failed: no", "waits_s": 1.3, "shard": 3, "worker": "node-0",
    }  # fmt: skip
    assert (second["actor"], second["error"]) == ("order/1", "")
    assert third == {
        "state": "dead", "id": 17, "actor": "account/alice", "command": "deposit", "count": 1, "failures": 10,
        "error": "actor_failed: deposit failed: ValueError: broken", "at": "1970-01-01T00:00:00Z",
    }  # fmt: skip


def test_ls_of_a_kind_of_an_actor_and_of_dead_letters_only(run: Run) -> None:
    lines = [waiting("account/carol"), waiting("accounts/x"), waiting("account/carolus")]
    pool = Pool(dead=[letter(17)], waiting=lines)
    of_kind = run("inbox", "ls", "account", pool=pool)
    assert [json.loads(line)["actor"] for line in of_kind.out.splitlines()] == [
        "account/carol", "account/carolus", "account/alice",
    ]  # fmt: skip
    of_one = run("inbox", "ls", "account", "carol", pool=pool)
    assert [json.loads(line)["actor"] for line in of_one.out.splitlines()] == ["account/carol", "account/alice"]
    assert pool.asked == [("dead letters", "account", None), ("dead letters", "account", "carol")]
    dead = run("inbox", "ls", "--dead", pool=pool)
    assert [json.loads(line)["state"] for line in dead.out.splitlines()] == ["dead"]
    assert run("inbox", "ls", "no kind!", pool=pool).code == 2


def test_what_is_over_the_limit_is_said(run: Run) -> None:
    pool = Pool(dead=[letter(n) for n in range(1, 6)], waiting=[waiting(f"a/{n}") for n in range(4)], left_out=7)
    ran = run("inbox", "ls", "--limit", "2", pool=pool)
    assert len(ran.out.splitlines()) == 4
    assert "12 more are left out" in ran.err


def test_show(run: Run) -> None:
    pool = Pool(dead=[letter(17)], waiting=[waiting("account/carol", 2)])
    shown = json.loads(run("inbox", "show", "17", pool=pool).out)
    assert shown["args"] == {"amount": 10}
    assert shown["details"]["actor"] == "account/alice"
    assert (shown["source"], shown["command_id"], shown["correlation_id"]) == ("account/bob", "tell:7.0", "c1")
    assert shown["scheduled_for"] is None
    tick = replace(letter(18), scheduled_for=instant(0.0))
    assert json.loads(run("inbox", "show", "18", pool=Pool(dead=[tick])).out)["scheduled_for"] == "1970-01-01T00:00:00Z"
    assert json.loads(run("inbox", "show", "40", pool=pool).out)["state"] == "waiting"
    none = run("inbox", "show", "99", pool=pool)
    assert (none.code, none.out) == (2, "")
    assert "there is no dead letter 99" in none.err


def test_retry_one_or_all_of_a_kind(run: Run) -> None:
    pool = Pool(dead=[letter(17), letter(18), letter(19, "zoe")], gone=[18])
    one = run("inbox", "retry", "17", pool=pool)
    assert one.out == "17 sent again to account/alice as retry:17\n"
    ((_, id, by),) = pool.asked
    assert id == 17
    assert "@" in by
    every = run("inbox", "retry", "--all", "--kind", "account", pool=pool)
    assert every.out.splitlines() == [
        "17 sent again to account/alice as retry:17", "19 sent again to account/zoe as retry:19", "2 sent again",
    ]  # fmt: skip
    assert pool.asked[1] == ("dead letters", "account", None)
    assert every.code == 0


def test_retry_all_goes_on_after_one_that_cannot_be_sent_and_ends_at_its_limit(run: Run) -> None:
    pool = Pool(dead=[letter(n) for n in range(1, 8)], gone=[3], lost=[2])
    ran = run("inbox", "retry", "--all", "--limit", "4", pool=pool)
    assert ran.out.splitlines() == [
        "1 sent again to account/alice as retry:1",
        "2 not sent again: the arguments of 2 were too large to be kept beside its error",
        "4 sent again to account/alice as retry:4",
        "5 sent again to account/alice as retry:5",
        "3 sent again, 1 not sent again, 2 more are left: --limit 4 was reached",
    ]
    assert ran.code == 1
    assert pool.asked[0] == ("dead letters", None, None)
    assert [one[1] for one in pool.asked[1:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", [
    (), ("17", "--all"), ("0",), ("x",), ("--all", "--kind", "no kind!"), ("17", "--kind", "account"),
    ("--kind", "account"), ("--all", "--limit", "0"),
])  # fmt: skip
def test_retry_wants_one_thing(run: Run, wrong: tuple[str, ...]) -> None:
    pool = Pool(dead=[letter(17)])
    assert run("inbox", "retry", *wrong, pool=pool).code == 2
    assert pool.asked == []


def test_drop(run: Run) -> None:
    pool = Pool(dead=[letter(17)])
    assert run("inbox", "drop", "17", pool=pool).out == "dropped deposit of account/alice\n"
    assert run("inbox", "drop", "18", pool=pool).code == 2


def test_purge_says_what_is_not_needed_and_what_keeps_the_rest(run: Run) -> None:
    needs = [
        InboxNeed(40, "a tell to shard 3"),
        InboxNeed(50, "the relay mark of shard 7"),
        InboxNeed(90, "the end of the stream"),
    ]
    ran = run(
        "inbox", "purge", "--dry-run", "--limit", "2", pool=Pool(kept=InboxContent(InboxSize(11, 90, 80, 4_000), needs))
    )
    assert ran.code == 0
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"first": 11, "last": 90, "messages": 80, "bytes": 4_000, "removable": 29},
        {"needed": 40, "before": 29, "for": "a tell to shard 3"},
        {"needed": 50, "before": 39, "for": "the relay mark of shard 7"},
    ]
    assert "1 more are left out" in ran.err


def test_purge_tells_of_many_shards_in_one_line(run: Run) -> None:
    marks = [InboxNeed(1, f"the relay mark of shard {shard}") for shard in range(256)]
    kept = InboxContent(
        InboxSize(1, 9, 9, 400), [*marks, InboxNeed(1, "the start of a task"), InboxNeed(2, marks[0].what)]
    )
    rows = [json.loads(line) for line in run("inbox", "purge", "--dry-run", pool=Pool(kept=kept)).out.splitlines()]
    assert [(row["needed"], row["for"]) for row in rows[1:]] == [
        (1, "the relay mark of shard 0 and 255 more"), (1, "the start of a task"), (2, "the relay mark of shard 0"),
    ]  # fmt: skip


def test_purge_of_an_empty_inbox_and_without_dry_run(run: Run) -> None:
    ran = run("inbox", "purge", "--dry-run", pool=Pool())
    assert json.loads(ran.out.splitlines()[0])["removable"] == 0
    refused = run("inbox", "purge", pool=Pool())
    assert refused.code == 2
    assert "--dry-run" in refused.err


@pytest.mark.parametrize("arguments", [("ls", "acount"), ("ls", "acount", "a"), ("retry", "--all", "--kind", "acount")])
def test_a_kind_without_any_is_one_of_the_model_or_an_error(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("inbox", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "the model has no actor 'acount'; its actors are account" in ran.err


def test_give_up_says_how_many(run: Run) -> None:
    pool = Pool(waiting=[waiting("account/carol", 2)])
    ran = run("inbox", "give-up", "account", "carol", pool=pool)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "2 to account/carol given up; aether inbox ls account shows what becomes a dead letter\n"
    assert run("inbox", "give-up", "account", "carol", "--until", "40", pool=pool).code == 0
    assert pool.asked == [("give up", "account/carol", None), ("give up", "account/carol", 40)]


def test_give_up_where_nothing_waits_is_bad_input(run: Run) -> None:
    ran = run("inbox", "give-up", "account", "alice", pool=Pool())
    assert (ran.code, ran.out) == (2, "")
    assert "nothing waits for account/alice" in ran.err
    ran = run("inbox", "give-up", "account", "alice", "--until", "7", pool=Pool())
    assert "nothing waits for account/alice up to 7" in ran.err
    for wrong in (("Account", "alice"), ("account", ""), ("account", "a", "--until", "0"), ("account",)):
        assert run("inbox", "give-up", *wrong).code == 2


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_what_waits_is_no_dead_letter_and_how_it_becomes_one_is_said(run: Run, command: str) -> None:
    ran = run("inbox", command, "40", pool=Pool(waiting=[waiting("account/carol", 2)]))
    assert (ran.code, ran.out) == (2, "")
    assert "40 is no dead letter: it waits for account/carol; to make it one: aether inbox give-up" in ran.err

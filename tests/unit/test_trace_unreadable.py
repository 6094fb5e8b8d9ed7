"""What cannot be read is a step of its trace, and a row of the page of events: it ends neither."""

import json
import re
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec import Raw
from msgspec.structs import replace

from aether.correlation import TraceStep, mark_of, steps_of
from aether.ids import ActorId, Position
from aether.memory.store import InMemoryEventStore
from aether.ports import StoredCommit
from aether.sends import Send
from aether.tells import Tell
from tests.support.actors import Account
from tests.support.command_line import runner
from tests.support.gateway import Served, served
from tests.support.html_forms import read_page
from tests.unit.test_cli_trace import STEPS, pool_with
from tests.unit.test_correlation import commit, lines, stored, tell

TORN = b'[{"specversion":"1.0","id":"1",%b,"ti' % mark_of("o-7")


def errors(steps: Sequence[TraceStep]) -> list[str]:
    return [one.error for one in steps if one.outcome == "unreadable"]


def test_a_commit_that_cannot_be_read_is_a_step_and_the_others_are_there() -> None:
    found = [
        commit(4, "a", stored(1, "c-1", sends=[tell("b"), tell("c")])),
        StoredCommit(ActorId("order", "b"), Position(5), TORN),
        commit(6, "c", stored(1, "tell:4.1", "c-1", inboxseq="9")),
    ]
    steps = steps_of("o-7", found)
    assert lines(steps) == [
        "call order/a. done Placed@1",
        "  tell order/b.go open",
        "  tell order/c.go done Placed@1",
        "commit order/b. unreadable",
    ]
    assert (steps[3].position, steps[3].time, steps[3].command_id) == (5, None, "")
    assert re.match("the commit of order/b at position 5 cannot be read: ", steps[3].error)


def test_commits_that_cannot_be_read_lead_to_nothing() -> None:
    torn = StoredCommit(ActorId("order", "b"), Position(5), TORN)
    asked = commit(4, "a", replace(stored(1, "ask-1"), causationid=""))
    told_again = commit(6, "a", replace(stored(1, "retry:9"), causationid=""))
    assert [one.depth for one in steps_of("o-7", [asked, torn, told_again])] == [0, 0, 0]


@pytest.mark.parametrize("sends", ['[{"tag":"later"}]', "nothing", '[{"kind":"order","key":"b"}]', "[[]]"])
def test_what_a_command_sent_and_cannot_be_read_is_a_step_below_it(sends: str) -> None:
    found = [
        commit(3, "z", stored(1, "tell:0.0", "c-0", inboxseq="8")),
        commit(
            4, "a",
            stored(1, "c-1", sends=[tell("b")]),
            replace(stored(2, "c-2"), sends=sends),
            stored(3, "c-3"),
            stored(4, "c-4", sends=[tell("d")]),
        ),
        commit(5, "b", stored(1, "tell:4.0", "c-1", inboxseq="9")),
        commit(6, "d", stored(1, "tell:4.2", "c-4", inboxseq="10")),
    ]  # fmt: skip
    steps = steps_of("o-7", found)
    assert lines(steps) == [
        "tell order/z. done Placed@1",
        "call order/a. done Placed@1",
        "  tell order/b.go done Placed@1",
        "call order/a. done Placed@2",
        "  sends order/a. unreadable",
        "call order/a. done Placed@3",
        "call order/a. done Placed@4",
        "  sends order/a. unreadable",
        "tell order/d. done Placed@1",
    ], "a tell is known by its number in the commit, which is not known behind what cannot be read"
    assert all("what the commit of order/a at position 4 sends cannot be read" in one for one in errors(steps))
    assert [one.causation_id for one in steps if one.how == "sends"] == ["c-2", "c-4"]


@pytest.mark.parametrize(("kind", "key"), [("order", ""), ("Order", "b"), ("order", "x" * 201)])
def test_a_tell_to_what_can_be_no_actor_is_a_step_that_cannot_be_read(kind: str, key: str) -> None:
    sends: list[Send] = [Tell(kind=kind, key=key, command="go", args=Raw(b"{}"))]
    steps = steps_of("o-7", [commit(4, "a", stored(1, "c-1", sends=sends))])
    assert lines(steps) == ["call order/a. done Placed@1", "  sends order/a. unreadable"]


def test_the_command_line_shows_it_and_says_so_with_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    torn = steps_of("o-7", [StoredCommit(ActorId("order", "b"), Position(5), TORN)])
    run = runner(capfd)
    ran = run("trace", "o-7", pool=pool_with([*STEPS[:1], *torn]), terminal=True)
    assert ran.code == 1
    assert ran.out.splitlines()[1].strip().startswith("commit order/b: unreadable: the commit of order/b at position 5")
    assert ran.err == "unreadable: 1 of these steps; what belongs below them may be missing or apart\n"
    ran = run("trace", "o-7", pool=pool_with([*STEPS[:1], *torn]), terminal=False)
    assert (ran.code, json.loads(ran.out.splitlines()[1])["outcome"]) == (1, "unreadable")


# ------------------------------------------------------------------------------------------------ pages


@pytest.fixture
async def spoilt(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A pool in whose stream the commits of one actor cannot be read."""

    def torn(commit: StoredCommit) -> StoredCommit:
        if commit.actor_id.key != "spoilt":
            return commit
        return StoredCommit(commit.actor_id, commit.position, commit.payload[:-40])

    search, read = InMemoryEventStore.search_stream, InMemoryEventStore.read_stream

    async def search_torn(
        self: InMemoryEventStore, after: Position, until: Position, having: bytes
    ) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
        async for up_to, commits in search(self, after, until, having):
            yield up_to, [torn(one) for one in commits]

    async def read_torn(
        self: InMemoryEventStore, after: Position, until: Position, *, kind: str | None = None, key: str | None = None
    ) -> AsyncIterator[list[StoredCommit]]:
        async for commits in read(self, after, until, kind=kind, key=key):
            yield [torn(one) for one in commits]

    monkeypatch.setattr(InMemoryEventStore, "search_stream", search_torn)
    monkeypatch.setattr(InMemoryEventStore, "read_stream", read_torn)
    async with served() as it:
        client = it.pool.client.using(correlation_id="w")
        for key in ("a", "spoilt", "b"):
            await client.actor(Account, key).deposit(3)
        yield it


async def test_a_page_of_a_trace_shows_what_cannot_be_read_with_the_rest(spoilt: Served) -> None:
    answer = await spoilt.http.get("/ui/trace?id=w")
    text = read_page(answer.text).text
    assert answer.status_code == 200
    assert "3 steps found" in text
    assert "account/a" in text
    assert "account/b" in text
    assert re.search(r"commit account/spoilt .* unreadable : the commit of account/spoilt at position 2 cannot", text)
    assert "What belongs below a step that cannot be read may be missing or stand apart." in text


async def test_a_client_gets_what_cannot_be_read_as_a_step(spoilt: Served) -> None:
    found = await spoilt.pool.client.trace("w")
    assert [(one.actor_id.key, one.outcome) for one in found.steps] == [
        ("a", "done"),
        ("spoilt", "unreadable"),
        ("b", "done"),
    ]


async def test_the_page_of_events_shows_what_cannot_be_read_with_the_rest(spoilt: Served) -> None:
    answer = await spoilt.http.get("/ui/events")
    text = read_page(answer.text).text
    assert answer.status_code == 200
    assert "account/b" in text
    assert "account/a" in text
    assert re.search("account/spoilt .*unreadable .*the commit of account/spoilt at position 2 cannot be read", text)

"""Links to traces, and the page of an id with white space: a trace of long ago is looked for where it is."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from aether.errors import ActorFailed
from aether.gateway.dashboard import trace_search
from aether.gateway.dashboard.trace_search import BEFORE, since_for
from tests.support.actors import Account
from tests.support.gateway import Served, served
from tests.support.html_forms import Page, read_page
from tests.unit.test_dashboard_letters import Box, Lid, boxes, dead
from tests.unit.test_dashboard_work import Errand, errand_pool, failed


def test_the_trace_of_what_failed_lately_is_read_from_the_usual_time_on() -> None:
    now = datetime.now(UTC)
    for minutes in (0, 10, 49):
        assert since_for(now - timedelta(minutes=minutes)) == ""
    for minutes in (51, 60, 5_000):
        at = now - timedelta(minutes=minutes)
        assert since_for(at) == (at - timedelta(minutes=10)).isoformat()


def trace_links(page: Page) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(address).query) for address, _ in page.links if address.startswith("/ui/trace?")]


async def page_of(one: Served, address: str) -> Page:
    answer = await one.http.get(address)
    assert answer.status_code == 200
    return read_page(answer.text)


async def test_the_trace_of_a_dead_letter_of_long_ago_begins_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with boxes() as one:
        await one.pool.client.using(correlation_id="w").actor(Box, "alice").pass_on("bob", 5)
        (letter,) = await dead(one, 1)
        assert trace_links(await page_of(one, "/ui/dead-letters")) == [{"id": ["w"]}]
        monkeypatch.setattr(trace_search, "TRACE_SINCE", timedelta(0))
        page = await page_of(one, "/ui/dead-letters")
        assert trace_links(page) == [{"id": ["w"], "since": [(letter.at - BEFORE).isoformat()]}]
        address = next(one for one, _ in page.links if one.startswith("/ui/trace?"))
        assert "dead-lettered" in (await page_of(one, address)).text


async def test_a_dead_letter_that_a_client_told_has_a_trace_too() -> None:
    """What is sent again is below it."""
    async with boxes() as one:
        receipt = await one.pool.client.tell(Lid.close, "l")
        await dead(one, 1)
        assert trace_links(await page_of(one, "/ui/dead-letters")) == [{"id": [receipt.command_id]}]


async def test_the_trace_of_a_failure_of_long_ago_begins_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_search, "TRACE_SINCE", timedelta(0))
    async with boxes() as one:
        with pytest.raises(ActorFailed):
            await one.pool.client.using(correlation_id="w").actor(Lid, "l").close()
        (link,) = trace_links(await page_of(one, "/ui/failures"))
        assert link["id"] == ["w"]
        assert (
            timedelta(0) < datetime.now(UTC) - datetime.fromisoformat(link["since"][0]) - BEFORE < timedelta(minutes=5)
        )


async def test_the_trace_of_a_task_that_failed_long_ago_begins_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_search, "TRACE_SINCE", timedelta(0))
    async with errand_pool() as one:
        await one.pool.client.using(correlation_id="w").actor(Errand, "e").fail(1)
        (task,) = await failed(one.pool, lambda found: len(found) == 1)
        (link,) = trace_links(await page_of(one, "/ui/tasks"))
        wanted = datetime.fromtimestamp(task.note.at_s, UTC) - BEFORE
        assert link == {"id": ["w"], "since": [wanted.isoformat()]}


@pytest.mark.parametrize("id", [" w", "w\t", "  w  ", "\u00a0w"])
async def test_an_id_is_looked_for_with_its_white_space_and_a_link_leads_to_that_without(id: str) -> None:
    async with served() as one:
        client = one.pool.client
        await client.using(correlation_id="w").actor(Account, "plain").deposit(3)
        answer = await one.http.get("/ui/trace", params={"id": id, "since": "2h"})
        page = read_page(answer.text)
        assert "1 of 1 commits read: nothing found." in page.text
        assert "which has white space at its ends" in page.text
        assert {"id": ["w"], "since": ["2h"]} in trace_links(page)
        await client.using(correlation_id=id).actor(Account, "spaced").deposit(3)
        page = read_page((await one.http.get("/ui/trace", params={"id": id})).text)
        assert "account/spaced" in page.text
        assert "account/plain" not in page.text
        assert "white space" not in page.text


async def test_an_id_of_white_space_alone_is_an_id() -> None:
    async with served() as one:
        await one.pool.client.using(correlation_id=" ").actor(Account, "a").deposit(3)
        page = read_page((await one.http.get("/ui/trace", params={"id": " "})).text)
        assert "1 of 1 commits read: 1 step found." in page.text
        page = read_page((await one.http.get("/ui/trace", params={"id": "  "})).text)
        assert "nothing found" in page.text
        assert trace_links(page) == []

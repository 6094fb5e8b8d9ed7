"""In a real browser: a tell that was given up is found from the overview, and sent again or dropped by its buttons.

So are tasks that fail tried again, and schedules found.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CONTRAST, browser, chromium, page, reload_until_visible
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.saving import put

MODEL = """
import pathlib
from dataclasses import dataclass

from aether import Actor, Cron, Model, Retry, command, event, task


@dataclass(frozen=True)
class Stamped:
    text: str


@task(retry=Retry(first_s=600, cap_s=600))
def order(what: str) -> None:
    pathlib.Path("ink").read_text()


class Desk(Actor):
    stamps: int = 0

    @command
    def open_up(self, what: str) -> None:
        self.start_task(order(what))
        self.schedule("stamping", Cron("0 0 9 * * *", "Europe/Berlin"), Desk.stamp, self.id.key, "nine o'clock")

    @command
    def stamp(self, text: str) -> None:
        pathlib.Path("ink").read_text()
        self.emit(Stamped(text))

    @event
    def stamped(self, e: Stamped) -> None:
        self.stamps += 1


model = Model("desks", actors=[Desk], tasks=[order])
"""
GATEWAY = re.compile(r"aether\.gateway: serving at (http://\S+) ")
GIVEN_UP = re.compile(r"a tell has failed too often and is given up")


@dataclass
class Desks:
    """A pool with its gateway, where its files are, and a browser."""

    pool: Pool
    url: str
    files: Path
    browser: Browser

    def tell(self, key: str, text: str) -> None:
        self._post(f"{key}/stamp", f'{{"text": "{text}"}}')

    def open_up(self, key: str) -> None:
        self._post(f"{key}/open_up", '{"what": "ink"}')

    def _post(self, to: str, body: str) -> None:
        said = ("Content-Type: application/json", "Prefer: respond-async", "X-Correlation-Id: o-7")
        sent = [*(part for one in said for part in ("-H", one)), "-d", body]
        command = ["curl", "-sSf", "-o", "/dev/null", *sent, f"{self.url}/actors/desk/{to}"]
        subprocess.run(command, check=True, timeout=60)


@pytest.fixture
def desks(own_server: NatsServer, namespace: str, tmp_path: Path) -> Iterator[Desks]:
    chromium()
    put(tmp_path, "desks.py", MODEL)
    options = ("--workers", "1", "--nats", own_server.url, "--namespace", namespace, "--http", "127.0.0.1:0")
    variables = {**os.environ, "AETHER_TELL_ATTEMPTS_MAX": "2"}
    with (
        Pool("desks:model", *options, directory=tmp_path, variables=variables) as pool,
        browser() as opened,
    ):
        yield Desks(pool, pool.wait_for(GATEWAY)[0][1], tmp_path, opened)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_dead_letter_is_sent_again_and_another_is_dropped(desks: Desks, script: bool) -> None:
    desks.tell("front", "first")
    desks.tell("front", "second")
    desks.pool.wait_for(GIVEN_UP, 2)
    with page(desks.browser, desks.url, script=script) as shown:
        shown.goto("/ui/")
        reload_until_visible(shown, shown.get_by_role("link", name="2 dead letters"))  # workers count them every 5 s
        shown.get_by_role("link", name="2 dead letters").click()
        dead = shown.get_by_role("region", name="2 dead letters")
        expect(dead.get_by_role("listitem").first).to_contain_text(
            "desk.stamp to desk/front failed 2 times", use_inner_text=True
        )
        expect(dead.get_by_role("listitem").first).to_contain_text("FileNotFoundError")

        (desks.files / "ink").write_text("blue")
        dead.get_by_role("button", name="Send again").first.click()
        expect(shown.get_by_role("status")).to_contain_text("stamp was sent to desk/front again")
        left = shown.get_by_role("region", name="1 dead letter")
        expect(left.get_by_role("listitem")).to_contain_text('"second"')
        expect(left.get_by_role("button", name="Drop it")).to_be_hidden()
        left.get_by_text("Drop", exact=True).click()
        left.get_by_role("button", name="Drop it").click()
        expect(shown.get_by_role("status")).to_contain_text("stamp to desk/front was dropped")
        expect(shown.get_by_role("region", name="No dead letters")).to_be_visible()

        shown.goto("/ui/actor?kind=desk&key=front")
        reload_until_visible(shown, shown.locator(".history").filter(has_text="Stamped"))
        expect(shown.locator(".changes")).to_contain_text("stamps 0 → 1", use_inner_text=True)


def test_many_are_chosen_and_sent_again_with_the_keyboard_alone(desks: Desks) -> None:
    for key in ("a", "b", "c"):
        desks.tell(key, "text")
    desks.pool.wait_for(GIVEN_UP, 3)
    (desks.files / "ink").write_text("blue")
    with page(desks.browser, desks.url, width=390, script=False) as shown:
        shown.goto("/ui/dead-letters")
        dead = shown.get_by_role("region", name="3 dead letters")
        reload_until_visible(shown, dead)
        expect(dead.get_by_role("button", name="Send all 3 again")).to_be_hidden()
        boxes = dead.get_by_role("checkbox")
        for place in (0, 2):
            boxes.nth(place).focus()
            shown.keyboard.press("Space")
        expect(boxes.nth(1)).not_to_be_checked()
        dead.get_by_role("button", name="Send the chosen ones again").focus()
        shown.keyboard.press("Enter")
        expect(shown.get_by_role("status")).to_contain_text("2 dead letters were sent again.")
        left = shown.get_by_role("region", name="1 dead letter")
        expect(left.get_by_role("listitem")).to_contain_text("desk/b")
        shown.goto("/ui/")
        expect(shown.get_by_role("link", name="1 dead letter")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1200])
def test_it_can_be_read_on_a_phone_and_a_desk(desks: Desks, width: int) -> None:
    key = "k" * 190
    desks.tell(key, "text " * 80)
    desks.open_up(key)
    desks.pool.wait_for(GIVEN_UP)
    for dark in (False, True):
        with page(desks.browser, desks.url, width=width, dark=dark) as shown:
            for address in ("/ui/dead-letters", f"/ui/dead-letters?kind=desk&key={key}"):
                shown.goto(address)
                reload_until_visible(shown, shown.get_by_role("region", name="1 dead letter"))
                shown.get_by_text("Drop", exact=True).click()
                assert shown.evaluate("document.documentElement.scrollWidth") <= width, address
                assert shown.evaluate(CONTRAST) == [], address
            for address, heading in (
                ("/ui/tasks", "1 failed task"),
                ("/ui/schedules", "1 schedule"),
                (f"/ui/actor?kind=desk&key={key}", "Schedules of this actor"),
                (f"/ui/actor?kind=desk&key={key}", "Failed tasks of this actor"),
                ("/ui/trace?id=o-7", "Steps, each before what it led to"),
                ("/ui/board", "Board"),
            ):
                shown.goto(address)
                reload_until_visible(shown, shown.get_by_role("region", name=heading))
                assert shown.evaluate("document.documentElement.scrollWidth") <= width, address
                assert shown.evaluate(CONTRAST) == [], address
            shown.goto("/ui/dead-letters")
            expect(shown.get_by_role("link", name="Dead letters", exact=True)).to_have_attribute("aria-current", "page")


def test_a_task_that_failed_is_tried_again_and_its_schedule_is_shown(desks: Desks) -> None:
    desks.open_up("front")
    with page(desks.browser, desks.url, script=False) as shown:
        shown.goto("/ui/tasks")
        failed = shown.get_by_role("region", name="1 failed task")
        reload_until_visible(shown, failed)
        expect(failed).to_contain_text("order of desk/front: attempt 1 of", use_inner_text=True)
        expect(failed).to_contain_text("FileNotFoundError")
        (desks.files / "ink").write_text("blue")
        failed.get_by_role("button", name="Try again now").click()
        expect(shown.get_by_role("status")).to_contain_text("order of desk/front is tried again now")
        shown.goto("/ui/tasks")
        reload_until_visible(shown, shown.get_by_role("region", name="No failed tasks"))
        shown.goto("/ui/schedules")
        due = shown.get_by_role("region", name="1 schedule")
        expect(due).to_contain_text("0 0 9 * * * in Europe/Berlin")
        due.get_by_role("link", name="desk/front").click()
        expect(shown.get_by_role("region", name="Schedules of this actor")).to_contain_text("stamping")


def test_a_commit_that_cannot_be_read_is_a_row_of_the_living_page_of_events(desks: Desks) -> None:
    told = 'id: 7\nevent: aether.unreadable\ndata: {"actor":"desk/a/b","position":7}\n\n'
    with page(desks.browser, desks.url) as shown:
        shown.route("**/ui/stream?*", lambda route: route.fulfill(content_type="text/event-stream", body=told))
        shown.goto("/ui/events")
        row = shown.get_by_role("row").filter(has_text="the commit of desk/a/b at position 7 cannot be read").first
        expect(row).to_contain_text("unreadable")
        expect(row.get_by_role("link", name="desk/a/b")).to_have_attribute("href", "/ui/actor?kind=desk&key=a%2Fb")

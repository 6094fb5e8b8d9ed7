"""The dashboard in a real browser, over a pool of the flights: what people do with it, and what they see of a kill."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pytest
from playwright.sync_api import Browser, Page, Route, expect

import aether
from aether.gateway.actors import cursor_of
from examples.flights.model import model
from examples.flights.play import for_each, reports_of, send
from examples.flights.source import read_rows
from tests.support.browser import CONTRAST, browser, chromium, page
from tests.support.pool import Pool

GATEWAY = re.compile(r"aether\.gateway: serving at (http://\S+) ")
ROWS = 120
PAGES = (
    ("/ui/", "Overview"),
    ("/ui/actors", "Actors"),
    ("/ui/actors?kind=aircraft", "aircraft"),
    ("/ui/actor?kind=airport&key=JFK", "airport JFK"),
    ("/ui/command?kind=aircraft&key=N1&name=record", "command record"),
    ("/ui/events", "Events"),
    ("/ui/board", "Board"),
    ("/ui/sign-in", "Sign in"),
    ("/ui/actor?kind=nothing&key=x", "Unknown actor"),
)
expect.set_options(timeout=30_000)


@dataclass
class Flights:
    """A pool of the flights with its gateway, and a browser."""

    pool: Pool
    url: str
    browser: Browser

    async def _feed(self, first: int, count: int) -> None:
        nats = (self.pool.data / "nats.url").read_text().strip()
        async with aether.connect(nats, model=model) as client:
            rows = islice(read_rows(first + count), first, None)
            await for_each((one for row in rows for one in reports_of(row)), 20, lambda one: send(client, one, 30))

    def feed(self, first: int, count: int) -> None:
        """Play some rows of the file; a thread of its own, because Playwright has a loop in this one."""
        from threading import Thread  # noqa: PLC0415

        thread = Thread(target=lambda: asyncio.run(self._feed(first, count)))
        thread.start()
        thread.join()


@pytest.fixture(scope="module")
def flights() -> Iterator[Flights]:
    chromium()
    with Pool("examples.flights.model:model", "--workers", "2", "--http", "127.0.0.1:0") as pool, browser() as opened:
        one = Flights(pool, pool.wait_for(GATEWAY)[0][1], opened)
        one.feed(0, ROWS)
        yield one


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_every_page_can_be_read_on_a_phone_and_a_desk(flights: Flights, width: int, dark: bool) -> None:
    with page(flights.browser, flights.url, width=width, dark=dark) as shown:
        for address, heading in PAGES:
            shown.goto(address)
            expect(shown.get_by_role("heading", level=1)).to_have_text(heading)
            expect(shown.get_by_role("main")).to_be_visible()
            assert shown.evaluate("document.documentElement.scrollWidth") <= width, f"{address} scrolls sideways"
            assert shown.evaluate(CONTRAST) == [], address


def test_the_keyboard_is_enough(flights: Flights) -> None:
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/actors")
        shown.keyboard.press("Tab")
        expect(shown.get_by_role("link", name="Skip to the content")).to_be_focused()
        shown.keyboard.press("Enter")
        shown.keyboard.press("Tab")
        expect(shown.get_by_label("Kind")).to_be_focused()
        shown.keyboard.type("airport")
        shown.keyboard.press("Tab")
        shown.keyboard.type("LGA")
        shown.keyboard.press("Enter")
        expect(shown.get_by_role("heading", level=1)).to_have_text("airport LGA")


def test_an_actor_is_found_by_what_its_key_begins_with(flights: Flights) -> None:
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/actors?kind=airport")
        shown.get_by_label("Key begins with").fill("JF")
        shown.get_by_role("button", name="Search").click()
        expect(shown).to_have_url(re.compile("begins=JF"))
        shown.get_by_role("link", name="JFK", exact=True).click()
        expect(shown.get_by_role("heading", level=1)).to_have_text("airport JFK")
        expect(shown.locator(".tree")).to_contain_text("departures")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_search_that_took_too_long_goes_on(flights: Flights, script: bool) -> None:
    """As when the first page had no time to find anything: the script goes on by itself."""
    address = "/ui/actors?kind=airport&begins=JF"
    following = f"{address}&cursor={cursor_of(0, '')}"

    def cut(route: Route) -> None:
        # On a busy machine the page that is cut may be one that goes on by itself without script.
        text = re.sub("<noscript>.*?</noscript>", "", route.fetch().text())
        empty = f"""<section id="found" data-next="{following}"><a href="{following}">Search on</a></section>"""
        route.fulfill(body=re.sub(r'(?s)<section class="card" id="found".*?</section>', empty, text, count=1))

    with page(flights.browser, flights.url, script=script) as shown:
        shown.route(re.compile("begins=JF$"), cut)
        shown.goto(address)
        if not script:  # the pages after the one that was cut short load the next one by themselves
            shown.get_by_role("link", name="Search on").click()
        expect(shown.get_by_role("link", name="JFK", exact=True)).to_be_visible()
        expect(shown).to_have_url(re.compile("cursor="))


def fill(shown: Page, **values: str) -> None:
    for name, value in values.items():
        shown.get_by_label(re.compile(f"^{name}( optional)?$")).fill(value)
    shown.get_by_role("button", name="Send", exact=True).click()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_form_says_what_is_wrong_at_its_field_and_sends_what_is_right(flights: Flights, script: bool) -> None:
    key = f"FORM{script:d}"
    with page(flights.browser, flights.url, script=script) as shown:
        shown.goto(f"/ui/command?kind=aircraft&key={key}&name=record")
        fill(shown, date="2013-01-01", carrier="UA", number="12", origin="jfk", destination="LAX", miles="many")
        miles = shown.get_by_label("miles")
        expect(miles).to_have_attribute("aria-invalid", "true")
        expect(miles).to_have_accessible_description(re.compile("expected integer, got 'many'"))
        fill(shown, miles="2475")
        expect(shown.get_by_label("origin")).to_have_attribute("aria-invalid", "true")
        if script:
            expect(shown.get_by_label("origin")).to_be_focused()
        expect(shown.get_by_label("carrier")).to_have_value("UA")
        fill(shown, origin="JFK", departed_at="2013-01-01T12:00:00Z", arrival_delay_minutes="-3", minutes_in_air="300")
        expect(shown.locator("#outcome")).to_contain_text("Answered")
        expect(shown.locator("#outcome pre")).to_have_text("true")
        shown.get_by_role("link", name=f"aircraft/{key} at version 1").click()
        expect(shown.locator(".history")).to_contain_text("FlightCompleted")
        expect(shown.locator(".changes")).to_contain_text("miles 0 → 2475", use_inner_text=True)


def test_a_slider_goes_through_the_versions(flights: Flights) -> None:
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/actor?kind=airport&key=EWR")
        slider = shown.get_by_role("slider", name="Version")
        latest = int(slider.get_attribute("max") or 0)
        assert latest > 30
        slider.focus()
        shown.keyboard.press("ArrowLeft")
        expect(shown.get_by_role("heading", name=f"State at version {latest - 1}")).to_be_visible()
        expect(slider).to_be_focused()
        shown.keyboard.press("Home")
        expect(shown.get_by_role("heading", name="State at version 0")).to_be_visible()
        expect(shown.locator(".tree li").first).to_have_text(re.compile(r"departures\s+0"))
        shown.keyboard.press("ArrowRight")
        expect(shown.get_by_role("heading", name="State at version 1")).to_be_visible()
        expect(shown.locator(".history li[aria-current=true]")).to_contain_text("0 → 1", use_inner_text=True)
        expect(shown).to_have_url(re.compile("version=1$"))
        shown.reload()
        expect(shown.get_by_role("heading", name="State at version 1")).to_be_visible()


def test_versions_are_links_without_script(flights: Flights) -> None:
    with page(flights.browser, flights.url, script=False) as shown:
        shown.goto("/ui/actor?kind=airport&key=EWR")
        shown.get_by_role("link", name="Earlier events").click()
        shown.get_by_role("link", name="To the beginning").click()
        shown.get_by_role("link", name="One version on").click()
        expect(shown.get_by_role("heading", name="State at version 1")).to_be_visible()


def text_of_first_row(shown: Page) -> str:
    """As `to_have_text` compares it: the text without what a layout puts between cells."""
    return shown.locator("#events tr").first.text_content() or ""


def test_events_are_shown_as_they_are_stored_and_only_those_asked_for(flights: Flights) -> None:
    with page(flights.browser, flights.url) as every, page(flights.browser, flights.url) as some:
        every.goto("/ui/events")
        some.goto("/ui/events?kind=aircraft&type=FlightCompleted")
        for shown in (every, some):
            expect(shown.locator("#stream-state")).to_have_text("live")
        newest = {shown: text_of_first_row(shown) for shown in (every, some)}
        flights.feed(ROWS, 20)
        for shown in (every, some):
            expect(shown.locator("#events tr").first).not_to_have_text(newest[shown])
        expect(every.locator("#events")).to_contain_text("Departed")
        types = set(some.locator("#events tr td:nth-child(4)").all_text_contents())
        assert types == {"FlightCompleted"}
        every.get_by_role("button", name="Pause").click()
        expect(every.locator("#stream-state")).to_have_text("paused")
        first = text_of_first_row(every)
        flights.feed(ROWS + 20, 5)
        expect(every).to_have_title(re.compile(r"^\(\d+\) Events"))
        assert text_of_first_row(every) == first
        every.get_by_role("button", name="Go on").click()
        expect(every.locator("#events tr").first).not_to_have_text(first)


def test_another_sites_page_sends_no_command(flights: Flights) -> None:
    other = flights.url.replace("127.0.0.1", "localhost")
    with page(flights.browser, flights.url, errors=False) as shown:
        shown.goto(f"{other}/healthz")
        shown.evaluate(
            """(action) => {
              const form = document.createElement("form");
              form.method = "post";
              form.action = action;
              for (const [name, value] of Object.entries({"/flight/date": "2013-01-01", "/flight/carrier": "UA",
                "/flight/number": "1", "/flight/origin": "JFK", "/flight/destination": "LAX", "/flight/miles": "1"})) {
                const field = form.appendChild(document.createElement("input"));
                field.name = name;
                field.value = value;
              }
              document.body.append(form);
              form.submit();
            }""",
            f"{flights.url}/ui/command?kind=aircraft&key=VICTIM&name=record",
        )
        expect(shown.locator("body")).to_contain_text("pages of other origins may send nothing here")
        shown.goto("/ui/actor?kind=aircraft&key=VICTIM")
        expect(shown.get_by_role("main")).to_contain_text("This actor has no events yet")


def test_a_killed_worker_is_seen_while_the_page_is_open(flights: Flights) -> None:
    workers = flights.pool.worker_pids(2)
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/")
        table = shown.get_by_role("table", name="Workers")
        expect(shown.get_by_role("status")).to_have_text("2 of 2 workers serve, every shard has a worker")
        expect(table).to_contain_text(str(workers[0]))
        os.kill(workers[0], signal.SIGKILL)
        replaced = flights.pool.worker_pids(3)[0]
        assert replaced != workers[0]
        expect(table).to_contain_text(str(replaced))
        expect(table).not_to_contain_text(str(workers[0]))
        expect(shown.get_by_role("status")).to_have_text("2 of 2 workers serve, every shard has a worker")
        expect(shown.get_by_role("img", name=re.compile("Ring of 256 shards: all held"))).to_be_visible()
        flights.feed(ROWS + 25, 30)
        expect(shown.get_by_role("row", name=re.compile("^aircraft record"))).to_be_visible()


def test_the_overview_stands_still_when_it_is_paused(flights: Flights) -> None:
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/")
        moment = shown.locator(".when time")
        first = moment.inner_text()
        expect(moment).not_to_have_text(first)
        shown.get_by_role("button", name="Pause").click()
        still = moment.inner_text()
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        shown.wait_for_timeout(4_500)
        assert (moment.inner_text(), asked) == (still, [])


def test_the_board_has_traffic_while_it_is_open(flights: Flights) -> None:
    with page(flights.browser, flights.url) as shown:
        shown.goto("/ui/board")
        expect(shown.get_by_role("button", name="Pause")).to_be_visible()
        flights.feed(ROWS + 60, 20)
        expect(shown.locator(".board svg")).to_contain_text(re.compile(r"\d/s"))

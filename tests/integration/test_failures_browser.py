"""In a real browser, with the dashboard alone: from "something fails" to the actor and the line of code."""

import re
import subprocess
import sys
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
from dataclasses import dataclass

from aether import Actor, Model, Rejected, command, event


@dataclass(frozen=True)
class Shared:
    each: int


class Pot(Actor):
    guests: int = 0
    each: int = 0

    @command
    def share(self, cents: int) -> int:
        if cents < 0:
            raise Rejected("there is no debt to share")
        self.emit(Shared(int(cents / len(self.id.key.split("-")[1]))))
        return self.each

    @event
    def shared(self, e: Shared) -> None:
        self.each = e.each


model = Model("pots", actors=[Pot])
"""
GATEWAY = re.compile(r"aether\.gateway: serving at (http://\S+) ")


@dataclass
class Pots:
    """A pool with its gateway, and a browser."""

    pool: Pool
    url: str
    browser: Browser

    def share(self, key: str, cents: int) -> int:
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{self.url}/actors/pot/{key}/share"]
        sent = ["-H", "Content-Type: application/json", "-d", f'{{"cents": {cents}}}']
        return int(subprocess.run([*command, *sent], capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.fixture
def pots(own_server: NatsServer, namespace: str, tmp_path: Path) -> Iterator[Pots]:
    chromium()
    put(tmp_path, "pots.py", MODEL)
    options = ("--workers", "2", "--nats", own_server.url, "--namespace", namespace, "--http", "127.0.0.1:0")
    with Pool("pots:model", *options, directory=tmp_path) as pool, browser() as opened:
        yield Pots(pool, pool.wait_for(GATEWAY)[0][1], opened)


def test_which_actor_fails_and_why_is_found_from_the_overview(pots: Pots) -> None:
    assert [pots.share(f"table-{number}ab", 100) for number in range(20)] == [200] * 20
    with page(pots.browser, pots.url) as shown:
        shown.goto("/ui/")
        expect(shown.get_by_role("heading", name="Recent failures")).to_have_count(0)

        assert [pots.share("table-", 100) for _ in range(3)] == [500] * 3, "nobody sits there"
        failing = shown.get_by_role("region", name="Recent failures")  # it comes without a reload
        expect(failing).to_contain_text("pot.share failed 3 times, last")
        expect(failing).to_contain_text("ZeroDivisionError: division by zero")
        expect(shown.locator("#summary")).to_contain_text("pot.share failed in the last minute")
        assert shown.evaluate(CONTRAST) == []

        failing.get_by_role("link", name="pot/table-", exact=True).click()
        expect(shown.get_by_role("heading", level=1)).to_have_text("pot table-")
        here = shown.get_by_role("region", name="Recent failures of this actor")
        reload_until_visible(shown, here)  # a busy pool may not say them in time, as the page then says
        expect(here).to_contain_text(re.compile(r"pots\.py:20 in share"))
        here.get_by_role("link", name="All failures").click()

        assert pots.share("table-ab", -5) == 409
        expect(shown).to_have_url(re.compile("/ui/failures$"))
        rejected = shown.get_by_role("region", name="Rejected").filter(has_text="there is no debt to share")
        reload_until_visible(shown, rejected)  # what was read last may be a second old
        expect(shown.get_by_role("link", name="Failures", exact=True)).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("width", [390, 1200])
def test_it_can_be_read_on_a_phone_and_without_script(pots: Pots, width: int) -> None:
    assert pots.share("table-", 100) == 500
    for dark in (False, True):
        with page(pots.browser, pots.url, width=width, dark=dark, script=False) as shown:
            for address in ("/ui/", "/ui/failures", "/ui/actor?kind=pot&key=table-"):
                shown.goto(address)
                reload_until_visible(shown, shown.get_by_role("main").filter(has_text="ZeroDivisionError"))
        with page(pots.browser, pots.url, width=width, dark=dark) as shown:
            shown.goto("/ui/failures")
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert shown.evaluate(CONTRAST) == []


def test_the_terminal_says_it_too(pots: Pots, own_server: NatsServer, namespace: str) -> None:
    assert pots.share("table-", 100) == 500
    command = [sys.executable, "-P", "-m", "aether.cli", "top", "--once", "--nats", own_server.url]
    done = subprocess.run(
        [*command, "--namespace", namespace], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert re.search(
        r'"failures":\[\{"kind":"pot","command":"share","outcome":"failed","error":"ZeroDivisionError"', done
    )

"""Pictures of the dashboard for the documentation: `scripts/screenshots`.

A pool of four workers with its own server, which real flights are played into while the pictures are made.
"""

import asyncio
import re
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import aether
from examples.flights.model import model
from examples.flights.play import for_each, reports_of, send
from examples.flights.source import read_rows, tail_number
from tests.support.browser import browser, page
from tests.support.pool import Pool

IMAGES = Path(__file__).parents[1] / "docs" / "images"
GATEWAY = re.compile(r"aether\.gateway: serving at (http://\S+) ")
ROWS_BEFORE = 2_000
ROWS_AT_ONCE = 25
BUSY_S = 45.0
"""How long the overview is looked at before its picture is made, seconds: its charts fill while it is."""

PICTURES = (
    ("dashboard-actor", "/ui/actor?kind=aircraft&key={busiest}&version=3", 900),
    ("dashboard-command", "/ui/command?kind=aircraft&key={busiest}&name=record", 900),
    ("dashboard-events", "/ui/events", 700),
    ("dashboard-board", "/ui/board", 760),
)


def main() -> None:
    """Make them all."""
    IMAGES.mkdir(exist_ok=True)
    fed, stop = threading.Event(), threading.Event()
    tails = Counter(tail_number(row) for row in read_rows(ROWS_BEFORE))
    busiest = next(tail for tail, _ in tails.most_common() if tail)
    with Pool("examples.flights.model:model", "--workers", "4", "--http", "127.0.0.1:0") as pool, browser() as opened:
        url = pool.wait_for(GATEWAY)[0][1]
        nats = (pool.data / "nats.url").read_text().strip()
        playing = threading.Thread(target=lambda: asyncio.run(_play(nats, fed, stop)))
        playing.start()
        try:
            fed.wait()
            for dark in (False, True):
                with page(opened, url, width=1_200, dark=dark) as shown:
                    shown.goto("/ui/")
                    shown.wait_for_timeout(BUSY_S * 1_000)
                    shown.screenshot(path=IMAGES / f"dashboard{'-dark' if dark else ''}.png", full_page=True)
            for name, address, height in PICTURES:
                with page(opened, url, width=1_200) as shown:
                    shown.goto(address.format(busiest=busiest))
                    shown.wait_for_timeout(3_000)
                    shown.set_viewport_size({"width": 1_200, "height": height})
                    shown.screenshot(path=IMAGES / f"{name}.png")
        finally:
            stop.set()
            playing.join()


async def _play(nats: str, fed: threading.Event, stop: threading.Event) -> None:
    """Play flights until it is told to stop: many at first, then some each half second."""
    async with aether.connect(nats, model=model) as client:
        rows = iter(read_rows(300_000))
        first = list(islice(rows, ROWS_BEFORE))
        await for_each((one for row in first for one in reports_of(row)), 100, lambda one: send(client, one, 30))
        fed.set()
        while not stop.is_set():
            some = list(islice(rows, ROWS_AT_ONCE))
            await for_each((one for row in some for one in reports_of(row)), 10, lambda one: send(client, one, 30))
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()

"""A real browser for tests: Debian's chromium, driven by Playwright. What a page does wrong fails the test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

WAIT_MS = 30_000

CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const linear = (one) => one <= .03928 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((one) => linear(one / 255));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const back = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = rgb(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || element.closest("svg, [aria-hidden=true], .hidden, .skip") || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(style.color)), light(back(element))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) bad.push(`${element.tagName} "${element.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return bad;
}"""
"""Texts of a page whose contrast to what is behind them is below 4.5 to 1."""


def chromium() -> str:
    """Where it is. Skips the test when it is not installed, but for continuous integration, which installs it."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        assert not os.environ.get("CI"), "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]  # a container has neither
        opened = playwright.chromium.launch(executable_path=chromium(), args=options, timeout=60_000)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def page(
    opened: Browser, url: str, *, width: int = 1200, dark: bool = False, script: bool = True, errors: bool = True
) -> Iterator[Page]:
    """A page of its own. What it logs as an error, throws, or asks of another host fails the test at its end."""
    context = opened.new_context(
        base_url=url,
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_MS)
    wrong: list[str] = []

    def logged(message: ConsoleMessage) -> None:
        if message.type == "error" and "status of 4" not in message.text:
            wrong.append(message.text)

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(url).netloc:
            wrong.append(f"it asks {request.url}")

    one = context.new_page()
    one.on("console", logged)
    one.on("pageerror", lambda error: wrong.append(str(error)))
    one.on("request", asked)
    try:
        yield one
    finally:
        context.close()
    assert not (errors and wrong), wrong


def reload_until_visible(shown: Page, wanted: Locator) -> None:
    """Load a page that is not live again until something is on it. `AssertionError` after `WAIT_MS`."""
    until_s = monotonic() + WAIT_MS / 1000
    while not wanted.is_visible():
        assert monotonic() < until_s, f"{shown.url} never showed {wanted}: {shown.get_by_role('main').inner_text()}"
        shown.reload()

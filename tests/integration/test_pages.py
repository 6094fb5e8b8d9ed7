"""Every page of the documentation, read as a stranger would: what it says to do is done, what it shows is compared."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.nats_cluster import NatsCluster
from tests.support.pages import NODES, Reader, blocks, matches

DOCS = Path(__file__).parents[2] / "docs"
README = "../README.md"
NEEDS_CLUSTER = "<!-- needs: cluster -->"
GENERATED = {"reference/cli.md"}
"""Their examples are parsed by a test of their own."""

PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
WITH_CODE = [name for name in PAGES if any(block.language in ("python", "console") for block in blocks(DOCS / name))]
ALONE = [name for name in WITH_CODE if NEEDS_CLUSTER not in (DOCS / name).read_text()]


def test_there_are_pages_with_code() -> None:
    assert {"start.md", "how-to/testing.md", "how-to/other-languages.md"} <= set(ALONE)


@pytest.mark.parametrize("name", [*ALONE, README])
def test_what_a_page_says_works(name: str, tmp_path: Path) -> None:
    with Reader(DOCS / name, tmp_path) as reader:
        reader.follow()


def test_the_actor_of_the_readme_is_short() -> None:
    actor = blocks(DOCS / README)[0].text
    lines = [line for line in actor.splitlines() if line.strip() and not line.startswith("#")]
    assert "class Account(Actor)" in actor
    assert len(lines) <= 20


async def test_what_the_page_about_clusters_says_works(tmp_path: Path) -> None:
    (name,) = set(WITH_CODE) - set(ALONE)
    async with NatsCluster() as cluster:
        await cluster.ready()

        def follow() -> None:
            with Reader(DOCS / name, tmp_path, {NODES: cluster.url}) as reader:
                reader.follow()

        await asyncio.to_thread(follow)


@pytest.mark.parametrize("name", [*PAGES, README])
def test_no_command_of_aether_is_in_a_block_that_is_not_run(name: str) -> None:
    if name in GENERATED:
        return
    unread = [block for block in blocks(DOCS / name) if block.language not in ("python", "console")]
    assert [block.text for block in unread if re.search(r"^(\$ )?aether ", block.text, re.MULTILINE)] == []


def test_output_is_compared_but_for_what_is_left_out() -> None:
    assert matches("a ... c\n...\nz\n", "a b c\nd\ne\nz")
    assert not matches("a ... c\n", "a b d")
    assert not matches("10\n", "100\n")
    assert matches("", "")
    assert not matches("", "something")


def test_a_page_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    wrong = {
        "```python\n# test_it.py\ndef test_it() -> None:\n    assert 1 == 2\n```\n": "assert 1 == 2",
        "```python\n# script.py\nraise SystemExit('no')\n```\n": "no",
        "```python\n# script.py\nprint(1)\n```\n```console\n$ python script.py\n2\n```\n": "expected:\n2",
        "```python\nprint('nameless')\n```\n": "file's name",
    }
    for text, said in wrong.items():
        page.write_text(text)
        with pytest.raises(AssertionError, match=said), Reader(page, tmp_path) as reader:
            reader.follow()

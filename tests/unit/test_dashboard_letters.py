"""The dashboard's page of dead letters: what it shows to whom, what its forms do, and that it stays small."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from msgspec import Raw
from msgspec.structs import replace
from starlette.requests import Request

from aether import Actor, DeadLetter, Model, Rejected, command, event, query
from aether.config import RuntimeConfig
from aether.dead_letters import decode_row, encode_row
from aether.gateway.access import Access, ByFunction, ByToken, Role
from aether.gateway.dashboard import letter_pages, numbers
from aether.ids import ActorId
from aether.names import shard_of
from aether.tells import Tell, encode_tell
from aether.testing import local_pool
from aether.testing.pool import SHARDS
from tests.support.gateway import Served, running
from tests.support.html_forms import Page, read_page

WHY = "password=<hunter2>"
BROKEN = [True]


@dataclass(frozen=True)
class Put:
    """So much more."""

    amount: int


class Box(Actor):
    """What somebody keeps."""

    total: int = 0

    @command
    def put(self, amount: int, note: str = "") -> None:
        if BROKEN[0]:
            raise ValueError(WHY)
        self.emit(Put(amount))

    @command
    def refuse(self) -> None:
        raise Rejected("it is full")

    @command
    def pass_on(self, to: str, amount: int) -> None:
        self.tell(Box.put, to, amount)

    @query
    def content(self) -> int:
        return self.total

    @event
    def on_put(self, e: Put) -> None:
        self.total += e.amount


class Lid(Actor):
    """Another kind."""

    @command
    def close(self) -> None:
        raise ValueError("broken")


MODEL = Model("boxes", actors=[Box, Lid])
QUICK = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.02)
PATIENT = RuntimeConfig(tell_attempts_max=9, tell_retry_first_s=0.01, tell_retry_max_s=60)
TOKENS = ByToken({name[0] * 20: (role, name) for name, role in
                  (("reader", Role.READ), ("caller", Role.CALL), ("admin", Role.ADMIN))})  # fmt: skip


@asynccontextmanager
async def boxes(config: RuntimeConfig = QUICK, access: Access | None = None) -> AsyncIterator[Served]:
    BROKEN[0] = True
    async with local_pool(MODEL, config=config) as pool, running(pool, MODEL, access=access) as one:
        yield one


async def dead(one: Served, count: int) -> list[DeadLetter]:
    async with asyncio.timeout(10):
        while len(found := [letter async for letter in one.pool.client.dead_letters()]) != count:  # noqa: ASYNC110 - it progresses
            await asyncio.sleep(0.005)
    return found


async def shown(one: Served, address: str = "/ui/dead-letters", token: str = "") -> tuple[Page, str]:
    answer = await one.http.get(address, headers={"Authorization": f"Bearer {token * 20}"} if token else {})
    assert answer.status_code == 200, answer.text
    return read_page(answer.text), answer.text


async def send(one: Served, do: str, id: int | str, token: str = "", **headers: str) -> httpx2.Response:
    own = {"Origin": one.url} | headers | ({"Authorization": f"Bearer {token * 20}"} if token else {})
    return await one.http.post("/ui/dead-letters", data={"id": str(id), "do": do}, headers=own)


async def test_a_dead_letter_is_shown_with_why_and_sent_again_by_its_form(caplog: pytest.LogCaptureFixture) -> None:
    async with boxes() as one:
        await one.pool.client.actor(Box, "alice").pass_on("bob & <co>", 5)
        (letter,) = await dead(one, 1)
        page, text = await shown(one)
        assert "1 dead letter box.put to box/bob & <co> failed 2 times , given up" in page.text
        assert f"actor_failed: put failed: ValueError: {WHY}" in page.text
        assert 'arguments {"amount":5}' in page.text.replace(": ", ":")
        assert "told by box/alice" in page.text
        assert "/ui/actor?kind=box&key=bob+%26+%3Cco%3E" in [address for address, _ in page.links]
        assert "<hunter2>" not in text, "it is escaped"
        form = page.form("dead-letters")
        assert form.buttons == {"do": ["retry", "drop"]}

        BROKEN[0] = False
        with caplog.at_level(logging.INFO, "aether.inbox"):
            answer = await one.http.post(form.action, data={**form.fields, "do": "retry"}, headers={"Origin": one.url})
        assert answer.status_code == 200
        after = read_page(answer.text).text
        assert f"put was sent to box/bob & <co> again, as the command retry:{letter.id}." in after
        assert "No dead letters No tell was given up." in after
        assert [record.__dict__["by"] for record in caplog.records if "sent again" in record.message] == ["@dashboard"]
        async with asyncio.timeout(10):
            while await one.pool.client.actor(Box, "bob & <co>").content() != 5:  # noqa: ASYNC110 - it progresses
                await asyncio.sleep(0.005)
        again = await send(one, "retry", letter.id)
        assert again.status_code == 422
        assert f"there is no dead letter {letter.id} any more: it was sent again" in again.text


async def many(one: Served, names: str) -> list[DeadLetter]:
    for key in names:
        await one.pool.client.tell(Box.put, key, 5)
    return await dead(one, len(names))


async def send_many(one: Served, do: str, token: str = "", query: str = "", **fields: str) -> httpx2.Response:
    own = {"Origin": one.url} | ({"Authorization": f"Bearer {token * 20}"} if token else {})
    return await one.http.post(f"/ui/dead-letters{query}", data={"do": do, **fields}, headers=own)


async def content(one: Served, key: str) -> int:
    found: int = await one.pool.client.actor(Box, key).content()
    return found


async def test_all_are_sent_again_by_one_form() -> None:
    async with boxes() as one:
        await many(one, "abc")
        BROKEN[0] = False
        page, _ = await shown(one)
        form = next(form for form in page.forms if form.buttons == {"do": ["retry-all"]})
        assert "Send all 3 again" in page.text
        answer = await one.http.post(form.action, data={**form.fields, "do": "retry-all"}, headers={"Origin": one.url})
        after = read_page(answer.text).text
        assert "3 dead letters were sent again. " in after
        assert "No dead letters" in after
        assert await dead(one, 0) == []
        async with asyncio.timeout(10):
            while [await content(one, key) for key in "abc"] != [5, 5, 5]:  # noqa: ASYNC110 - it progresses
                await asyncio.sleep(0.005)
        assert "0 dead letters were sent again." in read_page((await send_many(one, "retry-all")).text).text


async def test_those_that_are_chosen_of_a_command_or_of_an_actor_are_sent_again() -> None:
    async with boxes() as one:
        await many(one, "abcd")
        await one.pool.client.tell(Lid.close, "a")
        letters = await dead(one, 5)
        page, _ = await shown(one)
        assert {f"c{letter.id}" for letter in letters} <= page.named
        assert page.named <= page.labels
        chosen = {f"letter-{letter.id}": "on" for letter in letters[1:3]}
        text = read_page((await send_many(one, "retry-chosen", **chosen)).text).text
        assert "2 dead letters were sent again." in text
        BROKEN[0] = False
        text = read_page((await send_many(one, "retry-all", of="lid.close")).text).text
        assert "1 dead letter was sent again." in text
        text = read_page((await send_many(one, "retry-all", query="?kind=box&key=a")).text).text
        assert "1 dead letter was sent again." in text
        for fields, why in (({}, "no dead letter is chosen"), ({"letter-x": "on"}, "is a whole number")):
            wrong = await send_many(one, "retry-chosen", **fields)
            assert wrong.status_code == 422
            assert why in wrong.text


async def test_one_form_sends_no_more_than_its_most_and_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_pages, "RETRY_MAX", 2)
    async with boxes() as one:
        letters = await many(one, "abcd")
        BROKEN[0] = False
        inbox = one.pool.client.untyped._node.inbox
        stored = await inbox.dead_letter(letters[1].id)
        assert stored is not None
        row = decode_row(stored.payload)
        assert row is not None
        await inbox.write_dead_letter(letters[1].id, encode_row(replace(row, args_left_out=True)), stored.sequence)
        text = read_page((await send_many(one, "retry-all")).text).text
        said = "1 dead letter was sent again. 1 could not be: they are listed below; send one alone to see why."
        assert f"{said} 2 more are left: press again." in text
        assert [letter.id for letter in await dead(one, 3)] == [letter.id for letter in letters[1:]]


async def test_many_are_sent_again_by_whom_may_send_one_again() -> None:
    async with boxes(access=TOKENS) as one:
        letters = await many(one, "ab")
        assert (await send_many(one, "retry-all", "r")).status_code == 403
        assert await dead(one, 2) == letters
        assert "Send many again" not in (await shown(one, token="r"))[0].text
        assert "2 dead letters were sent again." in read_page((await send_many(one, "retry-all", "c")).text).text


async def test_a_function_may_allow_some_of_many() -> None:
    only = ByFunction(lambda request, kind, key, command: command != "put" or key == "b")
    async with boxes(access=only) as one:
        await many(one, "abc")
        text = read_page((await send_many(one, "retry-all")).text).text
        assert "1 dead letter was sent again. 2 could not be" in text


async def test_the_overview_agrees_with_the_page_that_one_comes_from() -> None:
    async with boxes() as one:
        letters = await many(one, "ab")
        await shown(one)
        assert "2 dead letters : tells" in (await shown(one, "/ui/"))[0].text
        BROKEN[0] = False
        await send(one, "drop", letters[0].id)
        assert "1 dead letter : tells" in (await shown(one, "/ui/"))[0].text
        await shown(one, "/ui/dead-letters?kind=lid")
        assert "1 dead letter : tells" in (await shown(one, "/ui/overview"))[0].text
        await send(one, "retry", letters[1].id)
        assert "dead letter" not in (await shown(one, "/ui/overview"))[0].text


async def test_one_that_is_dropped_leaves_the_list_and_runs_no_more() -> None:
    async with boxes() as one:
        await one.pool.client.tell(Box.put, "bob", 5)
        (letter,) = await dead(one, 1)
        BROKEN[0] = False
        answer = await send(one, "drop", letter.id)
        assert "put to box/bob was dropped. The actor's history keeps it." in read_page(answer.text).text
        assert await dead(one, 0) == []
        assert await one.pool.client.actor(Box, "bob").content() == 0


@pytest.mark.parametrize(("do", "id", "why"), [
    ("keep", "1", "it is retry, retry-all, retry-chosen or drop, not"),
    ("retry", "-1", "the id of a dead letter is a whole number from 1"),
    ("retry", "", "the id of a dead letter is a whole number from 1"),
    ("retry", "0", "the id of a dead letter is a whole number from 1"),
    ("drop", "999", "there is no dead letter 999"),
])  # fmt: skip
async def test_a_form_that_makes_no_sense_is_refused(do: str, id: str, why: str) -> None:
    async with boxes() as one:
        answer = await send(one, do, id)
        assert answer.status_code == 422
        assert why in read_page(answer.text).text


async def test_one_whose_arguments_were_not_kept_is_not_sent_again_and_can_be_dropped() -> None:
    async with boxes() as one:
        await one.pool.client.tell(Box.put, "bob", 5)
        (letter,) = await dead(one, 1)
        inbox = one.pool.client.untyped._node.inbox
        stored = await inbox.dead_letter(letter.id)
        assert stored is not None
        row = decode_row(stored.payload)
        assert row is not None
        await inbox.write_dead_letter(letter.id, encode_row(replace(row, args_left_out=True)), stored.sequence)
        refused = read_page((await send(one, "retry", letter.id)).text).text
        assert f"the arguments of {letter.id} were too large to be kept" in refused
        assert "1 dead letter box.put" in refused
        assert (await send(one, "drop", letter.id)).status_code == 200
        assert await dead(one, 0) == []


async def test_another_sites_page_sends_nothing_again() -> None:
    async with boxes() as one:
        await one.pool.client.tell(Box.put, "bob", 5)
        (letter,) = await dead(one, 1)
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await send(one, "drop", letter.id, **headers)).status_code == 403
        assert await dead(one, 1) == [letter]


async def test_each_role_sees_and_does_what_it_may() -> None:
    async with boxes(access=TOKENS) as one:
        await one.pool.client.tell(Box.put, "bob", 5)
        (letter,) = await dead(one, 1)
        for token, sees, buttons in (("r", False, []), ("c", False, ["retry"]), ("a", True, ["retry", "drop"])):
            page, text = await shown(one, token=token)
            found = [button for form in page.forms for button in form.buttons.get("do", [])]
            assert "box.put" in page.text
            assert (("hunter2" in text), found) == (sees, buttons), token
        for token, do in (("r", "retry"), ("r", "drop"), ("c", "drop")):
            assert (await send(one, do, letter.id, token)).status_code == 403, (token, do)
        assert await dead(one, 1) == [letter]
        assert (await send(one, "retry", letter.id, "c")).status_code == 200


async def test_a_function_is_asked_for_the_command_that_is_sent_again() -> None:
    asked: list[tuple[str, str, str]] = []

    def authorize(request: Request, kind: str, key: str, command: str) -> bool:
        asked.append((kind, key, command))
        return kind != "lid" and command not in ("put", "aether.errors")

    async with boxes(access=ByFunction(authorize)) as one:
        await one.pool.client.tell(Box.put, "bob", 5)
        await one.pool.client.tell(Lid.close, "pot")
        letters = {letter.actor_id.kind: letter for letter in await dead(one, 2)}
        page, text = await shown(one)
        assert "1 dead letter box.put" in page.text
        assert "lid" not in text, "a kind that this visitor may not see"
        assert [form.buttons for form in page.forms] == [{"do": ["drop"]}]
        assert (await send(one, "retry", letters["box"].id)).status_code == 403
        assert (await send(one, "drop", letters["lid"].id)).status_code == 403
        assert ("box", "bob", "put") in asked
        assert ("lid", "pot", "aether.drop_dead_letter") in asked
        assert len(await dead(one, 2)) == 2


async def test_an_actors_page_and_the_overview_tell_of_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    async with boxes() as one:
        monkeypatch.setattr(letter_pages, "OF_ACTOR_MAX", 1)
        monkeypatch.setattr(numbers, "ASK_AFTER_S", 0.0)
        await one.pool.client.tell(Lid.close, "pot")
        for amount in (5, 6):
            await one.pool.client.tell(Box.put, "bob", amount)
        await dead(one, 3)
        async with asyncio.timeout(20):
            while "3 dead letters : tells that failed" not in (await shown(one, "/ui/overview"))[0].text:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        page, _ = await shown(one, "/ui/actor?kind=box&key=bob")
        assert "Dead letters of this actor box.put failed 2 times" in page.text
        assert "1 more, and what waits" in page.text
        assert "Dead letters of this actor" not in (await shown(one, "/ui/actor?kind=box&key=alice"))[0].text
        own, _ = await shown(one, "/ui/dead-letters?kind=box&key=bob")
        assert "2 dead letters" in own.text
        assert "lid" not in own.text
        all_of, _ = await shown(one)
        assert "3 dead letters box.put 2, lid.close 1" in all_of.text


async def test_what_waits_is_shown_with_its_last_error_to_whom_may_see_it() -> None:
    async with boxes(PATIENT, TOKENS) as one:
        for amount in (5, 6, 7):
            await one.pool.client.tell(Box.put, "bob", amount)
        async with asyncio.timeout(10):
            while not re.search("has failed .* there", (await shown(one, token="a"))[0].text):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        page, text = await shown(one, token="a")
        assert re.search(r"box/bob has 3 waiting; the first, put , came to \S+ .* and has failed .* there", page.text)
        assert "hunter2" in text
        assert "No dead letters" in page.text
        assert "hunter2" not in (await shown(one, token="r"))[1]
        assert "No tell waits" in (await shown(one, "/ui/dead-letters?kind=lid", "a"))[0].text


async def test_a_page_of_many_long_ones_is_small_and_more_goes_on() -> None:
    async with boxes() as one:
        key, note = "\N{CYRILLIC SMALL LETTER ZHE}" * 100, "<'&\"" * 500
        for number in range(60):
            await one.pool.client.tell(Box.put, f"{number:02}{key}"[:101], number, note)
        letters = await dead(one, 60)
        found: list[int] = []
        address, pages = "/ui/dead-letters", 0
        while address:
            page, text = await shown(one, address)
            assert len(text.encode()) < 100_000
            assert "60 dead letters" in page.text
            assert len(page.ids) == len(set(page.ids))
            found += [int(id[1:]) for id in page.ids if re.fullmatch(r"l\d+", id)]
            address = next((link for link, _ in page.links if "after=" in link), "")
            pages += 1
        assert found == [letter.id for letter in letters]
        assert pages > 1


async def test_a_key_of_any_kind_keeps_the_page_whole() -> None:
    async with boxes() as one:
        await one.pool.client.tell(Box.put, "a/b", 5)
        (letter,) = await dead(one, 1)
        assert letter.actor_id == ActorId("box", "a/b")
        page, _ = await shown(one, "/ui/dead-letters?kind=box&key=a%2Fb")
        assert "1 dead letter box.put to box/a/b" in page.text


@pytest.mark.parametrize("field", ["command", "id", "correlationid"])
async def test_texts_of_any_length_that_another_program_told_make_no_page_large(field: str) -> None:
    async with boxes() as one:
        fields: dict[str, Any] = {"command": "put", "id": "a", field: "x" * 900_000}
        tell = Tell(kind="box", key="bob", args=Raw(b'{"amount":2}'), **fields)
        inbox = one.pool.client.untyped._node.inbox
        await inbox.send(shard_of(ActorId("box", "bob"), SHARDS), encode_tell(tell), "a")
        (letter,) = await dead(one, 1)
        assert (letter.correlation_id or "").startswith("a" if field == "command" else "x")
        for address in ("/ui/dead-letters", "/ui/trace?id=a", "/ui/actor?kind=box&key=bob"):
            _, text = await shown(one, address)
            assert len(text) < 20_000, address

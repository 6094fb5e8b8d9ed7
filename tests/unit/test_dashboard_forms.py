"""Forms of commands in the dashboard: every documented type, used as a browser without script uses them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from aether.errors import InvalidCommand
from aether.gateway.dashboard.fields import Given
from aether.gateway.dashboard.forms import Form
from tests.support.every_type import model
from tests.support.gateway import Served, served
from tests.support.html_forms import HtmlForm, Page, read_page

DOCUMENT = model.schema()
ARGS = DOCUMENT["actors"]["shop"]["commands"]["order"]["args"]
URL = "/ui/command?kind=shop&key=s&name=order"

FILLED = {
    "/colour": '"red"', "/price": "12.50", "/at": "2026-11-28T12:00:00.000001+01:00", "/day": "2026-11-28",
    "/raw": "AP8=", "/id": "12345678-1234-5678-1234-567812345678", "/pay/0/number": "007", "/address/street": "Rd",
    "/place/0": "7", "/place/1": "x", "/either": "12", "/count": "3",
}  # fmt: skip
STORED: dict[str, Any] = {
    "colour": "red", "lines": [], "price": "12.50", "at": "2026-11-28T12:00:00.000001+01:00", "day": "2026-11-28",
    "raw": "AP8=", "id": "12345678-1234-5678-1234-567812345678", "pay": {"type": "card", "number": "007"},
    "address": {"street": "Rd", "number": None}, "place": [7, "x"], "by_name": {}, "either": 12, "other": None,
    "remark": None, "first": None, "size": "s", "gift": True, "count": 3,
}  # fmt: skip


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    async with served(model) as it:
        yield it


async def sent(one: Served, form: HtmlForm, expected: int = 200, **pressed: str) -> Page:
    answer = await one.http.post(form.action, data={**form.fields, **pressed}, headers={"Origin": one.url})
    assert answer.status_code == expected, answer.text
    return read_page(answer.text)


async def filled(one: Served) -> HtmlForm:
    form = read_page((await one.http.get(URL)).text).form("command")
    assert FILLED.keys() <= form.fields.keys()
    form.fields |= FILLED
    return form


async def last(one: Served) -> dict[str, Any]:
    value: dict[str, Any] = (await one.http.get("/actors/shop/s/last")).json()["value"]
    return value


async def test_a_form_sends_every_type(one: Served) -> None:
    page = await sent(one, await filled(one))
    assert "Answered" in page.text
    assert await last(one) == STORED


async def test_lists_mappings_and_choices_grow_by_buttons_and_keep_what_was_typed(one: Served) -> None:
    form = await filled(one)
    for list_ in ("/lines", "/lines", "/by_name"):
        page = await sent(one, form, add=list_)
        form = page.form("command")
    assert form.fields["/price"] == "12.50"
    form.fields |= {"/lines/0/item": "tea", "/lines/1/item": "milk", "/lines/1/count": "2", "/by_name/0?key": "a/b",
                    "/by_name/0/item": "sugar", "/pay?choice": "1"}  # fmt: skip
    form = (await sent(one, form, remove="/lines/0")).form("command")
    branches = [text for text in form.fields if text.startswith("/first")]
    assert branches == ["/first?choice"]
    form.fields |= {"/first?choice": "1", "/remark?choice": "1", "/pay/1/amount": "5"}
    form = (await sent(one, form, edit="/first")).form("command")
    form.fields |= {"/first/1/item": "first", "/remark/0": "", "/pay/1/amount": "5"}
    assert (await one.http.get("/actors/shop/s")).json()["version"] == 0, "nothing was sent yet"
    chosen = {name: form.fields[name] for name in form.fields if name.startswith(("/remark", "/first"))}
    page = await sent(one, form)
    line = {"item": "milk", "count": 2, "tags": []}
    found = await last(one)
    assert (found["lines"], found["by_name"]) == ([line], {"a/b": {"item": "sugar", "count": 1, "tags": []}}), chosen
    assert found["pay"] == {"type": "cash", "amount": "5"}
    assert found["first"] == {"item": "first", "count": 1, "tags": []}


async def test_errors_are_shown_at_their_fields_and_nothing_is_sent(one: Served) -> None:
    form = await filled(one)
    form.fields |= {"/price": "cheap", "/day": "", "/place/0": "seven", "/colour": ""}
    page = await sent(one, form, 422)
    assert page.errors.keys() == {"/day", "/place/0", "/colour"}, page.errors
    form.fields |= {"/day": "2026-11-28", "/place/0": "7", "/colour": '"red"'}
    page = await sent(one, form, 422)
    assert page.errors.keys() == {"/price"}, page.errors
    form.fields |= {"/price": "1", "/count": "0"}
    page = await sent(one, form, 422)
    assert page.errors.keys() == {"/count"}, page.errors
    assert page.form("command").fields["/price"] == "1"
    assert (await one.http.get("/actors/shop/s")).json()["version"] == 0


async def test_the_same_form_sent_twice_has_one_effect(one: Served) -> None:
    form = await filled(one)
    await sent(one, form)
    page = await sent(one, form)
    assert "Answered" in page.text
    assert (await one.http.get("/actors/shop/s")).json()["version"] == 1
    again = page.form("command")
    assert again.fields["command_id"] != form.fields["command_id"]
    await sent(one, again)
    assert (await one.http.get("/actors/shop/s")).json()["version"] == 2


def test_an_empty_text_is_no_null_and_no_text_is_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {
            "plain": {"type": "string"},
            "number": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "text": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "left": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "integer"}},
            "any": {},
            "yes": {"type": "boolean", "default": True},
        },
        "required": ["plain", "number", "text"],
    }
    empty = {"/plain": "", "/number": "", "/text?choice": "0", "/text/0": "", "/left": "", "/list?choice": "0"}
    form = Form(schema, {}, Given(empty))
    assert orjson.loads(form.arguments() or b"") == {"plain": "", "number": None, "text": "", "yes": False}
    given = {**empty, "/text?choice": "1", "/list?choice": "1", "/list/1#": "", "/any": '{"a": 1.50}', "/yes": "on"}
    form = Form(schema, {}, Given(given))
    assert orjson.loads(form.arguments() or b"") == {
        "plain": "", "number": None, "text": None, "list": [], "any": {"a": 1.5}, "yes": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field", "text"),
    [
        ("count", "/count", "no"),
        ("address.street", "/address/street", "no"),
        ("place[1]", "/place/1", "no"),
        ("lines[0].item", "/lines", "[0].item: no"),
        ("other_thing", "", "no"),
    ],
)
def test_a_pools_error_is_shown_at_the_nearest_field(path: str, field: str, text: str) -> None:
    form = Form(ARGS, DOCUMENT)
    form.note(InvalidCommand("no", path=path))
    shown = {one.name: one.error for top in form.fields for one in top.all() if one.error}
    assert shown == ({field: text} if field else {})
    assert form.error == ("" if field else "no")


@pytest.mark.parametrize(
    "values",
    [
        {"/lines#": "99999999,0,0,0"},
        {"/lines#": "-1"},
        {"/lines#": "x"},
        {"/pay?choice": "9"},
        {"/pay?choice": "-1"},
        {"/colour": '"green"'},
        {"/colour": "}"},
        {"/by_name#": "0,1", "/by_name/0?key": "a", "/by_name/1?key": "a"},
    ],
)
def test_a_form_that_no_page_made_is_no_error_of_ours(values: dict[str, str]) -> None:
    assert Form(ARGS, DOCUMENT, Given({**FILLED, **values, "/lines#": values.get("/lines#", "")})).fields


def test_a_choice_that_is_none_of_the_choices_is_an_error() -> None:
    form = Form(ARGS, DOCUMENT, Given({**FILLED, "/colour": '"green"'}))
    assert form.arguments() is None
    assert [one.error for one in form.fields if one.name == "/colour"] == ["this is none of the choices"]


def test_a_key_that_is_there_twice_is_an_error() -> None:
    twice = {
        "/by_name#": "0,1",
        "/by_name/0?key": "a",
        "/by_name/1?key": "a",
        "/by_name/0/item": "x",
        "/by_name/1/item": "y",
    }
    form = Form(ARGS, DOCUMENT, Given({**FILLED, **twice}))
    assert form.arguments() is None
    assert [one.error for top in form.fields for one in top.all() if one.error] == ["the key 'a' is there twice"]

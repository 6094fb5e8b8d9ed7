"""The dashboard's pages: what they show, that they load nothing of others, and who may send their forms."""

import re
from collections.abc import AsyncIterator
from html import unescape
from urllib.parse import urlencode

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from aether import Rejected
from aether.errors import Unavailable
from aether.gateway.access import ByToken, Role
from aether.gateway.dashboard import keys, numbers, soon, trace_pages, trace_search
from aether.gateway.dashboard.browser import own_path
from aether.ids import Position
from aether.memory.store import InMemoryEventStore
from aether.ports import StoredCommit
from tests.support.actors import Account, Notebook
from tests.support.gateway import Served, served
from tests.support.html_forms import read_page

PAGES = (
    "/ui/", "/ui/overview", "/ui/actors", "/ui/actors?kind=account", "/ui/actor?kind=account&key=alice",
    "/ui/actor?kind=account&key=alice&version=1", "/ui/command?kind=account&key=alice&name=deposit", "/ui/events",
    "/ui/events?kind=account&key=alice&type=Deposited", "/ui/board", "/ui/sign-in", "/ui/actor?kind=account",
    "/ui/trace", "/ui/trace?id=nothing&since=2h", "/ui/failures", "/ui/dead-letters",
    "/ui/dead-letters?kind=account&key=alice", "/ui/tasks", "/ui/tasks?kind=account&key=alice", "/ui/schedules",
    "/ui/schedules?kind=account&key=alice",
)  # fmt: skip
DEPOSIT = "/ui/command?kind=account&key=alice&name=deposit"


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    async with served() as it:
        await it.pool.client.actor(Account, "alice").deposit_twice(10, 5)
        yield it


@pytest.mark.parametrize("url", PAGES)
async def test_a_page_is_small_and_has_nothing_of_other_hosts_and_no_script_within(one: Served, url: str) -> None:
    answer = await one.http.get(url)
    assert answer.status_code == (422 if url.endswith("kind=account") and "actor?" in url else 200)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert len(answer.content) < 100_000
    page = read_page(answer.text)
    assert page.inline == []
    assert all(address.startswith("/ui/static/") for address in page.loaded)
    assert len(page.ids) == len(set(page.ids)), "ids are there once"
    assert page.named <= page.labels, "every field has a label"
    for address in page.loaded:
        assert (await one.http.get(address)).status_code == 200
    for address, _ in page.links:
        assert not re.match(r"[a-z]+:|//", address), "links stay here"


async def test_a_browser_without_script_loads_what_is_live_again(one: Served) -> None:
    for address in ("/ui/", "/ui/board"):
        assert '<noscript><meta http-equiv="refresh" content="' in (await one.http.get(address)).text, address


async def test_every_link_of_every_page_leads_to_a_page(one: Served) -> None:
    seen, waiting = set(PAGES), list(PAGES)
    while waiting:
        answer = await one.http.get(waiting.pop())
        for address, _ in read_page(answer.text).links:
            if address.startswith("/") and address not in seen:
                seen.add(address)
                waiting.append(address)
                assert (await one.http.get(address)).status_code == 200, address
    assert len(seen) > 20


async def test_an_actors_page_has_state_history_and_what_each_event_changed(one: Served) -> None:
    text = read_page((await one.http.get("/ui/actor?kind=account&key=alice")).text).text
    assert "balance 15 changed" in text
    assert re.search(r"2 Deposited .* balance 10 → 15 deposits 1 → 2 1 Deposited .* balance 0 → 10", text)
    earlier = read_page((await one.http.get("/ui/actor?kind=account&key=alice&version=1")).text).text
    assert "State at version 1" in earlier
    assert "balance 10 changed" in earlier
    first = read_page((await one.http.get("/ui/actor?kind=account&key=alice&version=0")).text).text
    assert "balance 0 " in first
    late = await one.http.get("/ui/actor?kind=account&key=alice&version=3")
    assert late.status_code == 422
    assert "no version 3 yet" in late.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("schedules?skip=-1", "skip : it is a whole number from 0"),
        ("trace?foo=1", "foo : no such query parameter; there are: cursor, id, since"),
        ("trace?id=a&id=b", "id : the query parameter is given twice"),
        ("trace?id=a&since=soon", "since : it is 90s, 15m, 2h or 3d"),
        ("schedules?key=x", "kind : a kind is 1-64 characters"),
    ],
)
async def test_a_page_of_a_problem_names_what_is_wrong(one: Served, address: str, said: str) -> None:
    answer = await one.http.get(f"/ui/{address}")
    assert answer.status_code == 422
    assert said in read_page(answer.text).text


async def test_an_event_has_a_link_to_its_trace(one: Served) -> None:
    client = one.pool.client.using(correlation_id="week 7 & more")
    await client.actor(Account, "bob").deposit(3)
    await client.actor(Account, "carol").deposit_twice(4, 5)
    with pytest.raises(Rejected):
        await client.actor(Account, "bob", command_id="c-9").withdraw(100)
    page = read_page((await one.http.get("/ui/actor?kind=account&key=bob")).text)
    link, *_ = [address for address, _ in page.links if address.startswith("/ui/trace?")]
    answer = await one.http.get(link)
    shown = read_page(answer.text)
    bob, carol = "call account/bob at depth 0", "call account/carol at depth 0"
    assert "4 of 4 commits read: 3 steps found." in shown.text
    wanted = f"{bob} done Deposited 1 .* {carol} done Deposited 1 .* Deposited 2 .* {bob} rejected: insufficient funds"
    assert re.search(f"{wanted}", shown.text)
    assert "alice" not in shown.text
    assert "/ui/actor?kind=account&key=carol&version=2" in {address for address, _ in shown.links}


def _following(page: str) -> str:
    """Where the page's search goes on, for the script, for a reader without it, and for the browser without it."""
    (address,) = re.findall(r'data-next="([^"]+)"', page)
    assert f'<noscript><meta http-equiv="refresh" content="0; url={address}"></noscript>' in page
    assert unescape(address) in {one for one, _ in read_page(page).links}
    return unescape(address)


async def test_a_page_of_a_trace_says_what_it_did_not_read(one: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = one.pool.client.using(correlation_id="w")
    for key in ("b", "c", "d"):
        await client.actor(Account, key).deposit(3)
    text = (await one.http.get("/ui/trace?id=w")).text
    assert "4 of 4 commits read: 3 steps found." in text
    assert "data-next" not in text
    assert 'class="note"' not in text
    monkeypatch.setattr(trace_pages, "STEPS_SHOWN_MAX", 1)
    assert "2 more steps are not shown." in (await one.http.get("/ui/trace?id=w")).text
    monkeypatch.setattr(trace_pages, "COMMITS_MAX", 2)
    text = (await one.http.get("/ui/trace?id=w")).text
    assert "2 of 2 commits read: 1 step found." in text
    assert "This is the limit of this page" in text
    monkeypatch.setattr(trace_pages, "COMMITS_MAX", 20)
    monkeypatch.setattr(trace_search, "FOUND_MAX", 2)
    assert "More commits are not looked for: 2 have" in (await one.http.get("/ui/trace?id=w")).text
    text = (await one.http.get("/ui/trace?id=x&since=3d")).text
    assert "4 of 4 commits read: nothing found." in text
    assert "Nothing that was read has this correlation id. A command that failed" in text
    cursor = trace_search.TraceSearch(Position(0), Position(0), Position(0), Position(0)).cursor()
    for wrong in ("id=w&since=soon", f"id={'x' * 129}", "id=w&cursor=x", "id=w&cursor=W10", f"id=w&cursor={cursor}!"):
        assert (await one.http.get(f"/ui/trace?{wrong}")).status_code == 422


async def test_a_step_of_a_trace_is_shown_as_far_as_a_page_has_room(
    one: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = one.pool.client.using(correlation_id="w")
    await client.actor(Account, "carol").deposit_twice(4, 5)
    with pytest.raises(Rejected):
        await client.actor(Account, "carol", command_id="c-9").withdraw(100)
    monkeypatch.setattr(trace_pages, "EVENTS_SHOWN_MAX", 1)
    monkeypatch.setattr(trace_pages, "TEXT_CHARS_MAX", 5)
    page = read_page((await one.http.get("/ui/trace?id=w")).text)
    assert re.search(r"done Deposited 1 .{,20} 1 more .* rejected: insuf…", page.text)
    assert "/ui/actor?kind=account&key=carol&version=2" in {address for address, _ in page.links}


async def two_at_a_time(
    self: InMemoryEventStore, after: Position, until: Position, having: bytes
) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
    while after < until:
        up_to = Position(min(after + 2, until))
        async for commits in self.read_stream(after, up_to):
            yield commits[-1].position, [commit for commit in commits if having in commit.payload]
        after = up_to


async def test_a_trace_of_large_commits_ends_where_they_are_too_many_bytes(
    one: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = one.pool.client.using(correlation_id="w")
    for key in ("b", "c", "d", "e", "f"):
        await client.actor(Account, key).deposit(3)
    monkeypatch.setattr(InMemoryEventStore, "search_stream", two_at_a_time)
    monkeypatch.setattr(trace_search, "FOUND_BYTES_MAX", 1)
    page = read_page((await one.http.get("/ui/trace?id=w")).text)
    assert "2 of 2 commits read: 1 step found." in page.text
    assert "This is the limit of this page: what was stored later was not read." in page.text


async def test_a_trace_is_found_a_page_at_a_time(one: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page has what those before it found, and any gateway can go on."""
    client, other = one.pool.client.using(correlation_id="w"), one.pool.client.using(correlation_id="v")
    for key in ("b", "c", "d"):
        await client.actor(Account, key).deposit(3)
        await other.actor(Account, key).deposit(3)

    monkeypatch.setattr(InMemoryEventStore, "search_stream", two_at_a_time)
    monkeypatch.setattr(trace_pages, "SEARCH_S", 0.0)
    monkeypatch.setattr(trace_search, "APART_MAX", 2)
    page, found = (await one.http.get("/ui/trace?id=w")).text, []
    while "data-next" in page:
        found.append(len(re.findall('<td class="outcome">', page)))
        assert "commits read so far" in page
        page = (await one.http.get(_following(page))).text
    found.append(len(re.findall('<td class="outcome">', page)))
    assert found[-1] == 3
    assert found == sorted(found)
    assert len(set(found)) > 2, "it fills in"
    assert "7 of 7 commits read: 3 steps found." in page


async def test_a_long_history_comes_in_pages_and_any_version_is_near(one: Served) -> None:
    notebook = one.pool.client.actor(Notebook, "n")
    for number in range(1, 48):
        await notebook.note(f"line {number}")
    for version, first, last in [(47, 28, 47), (28, 28, 47), (27, 8, 27), (8, 8, 27), (7, 1, 7), (1, 1, 7), (0, 1, 7)]:
        text = (await one.http.get(f"/ui/actor?kind=notebook&key=n&version={version}")).text
        shown = [int(found) for found in re.findall(r'<span class="version">(\d+)</span>', text)]
        assert shown == list(range(last, first - 1, -1)), version
        assert ("Earlier events" in text, "Later events" in text) == (first > 1, last < 47), version
        assert f"<ins>&#34;line {last}&#34;</ins>" in text
        state = read_page(text).text
        assert (
            f"[{version - 1}] &quot;line {version}" in text or f'[{version - 1}] "line {version}" changed' in state
        ) is (version > 0)


async def test_a_page_of_a_history_may_begin_within_a_commit(one: Served) -> None:
    account = one.pool.client.actor(Account, "pairs")
    for _ in range(15):
        await account.deposit_twice(1, 2)
    await account.deposit(1)
    text = (await one.http.get("/ui/actor?kind=account&key=pairs")).text
    shown = [int(found) for found in re.findall(r'<span class="version">(\d+)</span>', text)]
    assert shown == list(range(31, 11, -1)), "the first of these is the second event of its commit"
    assert "<del>16</del>" in text
    assert "<ins>18</ins>" in text


@pytest.mark.parametrize("key", ["a/b", "..", "%2F", "🛩 x", "<b>&'\"", "a?b#c", " ", "a+b"])
async def test_every_key_has_a_page(one: Served, key: str) -> None:
    await one.pool.client.actor(Account, key).deposit(7)
    listed = read_page((await one.http.get(f"/ui/actors?{urlencode({'kind': 'account', 'begins': key})}")).text)
    address = f"/ui/actor?{urlencode({'kind': 'account', 'key': key})}"
    assert address in [link for link, _ in listed.links]
    answer = await one.http.get(address)
    assert answer.status_code == 200
    assert "balance 7" in read_page(answer.text).text
    if "<" in key:
        assert key not in answer.text, "it is escaped"


async def test_lists_of_keys_go_on_and_a_beginning_is_searched_for(one: Served) -> None:
    names = {f"x{number:03}" for number in range(150)}
    for name in names:
        await one.pool.client.actor(Account, name).touch()
        await one.pool.client.actor(Account, name).deposit(1)
    found: list[str] = []
    address = "/ui/actors?kind=account&begins=x"
    while address:
        page = read_page((await one.http.get(address)).text)
        found += [link.partition("key=")[2] for link, _ in page.links if "/ui/actor?kind=account&key=" in link]
        address = next((link for link, _ in page.links if "cursor=" in link), "")
    assert sorted(found) == sorted(names)


async def test_a_search_that_is_cut_says_so_and_goes_on(one: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SEARCH_S", 0)
    address = "/ui/actors?kind=account&begins=al"
    pages = 0
    while True:
        text = (await one.http.get(address)).text
        if ">alice</a>" in text:
            break
        pages += 1
        assert "Nothing found yet." in text
        assert "shards looked through so far: there may be more." in text
        following = unescape(re.findall(r'data-next="([^"]+)"', text)[0])
        assert following in [link for link, _ in read_page(text).links], "without script it is a link"
        address = following
    assert pages > 0
    assert "data-next" not in text, "the script stops where something is found"


async def test_an_actors_page_says_what_did_not_come_in_time(one: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "/ui/actor?kind=account&key=alice"
    monkeypatch.setattr(soon, "ACTOR_WAIT_S", 0)
    text = read_page((await one.http.get(address)).text).text
    assert "did not say in time whether this actor has failures or dead letters" in text
    assert "balance 15" in text
    monkeypatch.setattr(soon, "ACTOR_WAIT_S", 30)
    assert "in time" not in (await one.http.get(address)).text


async def test_a_board_without_numbers_says_so(one: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "rates and failures are not known"
    assert said not in (await one.http.get("/ui/board")).text

    async def silent(self: object) -> None:
        raise Unavailable("no server")

    monkeypatch.setattr(numbers.Numbers, "readings", silent)
    answer = await one.http.get("/ui/board")
    assert answer.status_code == 200
    assert answer.text.count(said) == 2, "on the page, and for its script"


async def post(one: Served, headers: dict[str, str], url: str = DEPOSIT, **fields: str) -> httpx2.Response:
    return await one.http.post(url, data={"/amount": "1", **fields}, headers=headers)


async def test_another_sites_page_sends_no_command(one: Served) -> None:
    own = {"Origin": one.url}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": f"https://127.0.0.1:{one.port + 1}"},
        {**own, "Sec-Fetch-Site": "cross-site"},
        {**own, "Sec-Fetch-Site": "same-site"},
        {**own, "Content-Type": "text/plain"},
        {**own, "Content-Type": "multipart/form-data; boundary=x"},
    ):
        refused = await post(one, headers)
        assert refused.status_code in (403, 415), headers
    assert (await one.http.get("/actors/account/alice")).json()["version"] == 2
    assert (await post(one, {**own, "Sec-Fetch-Site": "same-origin"})).status_code == 200
    assert (await one.http.get("/actors/account/alice")).json()["version"] == 3


async def test_an_answer_a_refusal_and_a_failure_are_shown(one: Served) -> None:
    own = {"Origin": one.url}
    withdraw = DEPOSIT.replace("deposit", "withdraw")
    refused = await post(one, own, withdraw, **{"/amount": "1000"})
    assert refused.status_code == 409
    text = read_page(refused.text).text
    assert "insufficient funds" in text
    assert '"balance": 15' in text
    broken = await post(one, own, DEPOSIT.replace("deposit", "deposit_then_break"))
    assert broken.status_code == 500
    assert "ZeroDivisionError" not in broken.text, "what an exception says is for the log"
    asked = await one.http.post("/ui/command?kind=account&key=alice&name=statement", headers=own | FORM)
    assert "15" in read_page(asked.text).text


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOKENS = {"r" * 20: (Role.READ, "reader"), "c" * 20: (Role.CALL, "caller")}


@pytest.fixture
async def guarded() -> AsyncIterator[Served]:
    async with served(access=ByToken(TOKENS)) as it:
        await it.pool.client.actor(Account, "alice").deposit(10)
        yield it


async def sign_in(one: Served, token: str, to: str = "") -> httpx2.Response:
    return await one.http.post("/ui/sign-in", data={"token": token, "to": to}, headers={"Origin": one.url})


async def test_without_a_token_a_page_leads_to_the_sign_in(guarded: Served) -> None:
    answer = await guarded.http.get("/ui/actor?kind=account&key=alice")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/ui/sign-in?to=%2Fui%2Factor%3Fkind%3Daccount%26key%3Dalice"
    for url in ("/ui/overview", "/ui/stream", "/ui/state.json?kind=account&key=alice"):
        refused = await guarded.http.get(url)
        assert refused.status_code in (303, 401), url
        assert "balance" not in refused.text
    wrong = await sign_in(guarded, "x" * 20)
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert (await guarded.http.get("/ui/sign-in")).status_code == 200


async def test_a_sign_in_is_a_cookie_of_these_pages_only(guarded: Served) -> None:
    answer = await sign_in(guarded, "r" * 20, "/ui/actors")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/actors")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("Path=/ui/", "HttpOnly", "SameSite=Strict"))
    assert "signed in as reader" in (await guarded.http.get("/ui/actor?kind=account&key=alice")).text
    assert (await guarded.http.get("/actors/account/alice")).status_code == 401
    out = await guarded.http.post("/ui/sign-out", headers={"Origin": guarded.url})
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await guarded.http.get("/ui/actors")).status_code == 303


async def test_a_reader_sees_forms_of_queries_only_and_sends_no_command(guarded: Served) -> None:
    await sign_in(guarded, "r" * 20)
    own = {"Origin": guarded.url}
    assert "not send it" in (await guarded.http.get(DEPOSIT)).text
    assert (await post(guarded, own)).status_code == 403
    asked = await guarded.http.post("/ui/command?kind=account&key=alice&name=statement", headers=own | FORM)
    assert asked.status_code == 200
    await sign_in(guarded, "c" * 20)
    assert (await post(guarded, own)).status_code == 200
    assert (await guarded.pool.client.state(Account, "alice")).version == 2


async def test_a_stream_of_events_is_under_the_cookies_address(guarded: Served) -> None:
    await sign_in(guarded, "r" * 20)
    async with guarded.http.stream("GET", "/ui/stream?kind=account&after=0") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                assert '"Deposited"' in line
                break


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/ui/",
        "//evil.example/ui/",
        "/\\evil.example",
        "/other",
        "javascript:x",
        "",
        "/ui/\\x",
        "/ui/\r\nX: y",
    ],
)
def test_a_sign_in_goes_on_to_own_pages_only(wanted: str) -> None:
    assert own_path(wanted, "/ui") == "/ui/"
    assert own_path("/ui/actor?kind=a&key=b", "/ui") == "/ui/actor?kind=a&key=b"


async def test_mounted_in_another_application_it_is_below_its_path(guarded: Served) -> None:
    around = Starlette(routes=[Mount("/deep er/pool", app=guarded.gateway)])
    transport = httpx2.ASGITransport(around)
    async with httpx2.AsyncClient(transport=transport, base_url="http://shop.example") as http:
        first = await http.get("/deep%20er/pool/ui/actors")
        assert first.headers["location"].startswith("/deep%20er/pool/ui/sign-in?to=%2Fdeep%2520er%2Fpool%2Fui%2Factors")
        form = read_page((await http.get(first.headers["location"])).text).form("sign-in")
        assert form.action == "/deep%20er/pool/ui/sign-in"
        headers = {"Origin": "http://shop.example"}
        signed = await http.post(form.action, data={**form.fields, "token": "c" * 20}, headers=headers)
        assert signed.headers["location"] == "/deep%20er/pool/ui/actors"
        assert "Path=/deep%20er/pool/ui/;" in signed.headers["set-cookie"]
        page = read_page((await http.get(signed.headers["location"])).text)
        assert all(link.startswith(("/deep%20er/pool/ui/", "#")) for link, _ in page.links)
        for address in page.loaded:
            assert (await http.get(address)).status_code == 200

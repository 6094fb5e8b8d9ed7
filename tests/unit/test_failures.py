"""Which actor fails, and why: what a client hears, and what the dashboard shows to whom."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from starlette.requests import Request

from aether import Actor, ActorFailed, Model, Rejected, Retry, command, event, task
from aether.core.metrics.failures import Failure, FailureGroup
from aether.gateway.access import Access, ByFunction, ByToken, Role
from aether.gateway.dashboard.failure_pages import ago
from aether.testing import LocalPool, local_pool
from tests.support.gateway import Served, served


@dataclass(frozen=True)
class Filled:
    """Water came in."""

    litres: int


@task(retry=Retry(attempts=1))
async def buy_water(tank: str) -> None:
    raise ConnectionError("the waterworks are away")


class Tank(Actor):
    """A tank of water."""

    litres: int = 0

    @command
    def fill(self, litres: int) -> int:
        if litres > 100:
            raise Rejected("it is too small")
        self.emit(Filled(int(litres / (13 - len(self.id.key)))))
        return self.litres

    @command
    async def drain(self) -> None:
        await asyncio.sleep(60)

    @command
    def read_gauge(self) -> str:
        with open("/etc/tank/password=hunter2") as gauge:  # noqa: PTH123 - it fails
            return gauge.read()

    @command
    def order_water(self) -> None:
        self.start_task(buy_water(self.id.key))

    @event
    def filled(self, e: Filled) -> None:
        self.litres += e.litres


model = Model("tanks", actors=[Tank], tasks=[buy_water])
BAD = "thirteen-char"


async def fail(pool: LocalPool, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ActorFailed):
            await pool.client.using(correlation_id="flood").actor(Tank, BAD).fill(5)


async def test_a_client_hears_which_actor_failed_where_and_why() -> None:
    async with local_pool(model) as pool:
        assert await pool.client.failures() == []
        await pool.client.actor(Tank, "good").fill(9)
        await fail(pool, 3)
        (group,) = await pool.client.failures()
        assert (group.kind, group.command, group.outcome, group.error, group.count) == (
            "tank", "fill", "failed", "ZeroDivisionError", 3,
        )  # fmt: skip
        (actor,) = group.actors
        assert (actor.key, actor.count, actor.correlation_id) == (BAD, 3, "flood")
        assert actor.message == "division by zero"
        assert actor.place.startswith(__file__)
        assert actor.place.endswith("in fill")
        assert len(actor.command_id) > 5


async def test_a_deadline_and_a_decided_no_are_told_apart_from_a_bug() -> None:
    async with local_pool(model) as pool:
        with pytest.raises(Rejected):
            await pool.client.actor(Tank, "a").fill(101)
        with pytest.raises(Exception, match="deadline"):
            await pool.client.actor(Tank, "a", deadline_s=0.1).drain()

        async def groups() -> list[FailureGroup]:
            return await pool.client.failures()

        while not (found := await groups()):
            pass
        assert [(one.command, one.outcome) for one in found] == [("drain", "timed_out")]
        metrics = await pool.client.metrics()
        assert [(one.command, one.error, one.actors[0].message) for one in metrics.rejections()] == [
            ("fill", "Rejected", "it is too small")
        ]


@pytest.fixture
async def one() -> AsyncIterator[Served]:
    async with served(model) as it:
        await fail(it.pool, 3)
        yield it


@pytest.mark.parametrize("page", ["/ui/", "/ui/overview", "/ui/failures", f"/ui/actor?kind=tank&key={BAD}"])
async def test_pages_say_which_actor_fails_and_why(one: Served, page: str) -> None:
    text = (await one.http.get(page)).text
    for said in ("tank.fill", "3 times", "ZeroDivisionError: division by zero", "in fill"):
        assert said in text, said
    if "actor" not in page:
        assert f'href="/ui/actor?kind=tank&amp;key={BAD}"' in text


async def test_the_page_of_an_actor_that_did_not_fail_says_nothing_of_it(one: Served) -> None:
    assert "Recent failures" not in (await one.http.get("/ui/actor?kind=tank&key=other")).text


TOKENS = {"r" * 20: (Role.READ, "reader"), "c" * 20: (Role.CALL, "caller"), "a" * 20: (Role.ADMIN, "boss")}


def only_errors_of_none(request: Request, kind: str, key: str, command: str) -> bool:
    return command != "aether.errors"


def no_tanks(request: Request, kind: str, key: str, command: str) -> bool:
    return kind != "tank"


@pytest.mark.parametrize(
    ("access", "token", "sees"),
    [
        (ByToken(TOKENS), "a", True),
        (ByToken(TOKENS), "c", False),
        (ByToken(TOKENS), "r", False),
        (ByFunction(only_errors_of_none), "", False),
        (ByFunction(lambda *_: True), "", True),
    ],
)
async def test_what_an_error_said_is_for_those_who_may_see_everything(access: Access, token: str, sees: bool) -> None:
    async with served(model, access=access) as one:
        with pytest.raises(ActorFailed):
            await one.pool.client.actor(Tank, "t").read_gauge()
        headers = {"Authorization": f"Bearer {token * 20}"} if token else {}
        for page in ("/ui/", "/ui/overview", "/ui/failures", "/ui/actor?kind=tank&key=t"):
            text = (await one.http.get(page, headers=headers)).text
            assert "tank.read_gauge" in text, page
            assert "FileNotFoundError" in text, page
            assert ("hunter2" in text) is sees, page
            assert (".py:" in text) is sees, page
            assert ("role admin" in text) is not sees, page
        answer = await one.http.post("/actors/tank/t/read_gauge", headers=headers, json={})
        assert "hunter2" not in answer.text, "callers never hear it"


async def test_who_may_not_see_a_kind_sees_none_of_its_failures() -> None:
    async with served(model, access=ByFunction(no_tanks)) as one:
        await fail(one.pool)
        for page in ("/ui/", "/ui/failures"):
            text = (await one.http.get(page)).text
            assert BAD not in text
            assert "ZeroDivisionError" not in text


async def test_what_an_error_says_is_text_and_no_markup() -> None:
    async with served(model) as one:
        with pytest.raises(ActorFailed):
            await one.pool.client.actor(Tank, "<b>x</b>12345").fill(5)
        text = (await one.http.get("/ui/failures")).text
        assert "<b>x</b>" not in text
        assert "&lt;b&gt;x" in text


async def test_a_page_stays_small_however_much_fails() -> None:
    async with served(model) as one:
        for worker in one.pool.workers:
            for number in range(400):
                for remembered in (worker.runtime.counters.failures, worker.runtime.counters.rejections):
                    remembered.add(
                        Failure(
                            "tank", f"{number}-" + "<" * 190, f"c{number % 60}", "failed", f"{worker.slot}EEE",
                            "\x01" * 900,
                            "<" * 300, "c" * 128, "d" * 128, 1.7e9 + number,
                        )
                    )  # fmt: skip
        for page in ("/ui/", "/ui/failures"):
            answer = await one.http.get(page)
            assert answer.status_code == 200
            assert len(answer.content) < 100_000, page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-2, "just now"), (0.4, "just now"), (59.9, "59 s ago"), (60, "1 min ago"), (7_300, "2 h ago"),
     (86_400, "1 day ago"), (1e6, "11 days ago")],
)  # fmt: skip
def test_how_long_ago_is_said_in_one_unit(seconds: float, said: str) -> None:
    assert ago(seconds) == said


async def test_different_errors_of_one_group_are_told_each_with_its_actor() -> None:
    async with served(model) as one:
        recent = one.pool.workers[0].runtime.counters.failures
        for key, message in (("a", "no water"), ("b", "no pump")):
            recent.add(Failure("tank", key, "fill", "failed", "RuntimeError", message, "", "c", "c", 1.7e9))
        text = (await one.http.get("/ui/failures")).text
        assert text.index("/a</a>") > text.index("no pump") > text.index("/b</a>")
        assert text.index("no water") > text.index("/a</a>")


async def test_a_task_that_failed_is_among_the_failures_of_its_actor() -> None:
    async with served(model) as one:
        await one.pool.client.actor(Tank, "t").order_water()
        while not (found := await one.pool.client.failures()):
            pass
        (group,) = found
        assert (group.what, group.error, group.actors[0].key) == ("task buy_water of tank", "ConnectionError", "t")
        assert group.actors[0].place.endswith("in buy_water")
        text = (await one.http.get("/ui/actor?kind=tank&key=t")).text
        assert "task buy_water of tank" in text
        assert "ConnectionError: the waterworks are away" in text

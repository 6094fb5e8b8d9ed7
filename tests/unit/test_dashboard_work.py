"""The dashboard's pages of tasks and of schedules: what they show to whom, what the forms do, that they stay small."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from aether import Actor, Model, Retry, TaskContext, TaskFailed, command, event, task
from aether.config import RuntimeConfig
from aether.gateway.access import Access, ByFunction, ByToken, Role
from aether.gateway.dashboard import numbers
from aether.gateway.dashboard.failure_pages import ahead
from aether.model.drawing import FAILING
from aether.task_view import FailedTask
from aether.testing import LocalPool, local_pool
from tests.support.alarms import Alarm
from tests.support.alarms import model as alarms
from tests.support.gateway import Served, running
from tests.support.html_forms import Page, read_page


@task(retry=Retry(first_s=600, cap_s=600, attempts=3))
async def fails(context: TaskContext, times: int) -> str:
    """Fail so many times. Nobody waits for the next attempt here."""
    if context.attempt <= times:
        raise ConnectionError(f"no {context.attempt}")
    return f"after {context.attempt}"


@task(retry=Retry(attempts=1))
async def fails_once() -> None:
    raise ConnectionError("no")


@task(retry=Retry(attempts=1))
async def stays(context: TaskContext) -> None:
    """Run until it is stopped."""
    await asyncio.Event().wait()


@task(retry=Retry(first_s=600, cap_s=600, attempts=3))
async def fails_and_stays(context: TaskContext) -> None:
    """Fail, and when it is tried again run until it is stopped."""
    if context.attempt == 1:
        raise ConnectionError("no 1")
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Ended:
    """What came of a task."""

    how: str


class Errand(Actor):
    """Starts tasks."""

    back: str = ""

    @command
    def fail(self, times: int) -> None:
        self.start_task(fails(times), then=Errand.came, failed=Errand.failed)

    @command
    def fail_once(self) -> None:
        self.start_task(fails_once(), failed=Errand.failed)

    @command
    def fail_and_stay(self) -> None:
        self.start_task(fails_and_stays(), failed=Errand.failed)

    @command
    def stay(self) -> None:
        self.start_task(stays(), failed=Errand.failed)

    @command
    def came(self, what: str) -> None:
        self.emit(Ended(what))

    @command
    def failed(self, failed: TaskFailed) -> None:
        self.emit(Ended("failed"))

    @event
    def ended(self, e: Ended) -> None:
        self.back = e.how


errands = Model("errands", actors=[Errand], tasks=[fails, fails_once, fails_and_stays, stays])
SOON_OVER = RuntimeConfig(task_drain_s=0.0, cancel_grace_s=0.05)
TOKENS = ByToken({name[0] * 20: (role, name) for name, role in
                  (("reader", Role.READ), ("caller", Role.CALL), ("admin", Role.ADMIN))})  # fmt: skip


@asynccontextmanager
async def errand_pool(access: Access | None = None) -> AsyncIterator[Served]:
    async with local_pool(errands, config=SOON_OVER) as pool, running(pool, errands, access=access) as one:
        yield one


@asynccontextmanager
async def alarm_pool(access: Access | None = None) -> AsyncIterator[Served]:
    async with local_pool(alarms) as pool, running(pool, alarms, access=access) as one:
        yield one


async def failed(pool: LocalPool, reached: Callable[[list[FailedTask]], bool]) -> list[FailedTask]:
    async with asyncio.timeout(10):
        while not reached(found := await pool.client.untyped.tasks.failed()):  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)
    return found


async def get(one: Served, address: str, token: str = "") -> Page:
    answer = await one.http.get(address, headers={"Authorization": f"Bearer {token * 20}"} if token else {})
    assert answer.status_code == 200, answer.text
    assert len(answer.content) < 100_000
    return read_page(answer.text)


async def shows(one: Served, address: str, text: str, token: str = "") -> Page:
    async with asyncio.timeout(10):
        while text not in (page := await get(one, address, token)).text:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)
    return page


async def back(one: Served, key: str, what: str) -> None:
    async with asyncio.timeout(10):
        while (await one.pool.client.state(Errand, key)).state.back != what:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


async def send(one: Served, do: str, id: str, token: str = "", **headers: str) -> httpx2.Response:
    own = {"Origin": one.url} | headers | ({"Authorization": f"Bearer {token * 20}"} if token else {})
    return await one.http.post("/ui/tasks", data={"id": id, "do": do}, headers=own)


async def test_a_task_that_has_failed_is_shown_and_tried_again_by_its_form() -> None:
    async with errand_pool() as one:
        await one.pool.client.actor(Errand, "a/b").fail(1)
        (task,) = await failed(one.pool, lambda found: len(found) == 1)
        page = await get(one, "/ui/tasks")
        assert re.search(r"Waiting and running Task Waiting Taken .*fails 0 1", page.text)
        assert re.search(
            r"1 failed task .* fails of errand/a/b : attempt 1 of 3 failed .* , the next is due in", page.text
        )
        assert f"ConnectionError: no 1 task id {task.id}" in page.text
        form = page.form("tasks")
        assert form.buttons == {"do": ["retry", "cancel"]}
        answer = await one.http.post(form.action, data={**form.fields, "do": "retry"}, headers={"Origin": one.url})
        assert "fails of errand/a/b is tried again now." in read_page(answer.text).text
        await failed(one.pool, lambda found: not found)
        async with asyncio.timeout(10):
            while (await one.pool.client.state(Errand, "a/b")).state.back != "after 2":  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert "No task has failed." in (await get(one, "/ui/tasks")).text
        gone = await send(one, "retry", task.id)
        assert gone.status_code == 422
        assert "there is no failed task" in gone.text


async def test_a_task_that_is_tried_again_now_is_shown_so_and_can_be_stopped() -> None:
    async with errand_pool() as one:
        await one.pool.client.actor(Errand, "a").fail_and_stay()
        (task,) = await failed(one.pool, lambda found: len(found) == 1)
        assert (await send(one, "retry", task.id)).status_code < 400
        page = await shows(one, "/ui/tasks", ", it is tried again now")
        assert "fails_and_stays of errand/a : attempt 1 of 3 failed" in page.text
        assert {do for form in page.forms for do in form.buttons.get("do", [])} == {"cancel"}
        assert (await send(one, "retry", task.id)).status_code == 422
        assert (await send(one, "cancel", task.id)).status_code < 400
        await back(one, "a", "failed")
        await failed(one.pool, lambda found: not found)


async def test_an_actors_page_has_its_failed_tasks_and_tries_one_again() -> None:
    async with errand_pool() as one:
        for key in ("a/b", "b"):
            await one.pool.client.actor(Errand, key).fail(1)
        found = await failed(one.pool, lambda found: len(found) == 2)
        own = next(task for task in found if task.note.actor == "errand/a/b")
        page = await get(one, "/ui/actor?kind=errand&key=a/b")
        assert re.search(r"Failed tasks of this actor fails : attempt 1 of 3 failed .* , the next is due in", page.text)
        assert "ConnectionError: no 1" in page.text
        form = page.form("tasks")
        assert [one.fields["id"] for one in page.forms if "tasks" in one.action] == [own.id]
        answer = await one.http.post(form.action, data={**form.fields, "do": "retry"}, headers={"Origin": one.url})
        assert "fails of errand/a/b is tried again now." in read_page(answer.text).text
        await back(one, "a/b", "after 2")
        assert "tasks of this actor" not in (await get(one, "/ui/actor?kind=errand&key=a/b")).text
        for _ in range(7):
            await one.pool.client.actor(Errand, "c").fail(9)
        await failed(one.pool, lambda found: len(found) == 8)
        many = await get(one, "/ui/actor?kind=errand&key=c")
        assert len([form for form in many.forms if "tasks" in form.action]) == 5
        assert "2 more" in many.text
        assert "/ui/tasks?kind=errand&key=c" in [link for link, _ in many.links]


@pytest.mark.parametrize("address", ["/ui/actor?kind=errand&key=a", "/ui/tasks", "/ui/tasks?kind=errand&key=a"])
async def test_a_task_that_runs_is_shown_and_stopped(address: str) -> None:
    async with errand_pool(TOKENS) as one:
        await one.pool.client.actor(Errand, "a").stay()
        page = await shows(one, address, "stays", "c")
        page = await shows(one, address, "attempt 1 ", "c")
        assert re.search(r"Running .*stays (of errand/a )?runs at local-\d", page.text)
        assert [form for form in page.forms if "tasks" in form.action] == []
        form = (await shows(one, address, "Stop it", "a")).form("tasks")
        assert (await send(one, "cancel", form.fields["id"], "c")).status_code == 403
        for unknown in (await send(one, "retry", form.fields["id"], "a"), await send(one, "cancel", "x", "a")):
            assert "there is no failed task" in read_page(unknown.text).text
        answer = await send(one, "cancel", form.fields["id"], "a")
        assert "stays of errand/a is stopped, if it is not done" in read_page(answer.text).text
        assert "Running now" not in read_page(answer.text).text
        await back(one, "a", "failed")
        await gone(one, address)


async def gone(one: Served, address: str) -> None:
    async with asyncio.timeout(10):
        while "runs at" in (await get(one, address, "a")).text:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


async def test_running_tasks_of_a_kind_that_may_not_be_seen_are_not_shown() -> None:
    blind = ByFunction(lambda request, kind, key, command: kind != "errand")
    async with errand_pool() as one, running(one.pool, errands, access=blind) as other:
        for number in range(30):
            await one.pool.client.actor(Errand, f"{number:02}" + "\N{CYRILLIC SMALL LETTER ZHE}" * 99).stay()
        page = await shows(one, "/ui/tasks", "runs at")
        page = await shows(one, "/ui/tasks", "more.")
        assert 2 < page.text.count("runs at") < 30
        assert "runs at" not in (await get(other, "/ui/tasks")).text


async def test_the_board_shows_tasks_with_their_starters_and_where_attempts_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbers, "ASK_AFTER_S", 0.0)
    async with errand_pool() as one:
        quiet = await one.http.get("/ui/board")
        assert "▲" not in quiet.text
        said = "fails: started by errand.fail; its result goes to errand.came, its failure to errand.failed."
        assert said in read_page(quiet.text).text
        assert "fails_once: started by errand.fail_once; its result goes to no command" in read_page(quiet.text).text
        await one.pool.client.actor(Errand, "a").fail(1)
        await failed(one.pool, lambda found: len(found) == 1)
        async with asyncio.timeout(10):
            while "▲ 1 failed" not in (busy := (await one.http.get("/ui/board")).text):  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        assert busy.count(FAILING) == 1


async def test_one_that_is_stopped_leaves_the_list_and_its_actor_is_told() -> None:
    async with errand_pool() as one:
        await one.pool.client.actor(Errand, "a").fail(9)
        (task,) = await failed(one.pool, lambda found: len(found) == 1)
        text = read_page((await send(one, "cancel", task.id)).text).text
        assert "fails of errand/a is stopped, if it is not done: its actor is told that it failed." in text
        assert "No task has failed." in text
        async with asyncio.timeout(10):
            while (await one.pool.client.state(Errand, "a")).state.back != "failed":  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)


async def test_one_that_is_given_up_has_no_buttons() -> None:
    async with errand_pool() as one:
        await one.pool.client.actor(Errand, "a").fail_once()
        (task,) = await failed(one.pool, lambda found: len(found) == 1 and found[0].note.state == "given up")
        page = await get(one, "/ui/tasks")
        assert "attempt 1 of 1 failed" in page.text
        assert ", given up" in page.text
        assert page.forms == []
        refused = await send(one, "retry", task.id)
        assert refused.status_code == 422
        assert f"the task {task.id} is given up: its actor has been told" in read_page(refused.text).text


@pytest.mark.parametrize(("do", "id", "why"), [
    ("stop", "x", "it is retry or cancel, not"),
    ("retry", "", "a task's id is 1-128 characters"),
    ("cancel", "x" * 129, "a task's id is 1-128 characters"),
    ("cancel", "x", "there is no failed task x"),
])  # fmt: skip
async def test_a_form_that_makes_no_sense_is_refused(do: str, id: str, why: str) -> None:
    async with errand_pool() as one:
        answer = await send(one, do, id)
        assert answer.status_code == 422
        assert why in read_page(answer.text).text


async def test_each_role_sees_and_does_what_it_may() -> None:
    async with errand_pool(TOKENS) as one:
        await one.pool.client.actor(Errand, "a").fail(9)
        (task,) = await failed(one.pool, lambda found: len(found) == 1)
        for token, sees, buttons in (("r", False, []), ("c", False, ["retry"]), ("a", True, ["retry", "cancel"])):
            page = await get(one, "/ui/tasks", token)
            found = [button for form in page.forms for button in form.buttons.get("do", [])]
            assert "ConnectionError" in page.text
            assert (("no 1" in page.text), found) == (sees, buttons), token
        for token, do in (("r", "retry"), ("r", "cancel"), ("c", "cancel")):
            assert (await send(one, do, task.id, token)).status_code == 403, (token, do)
        assert (await send(one, "cancel", task.id, "a", Origin="https://evil.example")).status_code == 403
        assert [found.id for found in await one.pool.client.untyped.tasks.failed()] == [task.id]
        assert (await send(one, "retry", task.id, "c")).status_code == 200


async def test_tasks_of_one_actor_are_shown_alone_and_those_of_a_kind_that_may_not_be_seen_not_at_all() -> None:
    async with errand_pool() as one:
        for key in ("a", "b"):
            await one.pool.client.actor(Errand, key).fail(9)
        await failed(one.pool, lambda found: len(found) == 2)
        assert "2 failed tasks" in (await get(one, "/ui/tasks")).text
        own = await get(one, "/ui/tasks?kind=errand&key=a")
        assert "1 failed task " in own.text
        assert "errand/b" not in own.text
        actor = await get(one, "/ui/actor?kind=errand&key=a")
        assert "/ui/tasks?kind=errand&key=a" in [link for link, _ in actor.links]
        blind = ByFunction(lambda request, kind, key, command: kind != "errand")
        async with running(one.pool, errands, access=blind) as other:
            assert "No failed tasks" in (await get(other, "/ui/tasks")).text


async def test_many_failed_tasks_come_in_pages_the_last_one_first() -> None:
    async with errand_pool() as one:
        for number in range(60):
            await one.pool.client.actor(Errand, f"{number:02}" + "\N{CYRILLIC SMALL LETTER ZHE}" * 99).fail(9)
        await failed(one.pool, lambda found: len(found) == 60)
        found, address, pages = [], "/ui/tasks", 0
        while address:
            page = await get(one, address)
            assert len(page.ids) == len(set(page.ids))
            found += [form.fields["id"] for form in page.forms]
            address = next((link for link, _ in page.links if "skip=" in link), "")
            pages += 1
        assert len(found) == len(set(found)) == 60
        assert pages > 1


async def test_schedules_are_listed_the_next_one_first_and_on_their_actors_page() -> None:
    async with alarm_pool() as one:
        await one.pool.client.actor(Alarm, "a").once("tea", 5_400)
        await one.pool.client.actor(Alarm, "b").often("walk", 1_800)
        await one.pool.client.actor(Alarm, "b").daily("work", "0 0 9 * * *", "Europe/Berlin", "skip")
        async with asyncio.timeout(10):
            while "3 schedules" not in (await get(one, "/ui/schedules")).text:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        text = (await get(one, "/ui/schedules")).text
        assert re.search(r"walk of alarm/b is due in .* tea of alarm/a is due in 1 h , at .* once", text)
        assert re.search(r"again and again: .*0 0 9 \* \* \* in Europe/Berlin, catch up: skip · runs ring", text)
        own = await get(one, "/ui/schedules?kind=alarm&key=a")
        assert "1 schedule " in own.text
        assert "walk" not in own.text
        actor = await get(one, "/ui/actor?kind=alarm&key=a")
        assert "Schedules of this actor tea is due in 1 h" in actor.text
        assert "Schedules of this actor" not in (await get(one, "/ui/actor?kind=alarm&key=c")).text
        blind = ByFunction(lambda request, kind, key, command: kind != "alarm")
        async with running(one.pool, alarms, access=blind) as other:
            assert "No schedules" in (await get(other, "/ui/schedules")).text
        assert (await one.http.get("/ui/schedules?key=a")).status_code == 422


async def test_many_schedules_come_in_pages() -> None:
    async with alarm_pool() as one:
        wanted = {f"{number:03}" + "<" * 60 for number in range(150)}
        for number, name in enumerate(sorted(wanted)):
            await one.pool.client.actor(Alarm, "a").once(name, 1_000 + number)
        async with asyncio.timeout(10):
            while "150 schedules" not in (await get(one, "/ui/schedules")).text:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
        found: list[str] = []
        address, pages = "/ui/schedules", 0
        while address:
            page = await get(one, address)
            found += re.findall(r"(\d{3}<{60}) of", page.text)
            address = next((link for link, _ in page.links if "skip=" in link), "")
            pages += 1
        assert found == sorted(wanted)
        assert pages > 1
        assert "145 more" in (await get(one, "/ui/actor?kind=alarm&key=a")).text


@pytest.mark.parametrize(("seconds", "said"), [
    (0.4, "now"), (-0.4, "now"), (5, "in 5 s"), (125, "in 2 min"), (90_000, "in 1 day"), (-90, "since 1 min"),
])  # fmt: skip
def test_how_long_it_is_until_something(seconds: float, said: str) -> None:
    assert ahead(seconds) == said

"""The dry run of a model over what another one has stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from aether import Actor, ActorId, After, InMemoryServer, Model, TaskFailed, command, event, task
from aether.config import CallConfig
from aether.history_check import CheckedHistories, Finding, check_histories
from aether.ids import Position, Version
from aether.memory.connection import InMemoryConnection
from aether.model.model import Declared
from aether.model.tasks import Task
from aether.testing import local_pool, local_runtime
from aether.untyped_client import UntypedClient
from aether.wire import encode_commit, instant, new_event

SHARDS = 8


@dataclass(frozen=True)
class Renamed:
    """Has another name."""

    name: str


@dataclass(frozen=True)
class Relocated:
    """What `Moved` might be called later."""

    town: str


@dataclass(frozen=True)
class Moved:
    """Lives elsewhere."""

    town: str


class Person(Actor):
    """Somebody."""

    name: str = ""
    town: str = ""

    @command
    def rename(self, name: str) -> None:
        self.emit(Renamed(name))

    @command
    def move(self, town: str) -> None:
        self.emit(Moved(town))

    @command
    def nothing(self) -> None:
        return None

    @event
    def renamed(self, e: Renamed) -> None:
        self.name = e.name

    @event
    def moved(self, e: Moved) -> None:
        self.town = e.town


OLD = Model("people", actors=[Person])


@asynccontextmanager
async def stored(people: int = 2) -> AsyncIterator[UntypedClient]:
    """A client of a namespace in which each person was renamed, has moved, and was renamed again."""
    server = InMemoryServer()
    async with local_runtime(OLD, server=server) as runtime:
        for number in range(people):
            person = runtime.actor(Person, f"p{number}")
            await person.rename("Ada Lovelace")
            await person.move("London")
            await person.rename("Ada King")
    yield UntypedClient(InMemoryConnection(server, "people"), CallConfig())


async def checked(
    client: UntypedClient, *actors: Declared, tasks: Sequence[Task[..., Any]] = (), **options: Any
) -> CheckedHistories:
    model = Model("people", actors=actors, tasks=tasks)
    options = {"sample": None, "choose": Random(1), **options}  # noqa: S311
    return await check_histories(client, model.actor_types, model.task_types, **options)


def failures(found: CheckedHistories) -> Sequence[Finding]:
    return [finding for finding in found.findings if finding.failed]


async def test_a_model_that_reads_everything_is_good() -> None:
    async with stored() as client:
        found = await checked(client, Person)
    assert found.good
    assert (found.actors_read, found.actors_stored) == (2, 2)
    counts = [(one.kind, one.event, one.schema_version, one.read, one.failed) for one in found.findings]
    assert counts == [("person", "(state)", 0, 2, 0), ("person", "Moved", 1, 2, 0), ("person", "Renamed", 1, 4, 0)]


class Nagged(Actor):
    """Is told something later."""

    said: str = ""

    @command
    def nag(self, name: str, text: str) -> None:
        self.schedule(name, After(hours=1), Nagged.hear, self.id.key, text)

    @command
    def hear(self, text: str) -> None:
        return None


async def test_schedules_whose_command_is_gone_or_takes_something_else_are_found() -> None:
    async with local_pool(Model("people", actors=[Nagged]), workers=1) as pool:
        await pool.client.actor(Nagged, "p").nag("a", "get up")
        await pool.client.actor(Nagged, "p").nag("b", "later")
        await pool.clock.advance()
        await schedules_are_checked(pool.client.untyped)


@task
async def weigh() -> int:
    """A call to the outside world."""
    await asyncio.Event().wait()
    return 0


class Weighed(Actor, kind="weighed"):
    """Waits for its weight."""

    @command
    def start(self) -> str:
        return self.start_task(weigh(), then=Weighed.hear, failed=Weighed.miss)

    @command
    def hear(self, weight: int) -> None:
        return None

    @command
    def miss(self, failed: TaskFailed) -> None:
        return None


class Unweighed(Actor, kind="weighed"):
    """Has none of these commands."""

    @command
    def nothing(self) -> None:
        return None


async def test_open_tasks_whose_function_or_command_is_gone_are_found() -> None:
    async with local_pool(Model("people", actors=[Weighed], tasks=[weigh]), workers=1) as pool:
        task_id = await pool.client.actor(Weighed, "p").start()
        found = await checked(pool.client.untyped, Weighed, tasks=[weigh])
        assert found.good
        assert ("(tasks)", 1) in [(one.event, one.read) for one in found.findings]
        (gone,) = failures(await checked(pool.client.untyped, Weighed))
        assert (gone.kind, gone.event, gone.read, gone.failed) == ("weighed", "(tasks)", 1, 1)
        what = f"the task {task_id} that weighed/p has started needs"
        assert gone.error == f"{what} the task weigh, which the model does not have"
        (gone,) = failures(await checked(pool.client.untyped, Unweighed, tasks=[weigh]))
        assert gone.error == f"{what} weighed.hear and weighed.miss, which the model does not have"


async def schedules_are_checked(client: UntypedClient) -> None:
    found = await checked(client, Nagged)
    assert found.good
    assert [(one.event, one.read) for one in found.findings] == [("(schedules)", 2), ("(state)", 1)]

    def other(name: str, text: type) -> type[Actor]:
        async def run(self: Actor, text: Any) -> None:
            return None

        run.__name__, run.__annotations__ = name, {"text": text, "return": None}
        return type("Nagged", (Actor,), {name: command(run)})

    (gone,) = failures(await checked(client, other("listen", str)))
    assert (gone.kind, gone.event, gone.read, gone.failed) == ("nagged", "(schedules)", 2, 2)
    assert gone.error == "the schedule a of nagged/p runs nagged.hear, which the model does not have"
    (other_type,) = failures(await checked(client, other("hear", int)))
    assert other_type.failed == 2
    assert "which does not take its arguments: " in other_type.error
    (unknown, _) = failures(await checked(client, Person))
    assert unknown.event == ""
    assert (await checked(client, Person, without=["nagged"])).good


async def test_an_event_class_that_was_renamed_is_found_and_the_others_are_still_read() -> None:
    class Person(Actor):
        name: str = ""

        @event
        def renamed(self, e: Renamed) -> None:
            self.name = e.name

        @event
        def relocated(self, e: Relocated) -> None:
            """Moved, once."""

    async with stored() as client:
        found = await checked(client, Person)
    (moved,) = failures(found)
    assert (moved.event, moved.read, moved.failed) == ("Moved", 2, 2)
    assert "version 2 of person/p" in moved.error
    assert "no event type 'Moved' in the model; its person takes: Relocated, Renamed" in moved.error
    assert next(one.read for one in found.findings if one.event == "Renamed") == 4


def second_version(upcast: Any) -> type[Actor]:
    @dataclass(frozen=True)
    class Renamed:
        schema_version: ClassVar[int] = 2
        first: str
        last: str

    Renamed.upcast = staticmethod(upcast)  # type: ignore[attr-defined]  # as a class body would

    class Person(Actor):
        first: str = ""
        last: str = ""

        @event
        def renamed(self, e: Renamed) -> None:
            self.first, self.last = e.first, e.last

        @event
        def moved(self, e: Moved) -> None:
            if not self.last:
                raise RuntimeError("nobody moves without a name")

    return Person


async def test_every_event_is_upcast() -> None:
    async with stored() as client:
        good = await checked(client, second_version(lambda old, _: {"first": old["name"], "last": "L"}))
        typo = await checked(client, second_version(lambda old, _: {"first": old["nmae"], "last": ""}))
        short = await checked(client, second_version(lambda old, _: {"first": old["name"]}))
    assert good.good
    (finding,) = failures(typo)
    assert (finding.event, finding.schema_version, finding.failed) == ("Renamed", 1, 4)
    assert "it cannot be upcast from schema version 1: KeyError('nmae')" in finding.error
    assert "missing required field 'last'" in failures(short)[0].error


async def test_a_handler_that_raises_is_found() -> None:
    async with stored() as client:
        found = await checked(client, second_version(lambda old, _: {"first": old["name"], "last": ""}))
    (finding,) = failures(found)
    assert (finding.event, finding.failed) == ("Moved", 2)
    assert "the handler of Moved failed on version 2 of person/p" in finding.error
    assert "nobody moves without a name" in finding.error


async def test_a_state_that_cannot_be_stored_is_found() -> None:
    class Person(Actor):
        name: int = 0

        @event
        def renamed(self, e: Renamed) -> None:
            self.name = e.name  # type: ignore[assignment]  # the mistake

        @event
        def moved(self, e: Moved) -> None:
            """Elsewhere."""

    async with stored() as client:
        (finding,) = failures(await checked(client, Person))
    assert (finding.event, finding.read, finding.failed) == ("(state)", 2, 2)
    assert "at version 3 cannot be stored: name: " in finding.error


async def test_a_kind_that_the_model_does_not_have_is_found_unless_it_was_given_up() -> None:
    class Human(Actor):
        name: str = ""

    async with stored(3) as client:
        (finding,) = failures(await checked(client, Human))
        assert (await checked(client, Human, without={"person"})).good
    assert (finding.kind, finding.event, finding.failed) == ("person", "", 3)
    assert finding.error == "the model has no actor 'person'; it has: human"


async def test_a_sample_reads_so_many_actors_of_each_kind() -> None:
    async with stored(40) as client:
        few = await checked(client, Person, sample=7)
        more = await checked(client, Person, sample=50)
    assert (few.actors_read, few.actors_stored) == (7, 40)
    assert more.actors_read == 40


async def test_which_actors_are_read_is_chosen_among_all() -> None:
    class Seen(UntypedClient):
        read: ClassVar[list[str]] = []

        def history(self, actor_id: ActorId, *args: Any, **options: Any) -> Any:
            self.read.append(actor_id.key)
            return super().history(actor_id, *args, **options)

    chosen = []
    async with stored(20) as client:
        client.__class__ = Seen
        for seed in range(20):
            Seen.read.clear()
            await checked(client, Person, sample=10, choose=Random(seed))  # noqa: S311 - no secret
            chosen.append(sorted(Seen.read))
    assert all(len(set(one)) == 10 for one in chosen)
    assert {key for one in chosen for key in one} == {f"p{n}" for n in range(20)}
    assert len({tuple(one) for one in chosen}) == 20


async def test_system_events_count_and_a_commit_that_is_none_is_found() -> None:
    server = InMemoryServer()
    connection = InMemoryConnection(server, "people")
    client = UntypedClient(connection, CallConfig())
    one, two = ActorId("person", "one"), ActorId("person", "two")
    events = [
        new_event(version=1, source="/people/person/one", type="aether.Handled", time=instant(0), data=b"null"),
        new_event(version=2, source="/people/person/one", type="Moved", time=instant(0), data=b'{"town":"Paris"}'),
    ]
    done: list[Any] = []
    connection.event_store.publish(one, encode_commit(events), Position(0), done.append)
    connection.event_store.publish(two, b"[]", Position(0), done.append)
    found = await checked(client, Person)
    (finding,) = failures(found)
    assert (finding.kind, finding.event) == ("person", "")
    assert "the commit of person/two at position 2" in finding.error
    assert next(row.read for row in found.findings if row.event == "Moved") == Version(1)


async def test_a_first_state_that_cannot_be_made_is_found() -> None:
    made: list[list[str]] = []

    def twice() -> list[str]:  # the model makes two of them when it loads
        made.append([])
        if len(made) > 2:
            raise RuntimeError("no more")
        return made[-1]

    class Person(Actor):
        names: list[str] = field(default_factory=twice)

        @event
        def renamed(self, e: Renamed) -> None:
            self.names.append(e.name)

        @event
        def moved(self, e: Moved) -> None:
            """Elsewhere."""

    async with stored() as client:
        (finding,) = failures(await checked(client, Person))
    assert "the first state of person/p" in finding.error

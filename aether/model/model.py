"""`Model`: the actors of one application, checked and compiled when it is built.

A model is immutable, knows no connection, and is the same in every process that imports it: `fingerprint` says whether
two are. Everything wrong with what it declares is a `ModelError` with file and line.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson

from aether.errors import ConfigError, InvalidCommand, UnknownActor
from aether.model.actor import Actor
from aether.model.annotations import signature_of
from aether.model.class_kind import ActorKind
from aether.model.decider import Decider
from aether.model.decider_kind import DeciderKind
from aether.model.declared import Place, caller_frame, place_of_frame
from aether.model.definition import ActorType, JsonSchema
from aether.model.policy import Policy, attach_policies
from aether.model.schema import DIALECT, kind_schema, schemas_of
from aether.model.started import Started
from aether.model.task_type import TaskType, task_schemas
from aether.model.tasks import Task
from aether.names import check_namespace

Declared: TypeAlias = type[Actor] | Decider[Any, Any, Any]
"""An actor as it was declared."""

Kind: TypeAlias = ActorKind | DeciderKind

_TASKS = "\0tasks"
"""Stands for a kind, which it cannot be, where the types of tasks are among those of actors."""

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes the asynchronous context manager that each worker enters; its value is `self.resources`."""


class Model:
    """The actors of one application. `name` is also the default namespace: 1-32 characters of a-z, 0-9 and '-'.

    `lifespan` is a function without arguments that gives an asynchronous context manager, as `@asynccontextmanager`
    makes one. Each worker enters it before it serves and exits it after its drain; what it gives is `self.resources` in
    handlers. `policies` are functions marked with `@policy`; those of one event run in this order. `tasks` are the
    functions that its actors may start with `self.start_task`. `projections` are reserved: they are not supported yet,
    and a model that has any is refused, so that nothing is left out in silence. Raises `ModelError` with file and line
    for whatever could not run.
    """

    def __init__(
        self,
        name: str,
        actors: Sequence[Declared] = (),
        policies: Sequence[Policy[Any, Any]] = (),
        tasks: Sequence[Task[..., Any]] = (),
        projections: Sequence[object] = (),
        lifespan: Lifespan | None = None,
    ) -> None:
        place = place_of_frame(caller_frame(1))
        self.name = _checked_name(name, place)
        for what, listed in (("actors", actors), ("policies", policies), ("tasks", tasks)):
            if not isinstance(listed, Iterable):
                raise place.error(f"{what} is a list, not {listed!r}; write {what}=[...]")
        if projections:
            raise place.error("projections are not supported yet; leave them out")
        self.lifespan = _checked_lifespan(lifespan, place)
        self._kinds: dict[str, Kind] = {}
        self._by_declared: dict[Any, Kind] = {}
        for declared in actors:
            self._add(declared, place)
        if not self._kinds:
            raise place.error(f"the model {name!r} has no actors")
        self._tasks: dict[str, TaskType] = {}
        for one in tasks:
            self._add_task(one, place)
        self.task_types: Mapping[str, TaskType] = MappingProxyType(self._tasks)
        self._policies = attach_policies(policies, self._kinds, place)
        self._schema = self._described()
        self.fingerprint = hashlib.sha256(orjson.dumps(self._fingerprints())).hexdigest()[:16]
        self.actor_types: Mapping[str, ActorType] = MappingProxyType(self._kinds)

    def actor_type(self, kind: "str | Declared | type") -> ActorType:
        """The compiled actor of a kind, or of an `Actor` class or `Decider`. Raises `UnknownActor`."""
        found = self._kinds.get(kind) if isinstance(kind, str) else self._by_declared.get(kind)
        if found is None:
            shown = (
                kind if isinstance(kind, str) else getattr(kind, "kind", "") or getattr(kind, "__name__", repr(kind))
            )
            known = ", ".join(sorted(self._kinds))
            raise UnknownActor(f"the model {self.name} has no actor {shown!r}; it has: {known}", kind=str(shown))
        return found

    def task_type(self, declared: Task[..., Any]) -> TaskType:
        """The compiled task of a `@task` function. Raises `InvalidCommand` for one that is not in the model."""
        found = self._tasks.get(declared.name)
        if found is None or found.declared is not declared:
            known = ", ".join(sorted(self._tasks)) or "none"
            text = f"the model {self.name} has no task {declared.name!r}; it has: {known}. Add it to Model(tasks=[...])"
            raise InvalidCommand(text, path="call")
        return found

    def schema(self) -> JsonSchema:
        """JSON Schemas of every message and state: `{"$schema", "model", "actors": {kind: ...}, "$defs"}`, a copy.

        A model with policies has `"policies": {name: {"description", "events", "tells"}}` beside, one with tasks
        `"tasks": {name: {"description", "args", "result"}}`. What the source of handlers says that they start is in
        `"starts"` and `"schedules"` (`aether.model.started.Started`), for the board.
        """
        copy: JsonSchema = orjson.loads(self.schema_json())
        return copy

    def schema_json(self) -> bytes:
        """`schema()` as JSON."""
        started = {"starts": self._started.tasks, "schedules": self._started.schedules}
        return orjson.dumps(self._schema | {name: found for name, found in started.items() if found})

    @cached_property
    def _started(self) -> Started:
        """Not part of the fingerprint: it is what can be read of the source, not what the model is."""
        found = Started()
        for kind, one in self._kinds.items():
            if isinstance(one, ActorKind):
                found.of_class(kind, one.actor_class)
        for name, policy in self._policies.items():
            found.of_policy(name, policy.handler)
        return found

    def _add(self, declared: Any, place: Place) -> None:
        kind: Kind
        if isinstance(declared, type) and issubclass(declared, Actor) and declared is not Actor:
            kind = ActorKind(declared)
        elif isinstance(declared, Decider):
            kind = DeciderKind(declared)
        else:
            raise place.error(f"the actors of a model are Actor classes and Deciders, not {declared!r}")
        twin = self._kinds.get(kind.kind)
        if twin is not None:
            where = f"{twin.place.file}:{twin.place.line}"
            raise kind.place.error(f"a second actor of kind {kind.kind!r}; the first is at {where}")
        self._kinds[kind.kind] = self._by_declared[declared] = kind

    def _add_task(self, declared: Any, place: Place) -> None:
        if not isinstance(declared, Task):
            raise place.error(f"the tasks of a model are functions with @task, not {declared!r}")
        compiled = TaskType(declared)
        twin = self._tasks.get(compiled.name)
        if twin is not None:
            where = f"{twin.place.file}:{twin.place.line}"
            raise compiled.place.error(f"a second task {compiled.name!r}; the first is at {where}")
        self._tasks[compiled.name] = compiled

    def _described(self) -> JsonSchema:
        types: dict[tuple[str, ...], Any] = {
            (kind, *key): type_ for kind, one in self._kinds.items() for key, type_ in one.schema_types().items()
        }
        for task in self._tasks.values():
            types |= {(_TASKS, *key): type_ for key, type_ in task.types.items()}
        schemas, definitions = schemas_of(types)
        actors = {
            kind: kind_schema(one, {key[1:]: schema for key, schema in schemas.items() if key[0] == kind})
            for kind, one in self._kinds.items()
        }
        described = {"$schema": DIALECT, "model": self.name, "actors": actors, "$defs": definitions}
        if self._policies:
            described["policies"] = {name: one.schema() for name, one in self._policies.items()}
        if self._tasks:
            of_tasks = {key[1:]: schema for key, schema in schemas.items() if key[0] == _TASKS}
            described["tasks"] = task_schemas(self._tasks, of_tasks)
        return described

    def _fingerprints(self) -> list[Any]:
        folds = {kind: one.fingerprint for kind, one in sorted(self._kinds.items())}
        return [orjson.dumps(self._schema, option=orjson.OPT_SORT_KEYS).decode(), folds]

    def __iter__(self) -> Iterator[ActorType]:
        return iter(self._kinds.values())

    def __repr__(self) -> str:
        return f"<Model {self.name}: {', '.join(self._kinds)}>"


def _checked_name(name: Any, place: Place) -> str:
    try:
        return check_namespace(name)
    except (ConfigError, TypeError):
        message = f"a model's name is its namespace, 1-32 characters of a-z, 0-9 and '-', not {name!r}"
        raise place.error(message) from None


def _checked_lifespan(lifespan: Any, place: Place) -> Lifespan | None:
    if lifespan is None:
        return None
    if not callable(lifespan):
        raise place.error(f"a lifespan is a function that gives an asynchronous context manager, not {lifespan!r}")
    name = getattr(lifespan, "__name__", repr(lifespan))
    if inspect.isasyncgenfunction(lifespan):
        raise place.error(f"the lifespan {name} is not a context manager; put @contextlib.asynccontextmanager on it")
    if inspect.iscoroutinefunction(lifespan):
        raise place.error(f"the lifespan {name} is a coroutine; it gives a context manager and has a yield in it")
    try:
        signature_of(lifespan).bind()
    except TypeError as error:
        raise place.error(f"the lifespan {name} is called without arguments: {error}") from None
    except ValueError:  # a callable without a signature that can be read
        pass
    checked: Lifespan = lifespan
    return checked


def checked_model(model: object) -> Model:
    """The model itself. Raises TypeError for what is none, such as an actor's class."""
    if not isinstance(model, Model):
        raise TypeError(f'a model is wanted, like Model("bank", actors=[Account]), not {model!r}')
    return model

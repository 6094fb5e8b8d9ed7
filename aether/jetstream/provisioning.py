"""What a namespace is made of on the server: three streams and four KV buckets, as `names` calls them.

The first program to create a stream decides its settings; the server accepts an identical create and refuses another
one, whose settings are then read back here. What exists is compared with what is needed (`stream_settings`), and
refused by the name of the setting. A worker never updates a stream; `repair` does, for the command line. The stream of
commits is created last, so where it exists everything does. Servers that are only just electing leave requests
unanswered or do not know their peers yet: that is waited out, within a bound. Stateless.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeVar

from aether.config import StorageConfig
from aether.core.backoff import Backoff
from aether.errors import ConfigError, Unavailable
from aether.jetstream.api import API_TIMEOUT_S, Answered, ApiRefused, Method, StreamInfo, find_stream, stream_info
from aether.jetstream.connection.headers import (
    ERROR_CLUSTER_NOT_READY,
    ERROR_JETSTREAM_NOT_ENABLED,
    ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ERROR_NO_SUITABLE_PEERS,
    ERROR_REPLICAS_NOT_SUPPORTED,
    ERROR_STREAM_EXISTS_OTHERWISE,
    ERROR_STREAM_NOT_FOUND,
    ERROR_STREAM_SUBJECT_OVERLAP,
)
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.stream_configs import configs
from aether.jetstream.stream_settings import (
    SettingDifference,
    bucket_needs,
    differences,
    inbox_needs,
    stream_needs,
    timers_needs,
)
from aether.names import (
    LAYOUT_VERSION,
    METADATA_LAYOUT,
    METADATA_SHARDS,
    Names,
    check_namespace,
    namespace_of_stream,
)
from aether.ports import NotSent

WAIT = Backoff(first_s=0.05, cap_s=1.0)

SAY_AFTER_S = 1.0
"""A wait for a namespace that lasts so long is logged."""

OTHERS_SHOWN_MAX = 10

ELECTION_TIMEOUT_S = 30.0
"""How long servers may be electing before a namespace cannot be made: twice the longest that was measured (13.9 s)."""

FIRST_ANSWER_S = 0.5
"""How long the first request waits; each further one twice as long. What a leaderless server is asked is lost."""

TEMPORARY = frozenset({ERROR_CLUSTER_NOT_READY, ERROR_NO_SUITABLE_PEERS, ERROR_STREAM_NOT_FOUND})
"""Refusals of servers that do not know their peers yet, or do not know yet of a stream that another one made."""

log = logging.getLogger("aether.jetstream")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a namespace is, as it was found on the server.

    `table_age_s` is how old a table is that was made later than the stream, in place of one that was lost; infinity
    for every other table.
    """

    names: Names
    replicas: int
    table_age_s: float = inf


class _StreamNames(Answered):
    total: int = 0
    streams: list[str] | None = None


_stream_create = Method("STREAM.CREATE.{}", StreamInfo)
_stream_update = Method("STREAM.UPDATE.{}", StreamInfo)
_stream_names = Method("STREAM.NAMES", _StreamNames)
_account_info = Method("INFO", Answered)


_T = TypeVar("_T")


async def check_jetstream(connection: NatsConnection, timeout_s: float = API_TIMEOUT_S) -> None:
    """Raise `ConfigError` when the server has no JetStream, at all or for this account."""
    try:
        await _account_info(connection, timeout_s=timeout_s)
    except NotSent:
        if connection.session is None:
            raise
        raise ConfigError("the NATS server runs without JetStream; start it with -js", setting="url") from None
    except ApiRefused as refused:
        if refused.err_code in (ERROR_JETSTREAM_NOT_ENABLED, ERROR_JETSTREAM_NOT_ENABLED_FOR_ACCOUNT):
            raise ConfigError(f"JetStream cannot be used here: {refused.message}", setting="url") from None
        raise


async def create_layout(
    connection: NatsConnection, namespace: str, storage: StorageConfig, election_timeout_s: float = ELECTION_TIMEOUT_S
) -> Layout:
    """Make what is missing of a namespace; servers that are still electing have `election_timeout_s` for it.

    Raises `ConfigError` when it exists with another number of shards or another layout, or cannot be made as wanted;
    `Unavailable` when the server does not answer.
    """
    names = Names(namespace, storage.shards)
    ends_s = asyncio.get_running_loop().time() + election_timeout_s
    await _settled(lambda timeout_s: check_jetstream(connection, timeout_s), ends_s)
    inbox_begins = await _settled(lambda timeout_s: _beginning_of_inbox(connection, names, timeout_s), ends_s)
    wanted = configs(names, storage.replicas, inbox_begins)
    found = [(config["name"], await _create(connection, config, ends_s)) for config in wanted]
    table, stream = found[0][1], found[-1][1]
    layout = _agreed(stream, namespace, storage.shards)
    wrong = [one for name, info in found for one in _differences(names, name, info, storage.replicas)]
    if wrong:
        raise _refusal(wrong)
    return replace(layout, table_age_s=_age_s(table) if _is_younger(table, stream) else inf)


async def _beginning_of_inbox(connection: NatsConnection, names: Names, timeout_s: float) -> int:
    """The first sequence of a stream of tells that is made now: in place of a lost one, beyond all that it had.

    Actors skip tells up to the last one that they have applied. The time in microseconds is beyond, because no stream
    takes more than a message each.
    """
    commits = await find_stream(connection, names.stream, timeout_s)
    if commits is None:
        await _say_it_is_new(connection, names.namespace)
        return 0
    has_some = commits.state is not None and commits.state.last_seq > 0
    return int(commits.ts.timestamp() * 1e6) if has_some and commits.ts is not None else 0


async def _say_it_is_new(connection: NatsConnection, namespace: str) -> None:
    """A pool whose model has another name than before finds nothing of what is stored under that."""
    others = [one for one in await namespaces(connection) if one != namespace]
    if others:
        extra = {"namespace": namespace, "others": ", ".join(others[:OTHERS_SHOWN_MAX])}
        log.info("a namespace is made that was not there; this server has others", extra=extra)


async def missing(connection: NatsConnection, names: Names) -> list[str]:
    """The streams of a namespace that are missing. Raises `Unavailable`."""
    wanted = [config["name"] for config in configs(names, replicas=1)]
    return [name for name in wanted if await find_stream(connection, name) is None]


async def repair(
    connection: NatsConnection, namespace: str, timeout_s: float, *, change: bool
) -> list[SettingDifference]:
    """Make the streams and buckets of a namespace as they are needed, where that can be done; all that was not so.

    Without `change` nothing is touched. What is missing is not made: a worker does that. Raises `ConfigError`,
    `Unavailable`.
    """
    layout = await open_layout(connection, namespace, timeout_s)
    found: list[SettingDifference] = []
    for config in configs(layout.names, layout.replicas):
        name = config["name"]
        info = await find_stream(connection, name)
        if info is None:
            continue
        wrong = _differences(layout.names, name, info, layout.replicas)
        changes = {one.setting: one.value for one in wrong if one.can_be_changed}
        if change and changes:
            await _stream_update(connection, name, {**(info.config or {}), **changes})
        found += wrong
    return found


def _differences(names: Names, name: str, info: StreamInfo, replicas: int) -> list[SettingDifference]:
    if name == names.stream:
        needs = stream_needs(names, replicas)
    elif name == names.inbox:
        needs = inbox_needs(names, replicas)
    elif name == names.timers:
        needs = timers_needs(names, replicas)
    else:
        bucket = name.removeprefix("KV_")
        needs = bucket_needs(bucket, replicas, expiring=bucket in (names.table, names.tasks))
    return differences(name, info.config or {}, needs)


def _refusal(wrong: list[SettingDifference]) -> ConfigError:
    fixed = [one for one in wrong if not one.can_be_changed]
    advice = "`aether repair` changes what can be changed"
    if fixed:
        streams = ", ".join(sorted({one.stream for one in fixed}))
        settings = ", ".join(one.setting for one in fixed)
        advice = f"{settings} of {streams} cannot be changed: it must be made anew, without what it holds"
    return ConfigError(f"{'; '.join(map(str, wrong))}; {advice}", setting=wrong[0].setting, stream=wrong[0].stream)


def _is_younger(table: StreamInfo, stream: StreamInfo) -> bool:
    return table.created is not None and stream.created is not None and table.created > stream.created


def _age_s(info: StreamInfo) -> float:
    return inf if info.created is None or info.ts is None else (info.ts - info.created).total_seconds()


async def open_layout(connection: NatsConnection, namespace: str, timeout_s: float) -> Layout:
    """What a namespace is, once some worker has made it; waits at most `timeout_s`.

    Raises `Unavailable` when it is not there by then, `ConfigError` when it is of another layout.
    """
    stream = Names(check_namespace(namespace)).stream
    ends_s = asyncio.get_running_loop().time() + timeout_s
    attempt, said = 0, False
    while True:
        try:
            found = await stream_info(connection, stream, timeout_s=_answer_within_s(attempt))
            return _agreed(found, namespace, None)
        except Unavailable as error:
            why = _why_no_layout(connection, error)
        left_s = ends_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            others = await _others(connection)
            text = f"namespace {namespace!r} is not to be found at {connection.shown}: {why}{others}"
            raise Unavailable(text, namespace=namespace, server=connection.shown)
        if timeout_s - left_s > SAY_AFTER_S and not said:
            said = True
            log.warning("waiting for namespace %s at %s: %s", namespace, connection.shown, why)
        # Many clients must not ask in step; nothing depends on the value.
        await asyncio.sleep(min(WAIT.delay_s(attempt, random.random()), left_s))  # noqa: S311 - no secret
        attempt += 1


def _why_no_layout(connection: NatsConnection, error: Unavailable) -> str:
    if isinstance(error, ApiRefused) and error.err_code == ERROR_STREAM_NOT_FOUND:
        return "no worker has started in it"
    if isinstance(error, NotSent) and connection.session is not None:
        return "the server runs without JetStream; start it with -js"
    return error.message


async def _others(connection: NatsConnection) -> str:
    try:
        found = await namespaces(connection)
    except Unavailable:
        return ""
    return f"; this server has {', '.join(found[:OTHERS_SHOWN_MAX])}" if found else ""


async def namespaces(connection: NatsConnection) -> list[str]:
    """The namespaces present, in alphabetical order. Raises `Unavailable`."""
    found: list[str] = []
    total = 1
    while len(found) < total:
        page = await _stream_names(connection, "", {"subject": "aether.*.evt.>", "offset": len(found)})
        if not page.streams:
            break
        found += page.streams
        total = page.total
    return sorted(namespace for stream in found if (namespace := namespace_of_stream(stream)) is not None)


async def _create(connection: NatsConnection, config: dict[str, Any], ends_s: float) -> StreamInfo:
    name = config["name"]

    async def create(timeout_s: float) -> StreamInfo:
        try:
            return await _stream_create(connection, name, config, timeout_s=timeout_s)
        except ApiRefused as refused:
            if refused.err_code == ERROR_STREAM_EXISTS_OTHERWISE:
                return await stream_info(connection, name, timeout_s=timeout_s)
            raise

    try:
        return await _settled(create, ends_s)
    except ApiRefused as refused:
        if refused.err_code in (ERROR_REPLICAS_NOT_SUPPORTED, ERROR_NO_SUITABLE_PEERS):
            text = f"{config['num_replicas']} replicas cannot be made here: {refused.message}"
            raise ConfigError(text, setting="replicas") from None
        if refused.err_code == ERROR_STREAM_SUBJECT_OVERLAP:
            raise await _overlap(connection, config) from None
        raise


async def _overlap(connection: NatsConnection, config: dict[str, Any]) -> ConfigError:
    """What to say of a stream whose subjects other streams have."""
    others: dict[str, None] = {}
    for subject in config["subjects"]:
        try:
            page = await _stream_names(connection, "", {"subject": subject})
        except Unavailable:
            continue
        others.update(dict.fromkeys(page.streams or []))
    others.pop(config["name"], None)
    by = f"the stream{'s' * (len(others) > 1)} {', '.join(others)}" if others else "another stream"
    subjects = ", ".join(config["subjects"])
    text = f"{config['name']} cannot be made: subjects of {subjects} are stored by {by} already"
    return ConfigError(text, setting="subjects", stream=config["name"], others=list(others))


async def _settled(ask: Callable[[float], Awaitable[_T]], ends_s: float) -> _T:
    """What `ask(timeout_s)` gives once the servers know each other; at the end its last error."""
    attempt = 0
    while True:
        try:
            return await ask(_answer_within_s(attempt))
        except Unavailable as error:
            left_s = ends_s - asyncio.get_running_loop().time()
            if left_s <= 0 or (isinstance(error, ApiRefused) and error.err_code not in TEMPORARY):
                raise
        # Many workers must not ask in step; nothing depends on the value.
        await asyncio.sleep(min(WAIT.delay_s(attempt, random.random()), left_s))  # noqa: S311 - no secret
        attempt += 1


def _answer_within_s(attempt: int) -> float:
    return API_TIMEOUT_S if attempt > 8 else min(API_TIMEOUT_S, FIRST_ANSWER_S * 2.0**attempt)


def _agreed(found: StreamInfo, namespace: str, shards: int | None) -> Layout:
    config = found.config or {}
    metadata = config.get("metadata") or {}
    layout, found_shards = metadata.get(METADATA_LAYOUT), metadata.get(METADATA_SHARDS, "")
    if layout != LAYOUT_VERSION or not found_shards.isdecimal():
        text = f"namespace {namespace!r} has layout {layout!r}, this program knows {LAYOUT_VERSION!r}"
        raise ConfigError(text, setting="namespace", found=layout)
    if shards is not None and int(found_shards) != shards:
        text = f"namespace {namespace!r} was created with {found_shards} shards, not {shards}"
        raise ConfigError(text, setting="shards", found=int(found_shards))
    return Layout(Names(namespace, int(found_shards)), config.get("num_replicas", 1))

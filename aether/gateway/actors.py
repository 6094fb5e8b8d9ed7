"""The actors as resources: commands and queries, states, histories, keys.

The pool has the last word on every argument; here a request becomes a command, and an answer a response. No state.
"""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from aether.errors import DeadlineExceeded, InvalidCommand, UnknownCommand, nothing_stored
from aether.gateway.access import Role
from aether.gateway.config import GatewayConfig
from aether.gateway.requests import Options, Wishes, arguments_of, query_of, read_body, wishes_of
from aether.gateway.routes import Exchange, Handler, Route, not_found
from aether.gateway.version_at_time import read_time, version_at
from aether.ids import ActorId
from aether.model.definition import DeclaredCommand, JsonSchema
from aether.model.model import Model
from aether.model.schema_arguments import GivenArguments, convert, encode_arguments
from aether.model.schema_reading import accepted
from aether.untyped_client import VERSION_MAX, UntypedClient
from aether.wire import Answer, Event, encode_commit

HISTORY = "history"
CHUNK_BYTES = 65_536
ND_JSON = "application/x-ndjson"
_NOT = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
"""What `Accept` says of a media type that is not wanted."""

_ND_JSON_NAMES = ("application/x-ndjson", "application/jsonl", "application/ndjson")
BATCH = "application/cloudevents-batch+json"


class _Versioned(Struct):
    """What of a state's answer its tag is made of."""

    version: int


_version_of = Decoder(_Versioned).decode


class ActorRoutes:
    """What is below `/actors`."""

    def __init__(self, model: Model, client: UntypedClient, config: GatewayConfig) -> None:
        self._model = model
        self._client = client
        self._config = config
        self._document: JsonSchema = model.schema()

    def route(self, segments: tuple[str, ...]) -> Route:
        """The route of `kind`, `kind/key` or `kind/key/command`. Raises `UnknownActor`, `InvalidCommand`."""
        if not 1 <= len(segments) <= 3:
            raise not_found()
        kind = segments[0]
        actor_type = self._model.actor_type(kind)
        if len(segments) == 1:
            return Route({"GET": Handler(partial(self._keys, kind), Role.READ)}, kind)
        actor_id = ActorId(kind, segments[1])
        if len(segments) == 2:
            return Route({"GET": Handler(partial(self._state, actor_id), Role.READ)}, kind, actor_id.key)
        name = segments[2]
        declared = actor_type.commands.get(name)
        handlers: dict[str, Handler] = {}
        if declared is not None:
            role = Role.READ if declared.query else Role.CALL
            handlers["POST"] = Handler(partial(self._post, actor_id, declared), role)
            if declared.query:
                handlers["GET"] = Handler(partial(self._get, actor_id, declared), Role.READ)
        if name == HISTORY:
            handlers["GET"] = Handler(partial(self._history, actor_id), Role.READ)
        if not handlers:
            known = ", ".join(sorted(actor_type.commands))
            raise UnknownCommand(f"{kind} has no command {name!r}; it has: {known}", kind=kind, command=name)
        return Route(handlers, kind, actor_id.key, "" if name == HISTORY and declared is None else name)

    # ------------------------------------------------------------------------------------------------ calls

    async def _post(self, actor_id: ActorId, declared: DeclaredCommand, exchange: Exchange) -> None:
        wishes = wishes_of(exchange.headers)
        Options(exchange.scope, frozenset())
        body = await read_body(
            exchange.receive, exchange.headers, self._config.body_bytes_max, self._config.body_timeout_s
        )
        args = arguments_of(body, exchange.headers)
        send = self._tell if wishes.respond_async and not declared.query else self._call
        try:
            await send(actor_id, declared, args, wishes, exchange)
        except InvalidCommand as error:
            raise _by_header(error, wishes) from None

    async def _tell(
        self, actor_id: ActorId, declared: DeclaredCommand, args: bytes, wishes: Wishes, exchange: Exchange
    ) -> None:
        """Have a command stored, and answer when it is; arguments are checked here: no caller waits for the actor."""
        declared.decode_args(args)
        receipt = await self._client.tell(
            actor_id,
            declared.name,
            args,
            deadline_s=wishes.deadline_s or self._config.deadline_s,
            command_id=wishes.command_id,
            caller=exchange.caller,
            traceparent=wishes.traceparent,
            correlation_id=wishes.correlation_id,
        )
        told = {
            "id": {"kind": actor_id.kind, "key": actor_id.key},
            "command_id": receipt.command_id,
            "sequence": receipt.sequence,
        }
        await exchange.answer(orjson.dumps(told), status=202, Preference_Applied="respond-async")

    async def _get(self, actor_id: ActorId, declared: DeclaredCommand, exchange: Exchange) -> None:
        args = self._query_arguments(actor_id.kind, declared.name, query_of(exchange.scope))
        await self._call(actor_id, declared, args, wishes_of(exchange.headers), exchange)

    async def _call(
        self, actor_id: ActorId, declared: DeclaredCommand, args: bytes, wishes: Wishes, exchange: Exchange
    ) -> None:
        try:
            answer: Answer = await self._client.caller.call(
                actor_id,
                declared.name,
                args,
                deadline_s=wishes.deadline_s or self._config.deadline_s,
                command_id=wishes.command_id,
                caller=exchange.caller,
                traceparent=wishes.traceparent,
                correlation_id=wishes.correlation_id,
            )
        except DeadlineExceeded as late:
            raise (nothing_stored(late) if declared.query else late) from None
        value = bytes(answer.value)
        content = b'{"value":%b,"version":%d,"position":%d}' % (value, answer.version, answer.position)
        if wishes.deadline_s:
            await exchange.answer(content, Preference_Applied=f"wait={wishes.deadline_s:.0f}")
        else:
            await exchange.answer(content)

    def _query_arguments(self, kind: str, name: str, given: list[tuple[str, str]]) -> bytes:
        """The arguments of a query string, read by the query's schema: an array may be several fields of one name."""
        args: JsonSchema = self._document["actors"][kind]["commands"][name]["args"]
        properties: Mapping[str, Any] = args.get("properties", {})
        texts: dict[str, list[str]] = {}
        for field, text in given:
            texts.setdefault(field, []).append(text)
        single, exact = {}, {}
        for field, values in texts.items():
            schema = properties.get(field)
            if schema is not None and self._is_list(schema, values):
                items = schema.get("items", True) if isinstance(schema, dict) else True
                read = [convert(field, value, items, self._document) for value in values]
                exact[field] = Raw(b"[%b]" % b",".join(read))
            elif len(values) > 1:
                raise InvalidCommand("the argument is given twice", path=field)
            else:
                single[field] = values[0]
        return encode_arguments(GivenArguments(single, exact), name, args, self._document)

    def _is_list(self, schema: Any, values: list[str]) -> bool:
        takes = accepted(schema, self._document)
        if "array" not in takes.kinds or "string" in takes.kinds:
            return False
        return len(values) > 1 or not values[0].lstrip().startswith("[")

    # ------------------------------------------------------------------------------------------------ reads

    async def _state(self, actor_id: ActorId, exchange: Exchange) -> None:
        options = Options(exchange.scope, frozenset({"version", "time"}))
        version = options.number("version", None, 0, VERSION_MAX)
        time = options.text("time")
        if time is not None:
            if version is not None:
                raise InvalidCommand("a state is that of a version or that of a time", path="time")
            version = await self._version_at(actor_id, time, exchange)
        answer = await self._client.state_answer(actor_id, version, deadline_s=self._patience_s(exchange))
        state = bytes(answer.value)
        etag = f'"{_version_of(state).version}"'
        if _matches(exchange.headers.get(b"if-none-match"), etag):
            await exchange.answer(b"", status=304, cache="no-cache", ETag=etag)
        else:
            body = b'%b,"position":%d}' % (state.rstrip().removesuffix(b"}"), answer.position)
            await exchange.answer(body, cache="no-cache", ETag=etag)

    async def _version_at(self, actor_id: ActorId, time: str, exchange: Exchange) -> int:
        wanted = read_time(time, self._client.now)
        return await version_at(wanted, self._client.history(actor_id, deadline_s=self._patience_s(exchange)))

    async def _history(self, actor_id: ActorId, exchange: Exchange) -> None:
        options = Options(exchange.scope, frozenset({"after", "limit"}))
        after = options.number("after", 0, 0, VERSION_MAX)
        limit = self._limit(options)
        media_type = _history_type(exchange.headers)
        found = self._client.history(actor_id, after or 0, deadline_s=self._patience_s(exchange))
        first = await anext(found, None)  # what fails before the first event is a problem document
        events = _events(first[0] if first is not None else None, found, limit)
        if media_type == ND_JSON:
            await exchange.stream(_lines(events), media_type)
        else:
            await exchange.stream(_array(events), media_type)

    async def _keys(self, kind: str, exchange: Exchange) -> None:
        options = Options(exchange.scope, frozenset({"cursor", "limit"}))
        shard, after = read_cursor(options.text("cursor"), self._client.shards)
        limit = self._limit(options)
        keys: list[str] = []
        deadline_s = self._patience_s(exchange)
        while shard < self._client.shards:
            found = await self._client.keys_of_shard(kind, shard, deadline_s=deadline_s)
            left = [key for key in found if after is None or key > after]
            keys += left[: limit - len(keys)]
            if len(keys) == limit:
                await exchange.answer_json({"keys": keys, "cursor": cursor_of(shard, keys[-1])})
                return
            shard, after = shard + 1, None
        await exchange.answer_json({"keys": keys, "cursor": None})

    def _limit(self, options: Options) -> int:
        limit = options.number("limit", self._config.page_default, 1, self._config.page_max)
        assert limit is not None
        return limit

    def _patience_s(self, exchange: Exchange) -> float:
        return wishes_of(exchange.headers).deadline_s or self._config.deadline_s


def _by_header(error: InvalidCommand, wishes: Wishes) -> InvalidCommand:
    """The error with the name of the header where an id was given to another command: `id` may be an argument."""
    if error.path == "id" and wishes.command_id and error.message.startswith(f"the command id {wishes.command_id} "):
        return InvalidCommand(error.message, path="Idempotency-Key")
    return error


def _matches(header: bytes | None, etag: str) -> bool:
    """Whether `If-None-Match` names the tag."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.decode("latin-1").split(",")}
    return "*" in tags or etag in tags


def _history_type(headers: Mapping[bytes, bytes]) -> str:
    accept = headers.get(b"accept", b"").decode("latin-1").lower()
    wanted = {media_type.partition(";")[0].strip() for media_type in accept.split(",") if not _NOT.search(media_type)}
    if not wanted.isdisjoint(_ND_JSON_NAMES):
        return ND_JSON
    return BATCH if BATCH in wanted else "application/json"


async def _events(first: Event | None, rest: AsyncIterator[tuple[Event, Any]], limit: int) -> AsyncIterator[bytes]:
    """The first `limit` events, each as JSON."""
    if first is None:
        return
    yield encode_commit([first])[1:-1]
    if limit == 1:
        return
    async for event, _position in rest:
        yield encode_commit([event])[1:-1]
        limit -= 1
        if limit == 1:
            return


async def _lines(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    chunk = bytearray()
    async for event in events:
        chunk += event.replace(b"\n", b" ") + b"\n"
        if len(chunk) > CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


async def _array(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    chunk, separator = bytearray(b"["), b""
    async for event in events:
        chunk += separator + event
        separator = b","
        if len(chunk) > CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk) + b"]"


def cursor_of(shard: int, key: str) -> str:
    """Where a list of keys goes on: after a key of a shard."""
    return base64.urlsafe_b64encode(orjson.dumps([shard, key])).decode().rstrip("=")


def read_cursor(text: str | None, shards: int) -> tuple[int, str | None]:
    """The shard to go on with, and the key after which. Raises `InvalidCommand`."""
    if text is None:
        return 0, None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        match orjson.loads(raw):
            case [int(shard), str(key)] if 0 <= shard < shards:
                return shard, key
    except (binascii.Error, ValueError):
        pass
    raise InvalidCommand("this is no cursor that a list of keys gave", path="cursor")

"""OpenAPI 3.1 of a model: one operation for each command and query, and the paths that every kind has.

Pure: from `model.schema()` to a document.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from aether.gateway.problems import MEDIA_TYPE as PROBLEM_TYPE
from aether.gateway.schemas import component_names, placed
from aether.ids import COMMAND_ID_CHARS_MAX
from aether.model.schema_reading import accepted

Json = dict[str, Any]

_PROBLEM: Json = {
    "type": "object",
    "description": "An RFC 9457 problem document; the fields of the error are further members.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
    "additionalProperties": True,
}
_EVENT: Json = {
    "type": "object",
    "description": "A stored event as a CloudEvent 1.0; its id is its version.",
    "required": ["specversion", "id", "source", "type", "time", "data"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string"},
        "source": {"type": "string"},
        "type": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "data": {},
    },
    "additionalProperties": True,
}
_ERRORS = {
    "400": "The request is malformed.",
    "401": "There is no token, or one that is not known.",
    "403": "The token has not the role that this needs, or a page of another origin has sent this.",
    "404": "The model has no such actor or command.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not `application/json`.",
    "422": "An argument is not what it must be; `path` names it.",
    "429": "A bound is reached; nothing was done.",
    "500": "The actor's handler failed; nothing was stored.",
    "503": "No worker answers now; nothing was done.",
    "504": "The deadline passed; `outcome_known` says whether the command may have been carried out.",
}
_OFTEN = ("400", "404", "422", "429", "500", "503", "504")
_OF_BODIES = ("403", "408", "413", "415")
_OF_TOKENS = ("401", "403")


def openapi(name: str, schema: Mapping[str, Any], *, bearer: bool) -> Json:
    """The document of a model with this name and schema; `bearer`: requests need a token."""
    # No type of a model has a name with a slash.
    names = component_names([*schema["$defs"], "aether/problem", "aether/event"])
    problem, event = names["aether/problem"], names["aether/event"]
    whole = _Whole(schema, names, event, _OF_TOKENS if bearer else ())
    paths: Json = {}
    for kind, actor in schema["actors"].items():
        paths.update(whole.kind_paths(kind, actor))
    paths.update(whole.other_paths())
    components: Json = {
        "schemas": {
            **{names[key]: placed(one, names) for key, one in schema["$defs"].items()},
            problem: _PROBLEM,
            event: _EVENT,
        },
        "responses": {
            f"Error{status}": {"description": text, "content": {PROBLEM_TYPE: {"schema": whole.reference(problem)}}}
            for status, text in {**_ERRORS, "409": "The actor says no; nothing was stored."}.items()
        },
    }
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version("aether-actors"), "summary": f"The actors of {name}."},
        "paths": paths,
        "components": components,
    }
    if bearer:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


class _Whole:
    """The document in the making: the schema it is made from, the names of its components, errors of every request."""

    def __init__(
        self, schema: Mapping[str, Any], names: Mapping[str, str], event: str, everywhere: tuple[str, ...]
    ) -> None:
        self._schema = schema
        self._names = names
        self._event = event
        self._everywhere = everywhere

    def reference(self, component: str) -> Json:
        return {"$ref": f"#/components/schemas/{component}"}

    def kind_paths(self, kind: str, actor: Mapping[str, Any]) -> Json:
        """The paths of a kind."""
        tags = {"tags": [kind]}
        paths: Json = {
            f"/actors/{kind}": {"get": {**tags, **self._keys(kind)}},
            f"/actors/{kind}/{{key}}": {"get": {**tags, **self._state(kind, actor)}},
            f"/actors/{kind}/{{key}}/history": {"get": {**tags, **self._history(kind)}},
        }
        for command, declared in actor["commands"].items():
            path = paths.setdefault(f"/actors/{kind}/{{key}}/{command}", {})
            if declared["query"] and command != "history":
                path["get"] = {**tags, **self._query(kind, command, declared)}
            else:
                path["post"] = {**tags, **self._command(kind, command, declared)}
        return paths

    def _command(self, kind: str, command: str, declared: Mapping[str, Any]) -> Json:
        args = placed(declared["args"], self._names)
        parameters: list[Json] = [_KEY, _PREFER]
        if not declared["query"]:
            parameters += [_IDEMPOTENCY_KEY, _CORRELATION_ID, _TRACEPARENT]
        body = {"required": bool(args.get("required")), "content": {"application/json": {"schema": args}}}
        return {
            "operationId": f"{kind}_{command}" + "_post" * bool(declared["query"]),
            **_words(declared["description"], f"The command {command} of {kind}."),
            "parameters": parameters,
            **({"requestBody": body} if args.get("properties") else {}),
            "responses": {
                "200": self._answer(declared),
                **({} if declared["query"] else {"202": _RECEIPT}),
                **self._errors(*_OFTEN, *_OF_BODIES, "409"),
            },
        }

    def _query(self, kind: str, command: str, declared: Mapping[str, Any]) -> Json:
        args = declared["args"]
        required = args.get("required", ())
        fields = [self._field(name, one, name in required) for name, one in args.get("properties", {}).items()]
        return {
            "operationId": f"{kind}_{command}",
            **_words(declared["description"], f"The query {command} of {kind}."),
            "parameters": [_KEY, *fields, _PREFER],
            "responses": {"200": self._answer(declared), **self._errors(*_OFTEN, "409")},
        }

    def _field(self, name: str, schema: Any, required: bool) -> Json:
        """An argument in the query string: as it is, several times for an array, JSON for an object."""
        field = {"name": name, "in": "query", "required": required}
        placed_schema = placed(schema, self._names)
        if "object" in accepted(schema, self._schema).kinds:
            return {**field, "content": {"application/json": {"schema": placed_schema}}}
        return {**field, "schema": placed_schema}

    def _answer(self, declared: Mapping[str, Any]) -> Json:
        return _json_response(
            "The reply, and the actor's version and position after it.",
            {
                "type": "object",
                "required": ["value", "version", "position"],
                "properties": {
                    "value": placed(declared["reply"], self._names),
                    "version": {"type": "integer"},
                    "position": {"type": "integer"},
                },
            },
        )

    def _state(self, kind: str, actor: Mapping[str, Any]) -> Json:
        found = {
            "type": "object",
            "required": ["id", "version", "state", "position"],
            "properties": {
                "id": _IDENTITY,
                "version": {"type": "integer"},
                "state": placed(actor["state"], self._names),
                "position": {"type": "integer"},
            },
        }
        tag = {"ETag": {"description": "The version, in quotes.", "schema": {"type": "string"}}}
        return {
            "operationId": f"{kind}_state",
            **_words(actor["description"], f"The state of one {kind}."),
            "parameters": [_KEY, _number("version", "The state after so many events; now by default.", 0), _TIME,
                           _header("If-None-Match", "The `ETag` that is known.")],
            "responses": {
                "200": {**_json_response("The state.", found), "headers": tag},
                "304": {"description": "The state is at the version that is known."},
                **self._errors(*_OFTEN),
            },
        }  # fmt: skip

    def _history(self, kind: str) -> Json:
        one = self.reference(self._event)
        many = {"type": "array", "items": one}
        return {
            "operationId": f"{kind}_history",
            "summary": f"The events of one {kind}, from the first.",
            "parameters": [_KEY, _number("after", "Only events after this version.", 0), _LIMIT],
            "responses": {
                "200": {
                    "description": "CloudEvents, as an array or a line each.",
                    "content": {
                        "application/json": {"schema": many},
                        "application/cloudevents-batch+json": {"schema": many},
                        "application/x-ndjson": {"schema": {"type": "string"}},
                    },
                },
                **self._errors(*_OFTEN),
            },
        }

    def _keys(self, kind: str) -> Json:
        page = {
            "type": "object",
            "required": ["keys", "cursor"],
            "properties": {
                "keys": {"type": "array", "items": {"type": "string"}},
                "cursor": {"type": ["string", "null"], "description": "Where the next page begins; null at the end."},
            },
        }
        cursor = {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}}
        return {
            "operationId": f"{kind}_keys",
            "summary": f"The keys of every {kind} that has a history.",
            "parameters": [{**cursor, "description": "The `cursor` of the page before."}, _LIMIT],
            "responses": {"200": _json_response("Some keys.", page), **self._errors(*_OFTEN)},
        }

    def other_paths(self) -> Json:
        """The paths that are of no kind."""
        return {
            "/events": {"get": self._events()},
            "/healthz": {"get": _health("healthz", "Whether an actor answers.")},
            "/readyz": {"get": _health("readyz", "Whether every shard has a worker.")},
            "/metrics": {"get": self._metrics()},
        }

    def _events(self) -> Json:
        types = {
            "name": "type",
            "in": "query",
            "required": False,
            "schema": {"type": "array", "items": {"type": "string"}},
        }
        text = {"in": "query", "required": False, "schema": {"type": "string"}}
        return {
            "operationId": "events",
            "summary": "Events as they are stored, as server-sent events; see /asyncapi.json.",
            "parameters": [
                {**types, "description": "Only events of these types."},
                {"name": "kind", "description": "Only events of this kind.", **text},
                {"name": "key", "description": "Only events of this actor of the kind.", **text},
                {"name": "after", "description": "Go on after the event with this id.", **text},
                _header("Last-Event-ID", "Go on after the event with this id."),
            ],
            "responses": {
                "200": {
                    "description": "A stream without end.",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                **self._errors("400", "422", "429", "500", "503"),
            },
        }

    def _metrics(self) -> Json:
        return {
            "operationId": "metrics",
            "summary": "What the workers have measured, for Prometheus.",
            "responses": {
                "200": {
                    "description": "The numbers of all workers, added.",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                },
                **self._errors("503"),
            },
        }

    def _errors(self, *statuses: str) -> Json:
        return {
            status: {"$ref": f"#/components/responses/Error{status}"}
            for status in sorted({*statuses, *self._everywhere})
        }


def _health(name: str, summary: str) -> Json:
    status = {"status": {"type": "string"}, "why": {"type": "string"}}
    schema = {"type": "object", "required": ["status"], "properties": status}
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": _json_response("It does.", schema), "503": _json_response("It does not.", schema)},
    }


def _words(description: str, otherwise: str) -> Json:
    """A summary from the first line of a docstring, and the rest of it."""
    first, _, rest = description.partition("\n\n")
    words = {"summary": " ".join(first.split()) or otherwise}
    return {**words, "description": rest} if rest else words


def _json_response(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _header(name: str, description: str, schema: Json | None = None) -> Json:
    wanted = schema or {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": wanted}


def _number(name: str, description: str, least: int) -> Json:
    schema = {"type": "integer", "minimum": least}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_KEY: Json = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The actor's key: 1-200 bytes of UTF-8, percent-encoded.",
    "schema": {"type": "string", "minLength": 1},
}
_IDENTITY: Json = {
    "type": "object",
    "required": ["kind", "key"],
    "properties": {"kind": {"type": "string"}, "key": {"type": "string"}},
}
_RECEIPT = _json_response(
    "The command is on the disk and will be carried out; as `Prefer: respond-async` asks.",
    {
        "type": "object",
        "required": ["id", "command_id", "sequence"],
        "properties": {"id": _IDENTITY, "command_id": {"type": "string"}, "sequence": {"type": "integer"}},
    },
)
_PREFER = _header(
    "Prefer",
    "`wait=N`: the deadline in seconds, at most 60. `respond-async`: answer when a command is stored, not carried out.",
)
_IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The command's id: the same request with the same key has one effect and one answer.",
    {"type": "string", "minLength": 1, "maxLength": COMMAND_ID_CHARS_MAX},
)
_TIME = {
    "name": "time",
    "in": "query",
    "required": False,
    "description": "The state as of a time that has passed, with its zone; not with `version`.",
    "schema": {"type": "string", "format": "date-time"},
}
_CORRELATION_ID = _header(
    "X-Correlation-Id",
    "The process that the command belongs to; `aether trace` finds it.",
    {"type": "string", "minLength": 1, "maxLength": COMMAND_ID_CHARS_MAX},
)
_TRACEPARENT = _header("traceparent", "The trace that the command belongs to (W3C Trace Context).")
_LIMIT = _number("limit", "At most so many.", 1)

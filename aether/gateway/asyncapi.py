"""AsyncAPI 3.0 of a model: its events, over server-sent events and over NATS.

Pure: from `model.schema()` to a document.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from aether.gateway.schemas import component_names, placed

Json = dict[str, Any]


def asyncapi(name: str, namespace: str, schema: Mapping[str, Any]) -> Json:
    """The document of a model with this name and schema, in a namespace."""
    names = component_names(schema["$defs"])
    messages: Json = {}
    nats_channels: Json = {}
    for kind, actor in schema["actors"].items():
        for event, data in actor["events"].items():
            messages[f"{kind}.{event}"] = _message(namespace, kind, event, placed(data, names))
        nats_channels[f"stored.{kind}"] = _nats_channel(namespace, kind)
    stream = {
        "address": "/events",
        "title": "Events as they are stored",
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
    }
    batches = {f"{kind}.commit": _batch(kind, actor["events"]) for kind, actor in schema["actors"].items()}
    operations: Json = {
        "events": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Server-sent events; the query string selects by type, kind and key, Last-Event-ID resumes.",
        }
    }
    for kind in schema["actors"]:
        operations[f"stored.{kind}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/stored.{kind}"},
            "summary": f"The server's broadcast of every stored commit of a {kind}.",
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": name, "version": version("aether-actors"), "description": f"The events of {name}."},
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "gateway": {"host": "{host}", "protocol": "http", "variables": {"host": {"description": "The gateway."}}},
            "nats": {"host": "{host}", "protocol": "nats", "variables": {"host": {"description": "The NATS server."}}},
        },
        "channels": {"events": stream, **nats_channels},
        "operations": operations,
        "components": {
            "messages": {**messages, **batches},
            "schemas": {names[key]: placed(one, names) for key, one in schema["$defs"].items()},
        },
    }


def _message(namespace: str, kind: str, event: str, data: Any) -> Json:
    return {
        "name": event,
        "title": f"{event} of {kind}",
        "contentType": "application/cloudevents+json",
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "time", "data"],
            "properties": {
                "specversion": {"type": "string", "const": "1.0"},
                "id": {"type": "string", "description": "The event's version."},
                "source": {"type": "string", "pattern": f"^/{namespace}/{kind}/"},
                "type": {"type": "string", "const": event},
                "time": {"type": "string", "format": "date-time"},
                "data": data,
                "commandid": {"type": "string"},
                "correlationid": {"type": "string"},
            },
        },
    }


def _batch(kind: str, events: Mapping[str, Any]) -> Json:
    """A commit: the events of a turn in the JSON batch format of CloudEvents."""
    of_event = [{"$ref": f"#/components/messages/{kind}.{event}/payload"} for event in events]
    return {
        "name": f"{kind}.commit",
        "title": f"A commit of a {kind}",
        "contentType": "application/cloudevents-batch+json",
        "payload": {"type": "array", "minItems": 1, "items": {"anyOf": of_event} if of_event else {}},
    }


def _nats_channel(namespace: str, kind: str) -> Json:
    return {
        "address": f"stored.aether.{namespace}.evt.{{shard}}.{kind}.{{key}}",
        "title": f"Stored commits of {kind}",
        "servers": [{"$ref": "#/servers/nats"}],
        "parameters": {
            "shard": {"description": "The actor's shard, a decimal number."},
            "key": {"description": "The actor's key, where every byte outside of A-Z a-z 0-9 _ - is =XX."},
        },
        "messages": {f"{kind}.commit": {"$ref": f"#/components/messages/{kind}.commit"}},
    }

"""From an `Actor` class to a compiled kind: its state fields, its handlers, and the fold over them.

Everything that can be wrong with the class is found here, when a model is built, as a `ModelError` with its place.
"""

import copy
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from types import FunctionType, MappingProxyType, NoneType, UnionType
from typing import Any, ClassVar

import msgspec

from aether.codec import Codec, Misfit, is_immutable, is_pydantic
from aether.errors import InvalidCommand
from aether.ids import ActorId, check_kind
from aether.model.actor import CLOSED, Actor, new_state, set_field, set_open
from aether.model.compiled import CompiledKind
from aether.model.declared import Place, codec_of, place_of_class, place_of_field, place_of_function, resolve, resolve_signature
from aether.model.definition import Scope
from aether.model.handlers import Role, role_of
from aether.model.messages import TypedCommand, TypedEvent
from aether.model.schema import GENERATED
from aether.model.signature import compile_handler

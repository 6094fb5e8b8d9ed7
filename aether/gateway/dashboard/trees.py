"""A state as a tree to look at, and what changed from one state to the next.

Pure. Both are bounded: a state may hold thousands of entries, a page is small. What is left out is counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec import Raw
from msgspec.json import encode, format

NODES_MAX = 250
"""Nodes of one tree."""

ITEMS_MAX = 40
"""Items shown of one list or mapping; of a longer one the first `FIRST_ITEMS` and those that changed."""

FIRST_ITEMS = 12

CHANGES_MAX = 12
"""Changes shown of one event."""

TEXT_CHARS_MAX = 160
"""Characters shown of one value."""

OPEN_ITEMS_MAX = 12
"""A list or mapping with more items is closed at first."""


@dataclass(slots=True)
class Node:
    """One value of a tree. `size` is how many items it has, `hidden` how many of them are not shown."""

    name: str
    text: str
    type: str
    children: list["Node"] = field(default_factory=list)
    size: int = 0
    hidden: int = 0
    changed: bool = False

    @property
    def opened(self) -> bool:
        """Whether its items are to be seen at first."""
        return self.changed or self.size <= OPEN_ITEMS_MAX


@dataclass(frozen=True, slots=True)
class Change:
    """One place of a state that an event changed. `before` and `after` are JSON texts, None where there is nothing."""

    path: tuple[str | int, ...]
    before: str | None
    after: str | None

    @property
    def place(self) -> str:
        """The path as a text: `lines[0].count`."""
        return path_text(self.path)


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed: the first `CHANGES_MAX` changes, and how many more there are."""

    changes: tuple[Change, ...]
    hidden: int = 0

    @property
    def paths(self) -> frozenset[tuple[str | int, ...]]:
        """The places that changed."""
        return frozenset(change.path for change in self.changes)


def tree(state: Any, changed: frozenset[tuple[str | int, ...]] = frozenset()) -> Node:
    """The state as a tree, with the places that changed marked, and what is around them."""
    around = frozenset(path[:length] for path in changed for length in range(len(path) + 1))
    return _Trees(around).node("", state, ())


class _Trees:
    """Makes one tree, and counts its nodes."""

    def __init__(self, marked: frozenset[tuple[str | int, ...]]) -> None:
        self._marked = marked
        self._left = NODES_MAX

    def node(self, name: str, value: Any, path: tuple[str | int, ...]) -> Node:
        """A value with what is in it."""
        self._left -= 1
        one = Node(name, "", _type_of(value), changed=path in self._marked)
        if not isinstance(value, dict | list):
            one.text = shown(value)
            return one
        one.size = len(value)
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        few = len(items) if len(items) <= ITEMS_MAX else FIRST_ITEMS
        first = [key for key, _ in items[:few]]
        late = [key for key, _ in items[few:] if (*path, key) in self._marked][:ITEMS_MAX]
        wanted = {*first, *late}
        for key, item in items:
            if key in wanted and self._left > 0:
                label = f"[{key}]" if isinstance(value, list) else str(key)
                one.children.append(self.node(label, item, (*path, key)))
        one.hidden = one.size - len(one.children)
        return one


def difference(before: Any, after: Any) -> Difference:
    """What changed between two JSON values."""
    found: list[Change] = []
    hidden = 0
    for change in _changes((), before, after):
        if len(found) < CHANGES_MAX:
            path, old, new = change
            found.append(Change(path, None if old is _GONE else shown(old), None if new is _GONE else shown(new)))
        else:
            hidden += 1
    return Difference(tuple(found), hidden)


def shown(value: Any) -> str:
    """A value as short JSON."""
    text = format(encode(value), indent=0).decode()
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]}… ({len(text):,} characters)"


def raw_text(raw: Raw) -> str:
    """A value that is stored as JSON, as short JSON; what other programs stored may be none."""
    try:
        return shown(orjson.loads(bytes(raw)))
    except orjson.JSONDecodeError:
        return "this is no JSON"


def path_text(path: tuple[str | int, ...]) -> str:
    """`("lines", 0, "count")` as `lines[0].count`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "state"


class _Gone:
    """There is no value."""


_GONE = _Gone()


def _changes(path: tuple[str | int, ...], before: Any, after: Any) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mapping_changes(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_changes(path, before, after)
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def _mapping_changes(
    path: tuple[str | int, ...], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    for key, old in before.items():
        if key not in after:
            yield (*path, key), old, _GONE
        else:
            new = after[key]
            # Most items are the same, and a large state has many.
            if old is not new and (old != new or isinstance(old, dict | list) or type(old) is not type(new)):
                yield from _changes((*path, key), old, new)
    for key, new in after.items():
        if key not in before:
            yield (*path, key), _GONE, new


def _list_changes(
    path: tuple[str | int, ...], before: list[Any], after: list[Any]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Changes between what both begin with and what both end with; indices are those of the later list."""
    shorter = min(len(before), len(after))
    start = next((place for place in range(shorter) if before[place] != after[place]), shorter)
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for place in range(max(len(old), len(new))):
        where = (*path, start + place)
        if place >= len(new):
            yield where, old[place], _GONE
        elif place >= len(old):
            yield where, _GONE, new[place]
        else:
            yield from _changes(where, old[place], new[place])


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}[type(value)]

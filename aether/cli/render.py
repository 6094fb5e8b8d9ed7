"""What commands print: JSON lines for programs, tables and a tree for people.

Owns stdout. JSON is written as UTF-8 bytes, whatever the locale says; what came from actors is shown as text, never
read as markup.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC
from typing import Any

from msgspec.json import encode, format
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from aether.cli.board import Board
from aether.cli.context import RepairedSetting
from aether.cli.exits import one_line
from aether.core.cluster.overview import Overview, ShardOverview, ShardState
from aether.history_check import SCHEDULES, STATE, CheckedHistories
from aether.ids import ActorId
from aether.model.schema_reading import Schema, resolve, signature_text, type_text
from aether.wire import Event, encode_commit, instant

_MEMBER_COLUMNS = ("node", "slot", "state", "why", "pid", "shards", "active", "model", "started_at")
_INBOX_COLUMNS = ("id", "state", "actor", "command", "count", "failures", "waits_s", "at", "error")
_NEED_COLUMNS = ("needed", "before", "for")
_SHARD_COLUMNS = ("shard", "state", "holder", "wanted", "epoch")
_SCHEDULE_COLUMNS = ("next", "actor", "name", "rule", "zone", "catch_up", "target", "command")
_TASK_COLUMNS = ("task", "waiting", "taken")
_FAILED_TASK_COLUMNS = ("id", "task", "actor", "state", "attempt", "attempts", "error", "next_at")
_MEMBER_TITLES = {"started_at": "started at (UTC)", "waits_s": "waits (s)", "at": "given up at"}
_WHOLE_LINES = 1_000_000
"""Columns of what is no screen: more than any line has."""

_LONG_COLUMNS = ("values", "command id", "why", "error", "actor", "target", "name", "task", "command", "rule", "for")
"""Columns whose cells may be longer than a line, so that they are folded."""

_FOLDED_MIN = 12
"""A column is folded no narrower than this."""


class ReaderGone(Exception):
    """The program that read stdout has stopped, as `head` does."""


def write_json(value: bytes) -> None:
    """One JSON value on one line of stdout, at once. Raises `ReaderGone`."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(format(value, indent=-1) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def write_text(text: str) -> None:
    """A text as it is, with its own line breaks. Raises `ReaderGone`."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def event_json(event: Event) -> bytes:
    """The event as one CloudEvent."""
    return encode_commit([event])[1:-1]


def write_event(actor_id: ActorId, event: Event) -> None:
    """An event as one line for people: when, of which actor and version, its type and values."""
    time = event.time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    values = format(bytes(event.data), indent=-1).decode()
    write_line(f"{time} {actor_id} {event.id} {event.type} {values}")


def write_line(text: str) -> None:
    """One line of text, at once, with everything that is not printable as an escape. Raises `ReaderGone`."""
    try:
        print(one_line(text), flush=True)
    except BrokenPipeError:
        raise ReaderGone from None


def write_value(value: object) -> None:
    """A value of plain JSON types as one line of stdout."""
    write_json(encode(value))


def write_history(title: str, events: Iterable[Event]) -> None:
    """A table of events."""
    table = _table(("version", "time (UTC)", "event", "values", "command id"))
    for event in events:
        values = format(bytes(event.data), indent=-1).decode()
        shown = event.time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
        table.add_row(*_cells(event.id, shown, event.type, values, event.commandid))
    _print(table, title)


def write_overview(
    namespace: str, found: Overview, *, shards: bool, table: bool, supervisors: Sequence[int] = ()
) -> None:
    """The workers, or the shards, as JSON, one per line, or as a table below the supervisors of this directory."""
    rows = [_shard_row(one) for one in found.shards] if shards else found.members
    if not table:
        for row in rows:
            write_value(row)
        return
    count = len(found.members)
    title = f"namespace {namespace}: {count} worker{'s' * (count != 1)}, {_shards_in_words(found.shards)}"
    title += "".join(f", supervisor here: process {pid}" for pid in supervisors)
    _write_rows(title, rows, _SHARD_COLUMNS if shards else _MEMBER_COLUMNS)


def write_inbox(rows: Sequence[Mapping[str, Any]], *, table: bool, left_out: int) -> None:
    """What waits and what is dead, as a table, or as JSON, one per line; and how much more there is, on stderr."""
    if table:
        _write_rows("", rows, _INBOX_COLUMNS)
    else:
        for row in rows:
            write_value(row)
    if left_out:
        print(f"{left_out} more are left out", file=sys.stderr)


def write_inbox_kept(size: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, table: bool, left_out: int) -> None:
    """How large the inbox is and what needs it, as a table, or as JSON, one per line; how much more, on stderr."""
    if table:
        title = f"sequences {size['first']} to {size['last']}, {size['bytes']} bytes"
        _write_rows(f"{title}; {size['removable']} of {size['messages']} messages are not needed", rows, _NEED_COLUMNS)
    else:
        for row in (size, *rows):
            write_value(row)
    if left_out:
        print(f"{left_out} more are left out", file=sys.stderr)


def write_schedules(rows: Sequence[Mapping[str, Any]], *, table: bool) -> None:
    """The schedules that wait, as a table, or as JSON, one per line."""
    if table:
        _write_rows("", rows, _SCHEDULE_COLUMNS)
    else:
        for row in rows:
            write_value(row)


def write_tasks(rows: Sequence[Mapping[str, Any]], *, failed: bool, table: bool) -> None:
    """How many tasks of each name there are, or those that have failed, as a table, or as JSON, one per line."""
    if table:
        _write_rows("", rows, _FAILED_TASK_COLUMNS if failed else _TASK_COLUMNS)
        return
    for row in rows:
        write_value(row)


def write_checked(checked: CheckedHistories, *, table: bool) -> None:
    """What a model made of stored events: per kind, type and schema version, as a table with the errors below it, or as
    JSON, one per line.
    """
    if not table:
        for finding in checked.findings:
            write_value({name: value for name, value in asdict(finding).items() if value != ""})
        return
    shown = _table(("kind", "event", "schema version", "read", "failed"))
    for one in checked.findings:
        shown.add_row(*_cells(one.kind, one.event, one.schema_version or "", one.read, one.failed or ""))
    _print(shown)
    for one in checked.findings:
        if one.error:
            write_line(f"{one.kind} {one.event}".rstrip() + f": {one.error}")


def checked_in_words(checked: CheckedHistories, namespace: str) -> str:
    """The outcome of a check in one sentence."""
    events = sum(one.read for one in checked.findings if one.event not in ("", STATE, SCHEDULES))
    of_actors = f"{events} events of {checked.actors_read} of {checked.actors_stored} actors of namespace {namespace}"
    outcome = "everything can be read" if checked.good else "not everything can be read"
    rest = "; --all reads all actors" if checked.actors_read < checked.actors_stored and checked.good else ""
    return f"{outcome}: {of_actors}{rest}"


def write_differences(found: Sequence[RepairedSetting], *, changed: bool) -> None:
    """Each setting that was not as needed, as JSON, one per line, and what became of it."""
    for one in found:
        outcome = "cannot be changed" if not one.can_be_changed else "changed" if changed else "can be changed"
        row = {"stream": one.stream, "setting": one.setting, "found": one.found, "needed": one.needed}
        write_value({**row, "outcome": outcome})


def _shard_row(shard: ShardOverview) -> dict[str, Any]:
    return {**shard._asdict(), "state": shard.state.value}


def _shards_in_words(shards: Sequence[ShardOverview]) -> str:
    counts = {state: sum(shard.state is state for shard in shards) for state in ShardState}
    shown = [f"{count} {state.value}" for state, count in counts.items() if count]
    return f"{len(shards)} shards: {', '.join(shown)}"


def _write_rows(title: str, rows: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> None:
    columns = [column for column in wanted if any(column in row for row in rows)]
    table = _table([_MEMBER_TITLES.get(column, column) for column in columns])
    for row in rows:
        table.add_row(*_cells(*(_member_cell(column, row.get(column, "")) for column in columns)))
    _print(table, title)


def write_board(board: Board) -> None:
    """A tree of the actors with their commands, queries, events and state, of policies, tasks and schedules."""
    tree = Tree(Text(f"model {board.name}", style="bold"))
    for kind, actor in board.actors.items():
        branch = tree.add(_described(kind, actor))
        commands: Mapping[str, Schema] = actor.get("commands", {})
        for title, query in (("commands", False), ("queries", True)):
            lines = [_command(n, c, board) for n, c in commands.items() if bool(c.get("query")) is query]
            _add_group(branch, title, lines)
        events: Mapping[str, Schema] = actor.get("events", {})
        _add_group(branch, "events", [_event(name, event, board) for name, event in events.items()])
        _add_group(branch, "state", _fields(actor.get("state", {}), board))
    policies: Mapping[str, Schema] = board.document.get("policies", {})
    _add_group(tree, "policies", [_policy(name, one, board) for name, one in policies.items()])
    tasks: Mapping[str, Schema] = board.document.get("tasks", {})
    added = _add_group(tree, "tasks", [_task(name, one, board) for name, one in tasks.items()])
    for name, task in zip(tasks, added, strict=True):
        for line in _starts(name, board):
            task.add(line)
    _add_group(tree, "schedules", [_schedule(one) for one in board.document.get("schedules", ())])
    _add_group(tree, "types", _types(board))
    _print(tree)


def _task(name: str, task: Schema, board: Board) -> Text:
    takes, gives = signature_text(task.get("args", {}), board.document), type_text(task["result"], board.document)
    return _described(f"{name}({takes}) -> {gives}", task)


def _starts(name: str, board: Board) -> list[Text]:
    """A line for each command or policy that starts a task."""
    starts = [one for one in board.document.get("starts", ()) if one["task"] == name]
    ends = ((one["by"], _name(one["then"]), _name(one["failed"])) for one in starts)
    return [Text(f"started by {_name(by)}: result to {then}, failure to {failed}") for by, then, failed in ends]


def _schedule(schedule: Schema) -> Text:
    set_by, runs = _name(schedule["by"]), _name(schedule["run"])
    return Text(one_line(f"{schedule['name']}: {schedule['when']}, set by {set_by}, runs {runs}"))


def _name(one: Schema | None) -> str:
    """A command, a policy, or none."""
    if one is None:
        return "none"
    return f"policy {one['policy']}" if "policy" in one else f"{one['kind']}.{one['command']}"


def _policy(name: str, policy: Schema, board: Board) -> Text:
    events = ", ".join(f"{one['kind']}.{one['event']}" for one in policy["events"])
    tells: Sequence[Schema] | None = policy["tells"]
    does = ["any command: it has no `tells`"] if tells is None else [f"{one['kind']}.{one['command']}" for one in tells]
    does += [f"task {one['task']}" for one in board.document.get("starts", ()) if one["by"] == {"policy": name}]
    return _described(f"{name}: {events} -> {', '.join(does) or 'nothing'}", policy)


def _types(board: Board) -> list[Text]:
    """The types with fields that messages and states are made of, but for the events themselves."""
    events = {name for actor in board.actors.values() for name in actor.get("events", {})}
    definitions: Mapping[str, Schema] = board.document.get("$defs", {})
    return [_event(n, one, board) for n, one in definitions.items() if "properties" in one and n not in events]


def _command(name: str, command: Schema, board: Board) -> Text:
    arguments = signature_text(command.get("args", {}), board.document)
    line = f"{name}({arguments}) -> {type_text(command.get('reply', True), board.document)}"
    return _described(line, command)


def _event(name: str, event: Schema, board: Board) -> Text:
    return _described(f"{name}({signature_text(event, board.document)})", resolve(event, board.document))


def _fields(state: Schema, board: Board) -> list[Text]:
    properties: Mapping[str, Schema] = resolve(state, board.document).get("properties", {})
    return [
        Text(one_line(signature_text({"properties": {name: field}}, board.document).removesuffix(" (optional)")))
        for name, field in properties.items()
    ]


def _add_group(branch: Tree, title: str, lines: Sequence[Text]) -> list[Tree]:
    if not lines:
        return []
    group = branch.add(Text(title, style="dim"))
    return [group.add(line) for line in lines]


def _described(line: str, described: Schema) -> Text:
    about = _first_sentence(str(described.get("description") or ""))
    text = Text(one_line(line))
    return text.append(f"  {about}", style="dim") if about else text


def _first_sentence(description: str) -> str:
    paragraph = one_line(description.strip().partition("\n\n")[0])
    sentence, end, _ = paragraph.partition(". ")
    return sentence + end.strip()


def _member_cell(column: str, value: object) -> object:
    if column == "started_at" and isinstance(value, int | float):
        return f"{instant(value):%Y-%m-%d %H:%M:%S}"
    return value


def _table(columns: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _LONG_COLUMNS)
    return table


def _cells(*values: object) -> list[Text]:
    return [Text(one_line(str(value))) for value in values]


class Screen(Console):
    """Stdout, drawn on. Raises `ReaderGone`."""

    def on_broken_pipe(self) -> None:
        """Called where stdout is read no more."""
        raise ReaderGone


def _print(renderable: Table | Tree, title: str = "") -> None:
    screen = Screen(file=sys.stdout, highlight=False)
    # Folding is for screens: a pipe or a file gets whole lines, and so does a screen where columns would be left out.
    if not screen.is_terminal or (isinstance(renderable, Table) and _width_min(renderable) > screen.width):
        screen = Screen(file=sys.stdout, highlight=False, width=_WHOLE_LINES)
    if title:
        screen.print(Text(one_line(title), style="bold"), soft_wrap=True)
    screen.print(renderable)


def _width_min(table: Table) -> int:
    """How narrow a table can be with all of its columns: those that are not folded are as wide as they are."""
    widths = (max(cell.cell_len for cell in _texts(column)) for column in table.columns)
    folded = (
        width if column.no_wrap else min(width, _FOLDED_MIN)
        for column, width in zip(table.columns, widths, strict=True)
    )
    return sum(folded) + 2 * (len(table.columns) - 1)


def _texts(column: Column) -> list[Text]:
    return [cell if isinstance(cell, Text) else Text(str(cell)) for cell in (column.header, *column.cells)]

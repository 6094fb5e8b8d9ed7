"""What a disk may hold after a power cut: a pure model, from the calls of a trace and a seed.

What was synced is there. A sync of a file covers what had been written to it before the sync began, whoever wrote it,
once the sync has ended. Everything else may be there, be gone or be torn, as the seed has it: bytes of a file in pages
or up to some byte, and the names of files by what the file system promises about them (`Names`).
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TypeAlias

from tests.powercut.trace import (
    NEVER,
    AllSynced,
    Call,
    DirectoryMade,
    Opened,
    Removed,
    Renamed,
    Resized,
    Synced,
    Written,
)

PAGE_BYTES = 4_096
SECTOR_BYTES = 512

GARBAGE_SHARE = 0.2
"""So many torn files have foreign bytes where they were never written; the others have zeros."""


class Names(StrEnum):
    """When a change of names (a new file, another name, a removal) is durable.

    `POSIX`: once the directory was synced. `FILE`: also once the file that has the name was, with the names of the
    directories above it; that much holds on btrfs, XFS and ext4. `JOURNAL`: once anything was synced, and always in
    order; so ext4.
    """

    POSIX = "posix"
    FILE = "file"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """What a file system promises beyond POSIX.

    `rename_writes`: what was written to a file before it took the name of another one is on the disk when its name is;
    so ext4 with its defaults, btrfs and ZFS.
    """

    names: Names = Names.POSIX
    rename_writes: bool = True


class Tail(StrEnum):
    """What becomes of the writes of one file that were not synced."""

    LOST = "lost"
    KEPT = "kept"
    CUT = "cut"
    TORN = "torn"


Image: TypeAlias = dict[str, bytes | None]
"""Files with their content, and directories with None, by path."""


class _Syncs:
    """Begin and end of each sync of one thing, in the order of their begins."""

    def __init__(self) -> None:
        self._by_end: list[tuple[int, int]] = []

    def add(self, begin: int, end: int) -> None:
        place = bisect_right(self._by_end, (end, NEVER))
        before = self._by_end[place - 1][1] if place else -1
        self._by_end.insert(place, (end, max(begin, before)))
        for later in range(place + 1, len(self._by_end)):
            self._by_end[later] = (self._by_end[later][0], max(begin, self._by_end[later][1]))

    def until(self, at: int) -> int:
        """Whatever had ended by this instant is synced at the instant `at`; -1 when nothing is."""
        place = bisect_left(self._by_end, (at, -1))
        return self._by_end[place - 1][1] if place else -1


class _Entry:
    """A file or a directory, whatever its name."""

    def __init__(self, *, is_directory: bool) -> None:
        self.is_directory = is_directory
        self.syncs = _Syncs()
        self.writes: list[Written | Resized] = []


@dataclass(frozen=True, slots=True)
class _NameChange:
    """Names that change together: directory, name, and what has that name from now on. `replaces`: another had it."""

    begin: int
    end: int
    changes: tuple[tuple[_Entry, str, _Entry | None], ...]
    replaces: bool = False

    @property
    def named(self) -> _Entry | None:
        """What has got a name."""
        return next((entry for _, _, entry in self.changes if entry is not None), None)

    @property
    def directories(self) -> list[_Entry]:
        return [directory for directory, _, _ in self.changes]


class _Tree:
    """The names at some instant."""

    def __init__(self, root: _Entry) -> None:
        self._root = root
        self._names: defaultdict[_Entry, dict[str, _Entry]] = defaultdict(dict)

    def apply(self, change: _NameChange) -> None:
        for directory, name, entry in change.changes:
            if entry is None:
                self._names[directory].pop(name, None)
            else:
                self._names[directory][name] = entry

    def place(self, path: str) -> tuple[_Entry, str]:
        """The directory that a path is in, and its name there."""
        directory = self._root
        *parents, name = path.split("/")
        for parent in parents:
            directory = self._names[directory][parent]
        return directory, name

    def find(self, path: str) -> _Entry | None:
        directory, name = self.place(path)
        return self._names[directory].get(name)

    def walk(self) -> Iterator[tuple[str, _Entry]]:
        """Everything that has a name, directories before what is in them."""
        waiting = [("", self._root)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, entry in sorted(self._names[directory].items()):
                yield prefix + name, entry
                if entry.is_directory:
                    waiting.append((f"{prefix}{name}/", entry))


class Disk:
    """A disk on which the calls happened. Of the directory `top`, and all that is `before` in it, everything had been
    synced; without that it was empty. What is outside of it is left out.
    """

    def __init__(self, calls: Iterable[Call], top: str, before: Image | None = None) -> None:
        self._root = _Entry(is_directory=True)
        self._tree = _Tree(self._root)
        self._changes: list[_NameChange] = []
        self._all_syncs = _Syncs()
        self._any_syncs = _Syncs()
        for path, content in sorted((before or {top: None}).items()):
            self._was_there(path, content)
        below = f"{top}/"
        for call in sorted(calls, key=_takes_effect):
            if isinstance(call, AllSynced):
                self._all_syncs.add(call.begin, call.end)
                self._any_syncs.add(call.begin, call.end)
            elif call.path == top or call.path.startswith(below):
                self._happen(call)
        self._named_by: defaultdict[_Entry, list[int]] = defaultdict(list)
        for number, change in enumerate(self._changes):
            if change.named is not None:
                self._named_by[change.named].append(number)

    def _was_there(self, path: str, content: bytes | None) -> None:
        entry = _Entry(is_directory=content is None)
        directory, name = self._tree.place(path)
        self._change(-1, -1, [(directory, name, entry)])
        if content is not None:
            entry.writes.append(Written(begin=-1, end=-1, path=path, offset=0, content=content))

    def _happen(self, call: Opened | Written | Resized | Renamed | Removed | DirectoryMade | Synced) -> None:
        begin, end = call.begin, call.end
        directory, name = self._tree.place(call.path)
        entry = self._tree.find(call.path)
        match call:
            case DirectoryMade():
                self._change(begin, end, [(directory, name, _Entry(is_directory=True))])
            case Opened() if entry is None and call.creates:
                self._change(begin, end, [(directory, name, _Entry(is_directory=False))])
            case Opened():
                if call.truncates and entry is not None:
                    entry.writes.append(Resized(begin=begin, end=end, path=call.path, size=0))
            case Removed():
                self._change(begin, end, [(directory, name, None)])
            case Renamed():
                assert entry is not None, f"{call.path} was renamed and is not there"
                to_directory, to_name = self._tree.place(call.to)
                replaces = self._tree.find(call.to) is not None
                self._change(begin, end, [(directory, name, None), (to_directory, to_name, entry)], replaces)
            case Written() | Resized():
                assert entry is not None, f"{call.path} was written to and is not there"
                entry.writes.append(call)
                if isinstance(call, Written) and call.synced:
                    self._sync(entry, end, end)
            case Synced():
                assert entry is not None, f"{call.path} was synced and is not there"
                self._sync(entry, begin, end)

    def _sync(self, entry: _Entry, begin: int, end: int) -> None:
        entry.syncs.add(begin, end)
        self._any_syncs.add(begin, end)

    def _change(
        self, begin: int, end: int, changes: Sequence[tuple[_Entry, str, _Entry | None]], replaces: bool = False
    ) -> None:
        change = _NameChange(begin, end, tuple(changes), replaces)
        self._changes.append(change)
        self._tree.apply(change)

    # ---------------------------------------------------------------------------------------------- what is left

    def now(self, at: int = NEVER) -> Image:
        """What programs see at an instant: everything that had begun has happened."""
        tree = _Tree(self._root)
        for change in self._changes:
            if change.begin < at:
                tree.apply(change)
        writes = {path: [one for one in entry.writes if one.begin < at] for path, entry in tree.walk()}
        return {
            path: None if entry.is_directory else bytes(_after(bytearray(), writes[path]))
            for path, entry in tree.walk()
        }

    def cut(self, at: int, seed: str, file_system: FileSystem) -> Image:
        """What the disk may hold when the power goes at an instant. The same seed gives the same."""
        dice = Random(seed)  # noqa: S311 - chance that must repeat
        tree = _Tree(self._root)
        renamed: dict[_Entry, int] = {}
        for change in self._kept_changes(at, dice, file_system):
            tree.apply(change)
            if change.replaces and file_system.rename_writes and change.named is not None:
                renamed[change.named] = change.begin
        all_synced = self._all_syncs.until(at)
        for_all = dice.choice([*Tail, None])
        image: Image = {}
        for path, entry in tree.walk():
            synced = max(entry.syncs.until(at), all_synced, renamed.get(entry, -1))
            of_file = Random(f"{seed} {path}")  # noqa: S311 - chance that must repeat
            tail = for_all or of_file.choice([*Tail])
            image[path] = None if entry.is_directory else _content(entry, at, synced, tail, of_file)
        return image

    def _kept_changes(self, at: int, dice: Random, file_system: FileSystem) -> Iterator[_NameChange]:
        """The changes of names that are on the disk, in order: all durable ones, and of the others what chance has."""
        durable = self._durable(at, file_system.names)
        begun = [change for change in self._changes if change.begin < at]
        open_count = sum(number not in durable for number in range(len(begun)))
        in_order = file_system.names is Names.JOURNAL or dice.random() < 0.5
        first = dice.randint(0, open_count)
        share = dice.choice([0.0, 0.5, 1.0])
        for number, change in enumerate(begun):
            if number in durable:
                yield change
            elif in_order:
                first -= 1
                if first >= 0:
                    yield change
            elif dice.random() < share:
                yield change

    def _durable(self, at: int, names: Names) -> set[int]:
        """The numbers of the changes of names that are certainly on the disk."""
        all_synced = self._any_syncs.until(at) if names is Names.JOURNAL else self._all_syncs.until(at)
        found = set()
        for number, change in enumerate(self._changes):
            synced = max(all_synced, *(directory.syncs.until(at) for directory in change.directories))
            if change.end <= synced:
                found.add(number)
        if names is Names.FILE:
            for entry in self._named_by:
                self._add_own_names(entry, entry.syncs.until(at), found)
        return found

    def _add_own_names(self, entry: _Entry, synced: int, found: set[int]) -> None:
        """Add the change that gave a file its name, and those of the directories above it."""
        numbers = [number for number in self._named_by.get(entry, ()) if self._changes[number].end <= synced]
        if numbers:
            found.add(numbers[-1])
            self._add_own_names(self._changes[numbers[-1]].changes[-1][0], synced, found)


def _takes_effect(call: Call) -> tuple[int, int]:
    """Names change when a call ends; to which file a descriptor belongs is known when it begins."""
    at_its_end = isinstance(call, Opened | Renamed | Removed | DirectoryMade) and call.end != NEVER
    return (call.end if at_its_end else call.begin), call.begin


def _after(content: bytearray, writes: Iterable[Written | Resized]) -> bytearray:
    """A file's content after writes, in their order."""
    for write in writes:
        if isinstance(write, Resized):
            del content[write.size :]
            content.extend(bytes(write.size - len(content)))
        else:
            offset = len(content) if write.offset is None else write.offset
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(write.content)] = write.content
    return content


def _content(entry: _Entry, at: int, synced: int, tail: Tail, dice: Random) -> bytes:
    begun = [write for write in entry.writes if write.begin < at]
    durable = _after(bytearray(), (write for write in begun if write.end <= synced))
    rest = [write for write in begun if write.end > synced]
    if not rest or tail is Tail.LOST:
        return bytes(durable)
    if tail is Tail.KEPT:
        return bytes(_after(durable, rest))
    if tail is Tail.CUT:
        return bytes(_cut_off(durable, rest, dice))
    return _torn(bytes(durable), bytes(_after(bytearray(durable), rest)), dice)


def _cut_off(content: bytearray, writes: Sequence[Written | Resized], dice: Random) -> bytearray:
    """Some of the writes, and of the next one its first bytes."""
    whole = dice.randrange(len(writes))
    content = _after(content, writes[:whole])
    last = writes[whole]
    if isinstance(last, Written):
        offset = len(content) if last.offset is None else last.offset
        part = last.content[: dice.randint(0, len(last.content))]
        content = _after(
            content, [Written(begin=last.begin, end=last.end, path=last.path, offset=offset, content=part)]
        )
    return content


def _torn(old: bytes, new: bytes, dice: Random) -> bytes:
    """Each page is the old one, the new one or a part of it; where neither was written, there are zeros or garbage."""
    size = dice.choice([len(old), len(new), dice.randint(min(len(old), len(new)), max(len(old), len(new)))])
    garbage = dice.random() < GARBAGE_SHARE

    def filled(part: bytes, length: int) -> bytes:
        missing = max(0, length - len(part))
        return part + (dice.randbytes(missing) if garbage else bytes(missing))

    pages = []
    for start in range(0, size, PAGE_BYTES):
        length = min(PAGE_BYTES, size - start)
        before, after = old[start : start + length], new[start : start + length]
        written = dice.choice([0, length, min(length, dice.randrange(0, PAGE_BYTES, SECTOR_BYTES))])
        pages.append(filled(filled(after[:written], written) + before[written:], length))
    return b"".join(pages)

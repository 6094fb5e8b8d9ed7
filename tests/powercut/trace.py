"""Reads what strace wrote of a run: every call that changes or syncs a file below one directory, and when.

An instant is the number of a line. strace stops a thread where a call begins and where it ends, and writes in that
order; so what ended on an earlier line than another call began on was over before it, whichever process made either.
Calls that would change files in a way that is not known here are refused, never passed over.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

NEVER: Final = 1 << 62
"""The end of a call that had not ended when the trace did."""

TRACED: Final = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,rename,renameat,"
    "renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,sync,syncfs,sendfile,"
    "copy_file_range"
)
"""What strace must trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The instants at which a call began and ended."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Span):
    """A file was opened: made, where it was not there and `creates`; emptied, where `truncates`."""

    path: str
    creates: bool
    truncates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Span):
    """Bytes were written; without an `offset` at the end of the file. `synced`: the file was opened with O_SYNC."""

    path: str
    offset: int | None
    content: bytes
    synced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized(Span):
    """A file was cut off or extended with zeros to `size` bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed(Span):
    """A file or directory got another name, in place of whatever had that name."""

    path: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Span):
    """A file or an empty directory was removed."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryMade(Span):
    """A directory was made."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced(Span):
    """A file's content, or a directory's entries, were synced."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSynced(Span):
    """The whole file system was synced."""


Call: TypeAlias = Opened | Written | Resized | Renamed | Removed | DirectoryMade | Synced | AllSynced


class NotUnderstood(Exception):
    """A line of the trace that says of a change what this reader does not know."""


_LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FD = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_UNFINISHED = " <unfinished ...>"
_SYNC_ALL = re.compile(r"\d+ +sync\(")


def read_trace(lines: Iterable[str], root: Path) -> list[Call]:
    """The calls below `root`, an absolute path, in the order in which they began. Paths are relative to it.

    Raises `NotUnderstood`.
    """
    return list(_Reader(str(root)).calls(lines))


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


@dataclass(slots=True)
class _Open:
    """An open file: where the next `write` goes, or None for its end."""

    position: int | None
    synced: bool


class _Reader:
    def __init__(self, root: str) -> None:
        self._root = root + "/"
        self._marker = _hex(root + "/")
        self._open: dict[tuple[str, str], _Open] = {}  # by descriptor and path: the two name one opening at a time
        self._last_open: dict[str, _Open] = {}  # by path, for descriptors that were duplicated

    def calls(self, lines: Iterable[str]) -> Iterator[Call]:
        found: list[Call] = []
        begun: dict[str, tuple[int, str]] = {}
        for number, line in enumerate(lines):
            process, _, body = line.partition(" ")
            if process not in begun and self._marker not in line and not _SYNC_ALL.match(line):
                continue
            body = body.strip()
            if body.endswith(_UNFINISHED):
                begun[process] = number, body.removesuffix(_UNFINISHED)
            elif (resumed := _RESUMED.match(body)) is not None:
                begin, start = begun.pop(process)
                found += self._call(begin, number, start + body[resumed.end() :])
            elif body.startswith("+++"):
                _, start = begun.pop(process)
                if not start.startswith(("fsync", "fdatasync", "syncfs", "open")):
                    raise NotUnderstood(f"its process was killed in the middle of {start[:200]}")
            elif not body.startswith("---"):
                found += self._call(number, number, body)
        return iter(sorted(found, key=lambda call: call.begin))

    def _call(self, begin: int, end: int, text: str) -> Iterator[Call]:
        match = _CALL.match(text)
        if match is None:
            raise NotUnderstood(f"line {end + 1}: {text[:200]}")
        name, arguments, returned, rest = match.groups()
        if returned in ("-1", "?"):
            return
        if name in ("open", "openat", "creat"):
            yield from self._opened(begin, end, arguments, returned + rest)
        elif name in ("write", "pwrite64", "writev"):
            yield from self._written(begin, end, name, arguments, int(returned))
        elif name in ("fsync", "fdatasync"):
            path = self._of_descriptor(arguments)
            if path is not None:
                yield Synced(begin=begin, end=end, path=path)
        elif name in ("sync", "syncfs"):
            yield AllSynced(begin=begin, end=end)
        elif name == "ftruncate":
            path = self._of_descriptor(arguments)
            if path is not None:
                yield Resized(begin=begin, end=end, path=path, size=int(arguments.rpartition(",")[2]))
        else:
            yield from self._named(begin, end, name, arguments)

    def _opened(self, begin: int, end: int, arguments: str, returned: str) -> Iterator[Call]:
        descriptor = _FD.match(returned)
        path = self._of_descriptor(returned)
        if descriptor is None or path is None:
            return
        flags = set(re.findall(r"O_\w+", arguments))
        position = None if "O_APPEND" in flags else 0
        opened = _Open(position, bool(flags & {"O_SYNC", "O_DSYNC"}))
        self._open[descriptor[1], path] = self._last_open[path] = opened
        if flags & {"O_CREAT", "O_TRUNC"}:
            truncates = "O_TRUNC" in flags
            yield Opened(begin=begin, end=end, path=path, creates="O_CREAT" in flags, truncates=truncates)

    def _written(self, begin: int, end: int, name: str, arguments: str, count: int) -> Iterator[Call]:
        descriptor = _FD.match(arguments)
        path = self._of_descriptor(arguments)
        if descriptor is None or path is None:
            return
        content = b"".join(_bytes(text) for text in self._strings(arguments[descriptor.end() :]))[:count]
        if len(content) != count:
            raise NotUnderstood(f"{count} bytes were written to {path}, the trace has {len(content)}")
        opened = self._open.get((descriptor[1], path)) or self._last_open.get(path)
        if opened is None:
            raise NotUnderstood(f"{path} was written to and not opened")
        offset = opened.position
        if name == "pwrite64":
            offset = int(arguments.rpartition(",")[2])
        elif offset is not None:
            opened.position = offset + count
        yield Written(begin=begin, end=end, path=path, offset=offset, content=content, synced=opened.synced)

    def _named(self, begin: int, end: int, name: str, arguments: str) -> Iterator[Call]:
        paths = [self._below(_bytes(text).decode()) for text in self._strings(arguments)]
        if name in ("rename", "renameat") or (name == "renameat2" and "RENAME_EXCHANGE" not in arguments):
            old, new = paths
            if old is None or new is None:
                raise NotUnderstood(f"a rename across {self._root}: {arguments[:200]}")
            yield Renamed(begin=begin, end=end, path=old, to=new)
            return
        path = paths[0] if paths else self._of_descriptor(arguments)
        if path is None:
            return
        if name in ("unlink", "unlinkat", "rmdir"):
            yield Removed(begin=begin, end=end, path=path)
        elif name in ("mkdir", "mkdirat"):
            yield DirectoryMade(begin=begin, end=end, path=path)
        else:
            raise NotUnderstood(f"{name} of {path}")

    def _strings(self, arguments: str) -> Iterator[str]:
        for escaped, cut in _STRING.findall(arguments):
            if cut:
                raise NotUnderstood(f"strace cut a string off: {arguments[:200]}")
            yield escaped

    def _of_descriptor(self, arguments: str) -> str | None:
        """The path below the root of the descriptor that comes first; None outside, or when it has been removed."""
        found = _FD.match(arguments)
        if found is None or found[3]:
            return None
        path = _bytes(found[2]).decode(errors="replace")
        return path.removeprefix(self._root) if path.startswith(self._root) else None

    def _below(self, path: str) -> str | None:
        if not path.startswith("/"):
            raise NotUnderstood(f"a path that is not absolute: {path}")
        return path.removeprefix(self._root) if path.startswith(self._root) else None

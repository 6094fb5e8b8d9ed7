"""Laws of the disk model over arbitrary histories, held against a real directory where one can say."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.powercut.disk import Disk, FileSystem, Image, Names
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

TOP = "data"
FILES = [f"{TOP}/{name}" for name in ("a", "b", "d/a", "d/b")]
DIRECTORIES = [TOP, f"{TOP}/d"]

acts = st.one_of(
    st.tuples(st.just("open"), st.sampled_from(FILES), st.booleans()),
    st.tuples(st.just("write"), st.sampled_from(FILES), st.integers(0, 9_000), st.binary(min_size=1, max_size=6_000)),
    st.tuples(st.just("append"), st.sampled_from(FILES), st.binary(min_size=1, max_size=50)),
    st.tuples(st.just("resize"), st.sampled_from(FILES), st.integers(0, 9_000)),
    st.tuples(st.just("rename"), st.sampled_from(FILES), st.sampled_from(FILES)),
    st.tuples(st.just("remove"), st.sampled_from(FILES)),
    st.tuples(st.just("sync"), st.sampled_from(FILES + DIRECTORIES)),
)
histories = st.lists(acts, max_size=30)
file_systems = st.builds(FileSystem, names=st.sampled_from(Names), rename_writes=st.booleans())


def happened(history: list[tuple[object, ...]]) -> list[Call]:
    """The acts that were possible, as calls."""
    calls: list[Call] = [DirectoryMade(begin=0, end=0, path=f"{TOP}/d")]
    there = set(DIRECTORIES)
    for act, path, *rest in history:
        assert isinstance(path, str)
        begin = end = len(calls)
        match act, rest:
            case "open", [bool(truncates)]:
                there.add(path)
                calls.append(Opened(begin=begin, end=end, path=path, creates=True, truncates=truncates))
            case _ if path not in there:
                continue
            case "write", [int(offset), bytes(content)]:
                calls.append(Written(begin=begin, end=end, path=path, offset=offset, content=content))
            case "append", [bytes(content)]:
                calls.append(Written(begin=begin, end=end, path=path, offset=None, content=content))
            case "resize", [int(size)]:
                calls.append(Resized(begin=begin, end=end, path=path, size=size))
            case "rename", [str(to)] if to != path:
                there = (there - {path}) | {to}
                calls.append(Renamed(begin=begin, end=end, path=path, to=to))
            case "remove", []:
                there.remove(path)
                calls.append(Removed(begin=begin, end=end, path=path))
            case "sync", []:
                calls.append(Synced(begin=begin, end=end, path=path))
    return calls


def really(calls: list[Call]) -> Image:
    """The same in a real directory."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / TOP).mkdir()
        for call in calls:
            match call:
                case DirectoryMade():
                    (root / call.path).mkdir()
                case Opened():
                    with (root / call.path).open("ab") as file:
                        file.truncate(0 if call.truncates else None)
                case Written():
                    fd = os.open(root / call.path, os.O_WRONLY)
                    os.pwrite(fd, call.content, os.fstat(fd).st_size if call.offset is None else call.offset)
                    os.close(fd)
                case Resized():
                    os.truncate(root / call.path, call.size)
                case Renamed():
                    (root / call.path).replace(root / call.to)
                case Removed():
                    (root / call.path).unlink()
                case Synced() | AllSynced():
                    pass
        return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


@given(histories)
def test_what_programs_see_is_what_a_real_directory_has(history: list[tuple[object, ...]]) -> None:
    calls = happened(history)
    assert Disk(calls, TOP).now() == really(calls)


@given(histories, file_systems, st.integers(0, 99))
def test_after_a_sync_of_all_everything_is_there(
    history: list[tuple[object, ...]], file_system: FileSystem, seed: int
) -> None:
    calls = happened(history)
    disk = Disk([*calls, AllSynced(begin=len(calls), end=len(calls))], TOP)
    assert disk.cut(len(calls) + 1, str(seed), file_system) == disk.now()


@given(histories, file_systems, st.integers(0, 99), st.integers(0, 31))
def test_what_comes_after_the_cut_changes_nothing(
    history: list[tuple[object, ...]], file_system: FileSystem, seed: int, at: int
) -> None:
    calls = happened(history)
    assert Disk(calls, TOP).cut(at, str(seed), file_system) == Disk(calls[:at], TOP).cut(at, str(seed), file_system)


@given(histories, histories, file_systems, st.integers(0, 99))
def test_a_file_that_was_synced_by_content_and_name_and_not_touched_since_is_as_it_was(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]], file_system: FileSystem, seed: int
) -> None:
    later = [act for act in after if f"{TOP}/kept" not in act]
    first = happened(before)
    at = len(first)
    kept = f"{TOP}/kept"
    mine: list[Call] = [
        Opened(begin=at, end=at, path=kept, creates=True, truncates=False),
        Written(begin=at + 1, end=at + 1, path=kept, offset=0, content=b"kept" * 2_000),
        Synced(begin=at + 2, end=at + 2, path=kept),
        Synced(begin=at + 3, end=at + 3, path=TOP),
    ]
    rest = happened(before + later)[at:]
    moved = [replace(call, begin=call.begin + len(mine), end=call.end + len(mine)) for call in rest]
    disk = Disk([*first, *mine, *moved], TOP)
    assert disk.cut(NEVER - 1, str(seed), file_system)[kept] == b"kept" * 2_000


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=5_000), st.none()), max_size=12), file_systems, st.integers(0, 99)
)
def test_of_a_file_that_only_grows_all_is_there_that_was_synced(
    acts: list[bytes | None], file_system: FileSystem, seed: int
) -> None:
    path = f"{TOP}/a"
    calls: list[Call] = [
        Opened(begin=0, end=0, path=path, creates=True, truncates=False),
        Synced(begin=1, end=1, path=TOP),
    ]
    written, synced = b"", 0
    for content in acts:
        at = len(calls)
        if content is None:
            calls.append(Synced(begin=at, end=at, path=path))
            synced = len(written)
        else:
            calls.append(Written(begin=at, end=at, path=path, offset=len(written), content=content))
            written += content
    found = Disk(calls, TOP).cut(len(calls), str(seed), file_system)[path]
    assert found is not None
    assert found[:synced] == written[:synced]
    assert len(found) <= len(written)

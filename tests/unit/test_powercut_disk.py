"""What may be left of small histories of a disk, each with what must, may and must not be there."""

from collections.abc import Iterable
from itertools import count

import pytest

from tests.powercut.disk import PAGE_BYTES, Disk, FileSystem, Image, Names
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

POSIX = FileSystem(names=Names.POSIX)
SEEDS = 300
TOP = "data"


class Script:
    """Calls one after the other; `then` says which."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._instants = count()

    def span(self) -> dict[str, int]:
        instant = next(self._instants)
        return {"begin": instant, "end": instant}

    def make(self, path: str) -> "Script":
        self.calls.append(Opened(**self.span(), path=path, creates=True, truncates=True))
        return self

    def write(self, path: str, content: bytes, offset: int | None = None, *, synced: bool = False) -> "Script":
        self.calls.append(Written(**self.span(), path=path, offset=offset, content=content, synced=synced))
        return self

    def sync(self, *paths: str) -> "Script":
        self.calls += [Synced(**self.span(), path=path) for path in paths]
        return self

    def sync_all(self) -> "Script":
        self.calls.append(AllSynced(**self.span()))
        return self

    def rename(self, path: str, to: str) -> "Script":
        self.calls.append(Renamed(**self.span(), path=path, to=to))
        return self

    def remove(self, path: str) -> "Script":
        self.calls.append(Removed(**self.span(), path=path))
        return self

    def directory(self, path: str) -> "Script":
        self.calls.append(DirectoryMade(**self.span(), path=path))
        return self

    def images(self, file_system: FileSystem = POSIX, at: int = NEVER - 1) -> list[Image]:
        disk = Disk(self.calls, TOP)
        return [disk.cut(at, str(seed), file_system) for seed in range(SEEDS)]


def contents(images: Iterable[Image], path: str) -> set[bytes | None]:
    """Every content that the file may have; None where it may be missing."""
    return {image.get(path) for image in images}


def synced_a() -> Script:
    return Script().make("data/a").write("data/a", b"old").sync("data/a", "data")


def test_what_was_synced_is_there() -> None:
    assert contents(synced_a().images(), "data/a") == {b"old"}


def test_bytes_that_were_not_synced_may_be_there_be_gone_or_be_zeros() -> None:
    found = contents(synced_a().write("data/a", b"new").images(), "data/a")
    assert {b"old", b"oldnew", b"oldn", b"old\0\0\0"} <= found
    assert all(content is not None and content.startswith(b"old") for content in found)


def test_pages_are_torn_one_by_one() -> None:
    page = bytes([1]) * PAGE_BYTES
    images = synced_a().write("data/a", page * 3, 0).images()
    whole = [content for content in contents(images, "data/a") if content is not None and len(content) == len(page) * 3]
    kept = {tuple(content[start] == 1 for start in range(0, len(content), PAGE_BYTES)) for content in whole}
    assert (True, False, True) in kept
    assert (False, True, False) in kept


def test_a_sync_covers_only_what_ended_before_it_began() -> None:
    calls = [
        *synced_a().calls,
        Written(begin=10, end=13, path="data/a", offset=0, content=b"NEW"),
        Synced(begin=12, end=14, path="data/a"),
    ]
    assert b"old" in {Disk(calls, TOP).cut(20, str(seed), POSIX)["data/a"] for seed in range(SEEDS)}


def test_a_sync_counts_once_it_has_ended() -> None:
    calls = [
        *synced_a().calls,
        Written(begin=10, end=11, path="data/a", offset=0, content=b"NEW"),
        Synced(begin=12, end=14, path="data/a"),
    ]
    disk = Disk(calls, TOP)
    assert {disk.cut(15, str(seed), POSIX)["data/a"] for seed in range(SEEDS)} == {b"NEW"}
    assert b"old" in {disk.cut(14, str(seed), POSIX)["data/a"] for seed in range(SEEDS)}


def test_a_write_with_o_sync_is_its_own_sync() -> None:
    assert contents(synced_a().write("data/a", b"NEW", 0, synced=True).images(), "data/a") == {b"NEW"}


def test_a_new_file_is_there_once_its_directory_was_synced() -> None:
    script = Script().make("data/a").write("data/a", b"x").sync("data/a")
    assert contents(script.images(), "data/a") == {b"x", None}
    assert contents(script.sync("data").images(), "data/a") == {b"x"}


def test_where_the_file_system_keeps_the_name_of_a_synced_file_it_is_there_with_what_is_above_it() -> None:
    script = Script().directory("data/d").make("data/d/a").make("data/d/b").write("data/d/a", b"x").sync("data/d/a")
    images = script.images(FileSystem(names=Names.FILE))
    assert contents(images, "data/d/a") == {b"x"}
    assert contents(images, "data/d/b") == {b"", None}


def test_where_the_file_system_keeps_a_journal_any_sync_keeps_all_names_before_it() -> None:
    script = Script().make("data/a").make("data/b").sync("data/b").make("data/c").make("data/d")
    images = script.images(FileSystem(names=Names.JOURNAL))
    assert contents(images, "data/a") == {b""}
    assert all("data/c" in image for image in images if "data/d" in image)
    assert contents(images, "data/c") == {b"", None}


def test_without_a_journal_a_later_name_may_be_there_without_an_earlier_one() -> None:
    images = Script().make("data/c").make("data/d").images()
    assert any("data/d" in image and "data/c" not in image for image in images)


def test_a_renamed_file_is_the_old_one_or_the_new_one() -> None:
    script = synced_a().make("data/t").write("data/t", b"new").rename("data/t", "data/a")
    assert contents(script.images(), "data/a") == {b"old", b"new"}
    harsh = FileSystem(names=Names.POSIX, rename_writes=False)
    assert {b"old", b"new", b""} <= contents(script.images(harsh), "data/a")
    assert contents(script.sync("data").images(), "data/a") == {b"new"}


def test_a_rename_to_a_new_name_promises_no_content() -> None:
    script = Script().make("data/t").write("data/t", b"new").rename("data/t", "data/a").sync("data")
    assert b"" in contents(script.images(), "data/a")


def test_the_old_name_and_the_new_name_are_never_both_there_nor_both_missing() -> None:
    images = synced_a().rename("data/a", "data/b").images()
    assert {("data/a" in image, "data/b" in image) for image in images} == {(True, False), (False, True)}


def test_a_removal_may_not_have_happened_until_the_directory_was_synced() -> None:
    script = synced_a().remove("data/a")
    assert contents(script.images(), "data/a") == {b"old", None}
    assert contents(script.sync("data").images(), "data/a") == {None}


def test_a_file_emptied_and_written_anew_may_be_each_of_all() -> None:
    script = synced_a()
    script.calls.append(Opened(**script.span(), path="data/a", creates=True, truncates=True))
    assert {b"old", b"", b"new"} <= contents(script.write("data/a", b"new", 0).images(), "data/a")


def test_a_file_cut_off_may_be_long_again() -> None:
    script = synced_a()
    script.calls.append(Resized(**script.span(), path="data/a", size=1))
    assert {b"old", b"o"} <= contents(script.images(), "data/a")


def test_syncfs_syncs_everything() -> None:
    script = Script().directory("data/d").make("data/d/a").write("data/d/a", b"x").sync_all()
    assert all(image == {"data": None, "data/d": None, "data/d/a": b"x"} for image in script.images())


def test_a_directory_that_is_lost_takes_with_it_what_is_in_it() -> None:
    images = Script().directory("data/d").make("data/d/a").sync("data/d").images()
    assert {("data/d" in image, "data/d/a" in image) for image in images} == {(True, True), (False, False)}


@pytest.mark.parametrize("names", Names)
def test_the_same_seed_leaves_the_same(names: Names) -> None:
    script = synced_a().write("data/a", bytes(range(256)) * 64).make("data/b").rename("data/a", "data/c")
    file_system = FileSystem(names=names)
    assert script.images(file_system) == script.images(file_system)


def test_nothing_that_begins_later_has_happened() -> None:
    script = synced_a().make("data/b").sync("data").write("data/a", b"new")
    assert contents(script.images(at=4), "data/b") == {None}
    assert contents(script.images(at=6), "data/a") == {b"old"}


def test_of_many_pages_all_may_be_lost_or_kept() -> None:
    old, new = bytes(20 * PAGE_BYTES), b"n" * 20 * PAGE_BYTES
    script = Script().make("data/a").write("data/a", old).sync("data/a", "data").write("data/a", new, 0)
    assert {old, new} <= contents(script.images(), "data/a")


def test_what_was_there_before_is_there() -> None:
    before: Image = {"data": None, "data/a": b"old", "data/d": None}
    calls = [Written(begin=0, end=0, path="data/a", offset=None, content=b"new")]
    disk = Disk(calls, TOP, before)
    assert disk.now() == {**before, "data/a": b"oldnew"}
    images = [disk.cut(1, str(seed), POSIX) for seed in range(SEEDS)]
    assert {"data/a", "data/d"} <= set.intersection(*(set(image) for image in images))
    assert b"old" in contents(images, "data/a")

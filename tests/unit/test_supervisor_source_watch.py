"""Which files are looked at for `--reload`, and when they count as saved."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import aether
from aether.supervisor.source_watch import SourceWatch, Stamps, directories_of, imported_source_watch, look_at

A, B = Path("/p/a.py"), Path("/p/b.py")
BEGAN_NS = 100


class Disk:
    """Files as the next look finds them."""

    def __init__(self, **files: tuple[int, int]) -> None:
        self.files = dict(files)

    def __call__(self) -> Stamps:
        return {Path(f"/p/{name}.py"): stamp for name, stamp in self.files.items()}


def test_what_stays_as_it_is_was_not_saved() -> None:
    sources = SourceWatch(Disk(a=(1, 10), b=(2, 10)), BEGAN_NS)
    assert [sources.saved() for _ in range(3)] == [[], [], []]


CHANGES: dict[str, tuple[Callable[[Disk], object], list[Path]]] = {
    "saved": (lambda disk: disk.files.update(a=(200, 10)), [A]),
    "saved in the same instant": (lambda disk: disk.files.update(a=(1, 11)), [A]),
    "new": (lambda disk: disk.files.update(b=(200, 1)), [B]),
    "gone": (lambda disk: disk.files.pop("a"), [A]),
    "set back": (lambda disk: disk.files.update(a=(0, 10)), [A]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_once_when_it_is_over(name: str) -> None:
    change, changed = CHANGES[name]
    disk = Disk(a=(1, 10))
    sources = SourceWatch(disk, BEGAN_NS)
    change(disk)
    assert [sources.saved(), sources.saved(), sources.saved()] == [[], changed, []]


def test_files_that_are_saved_one_after_the_other_are_told_together() -> None:
    disk = Disk(a=(1, 10), b=(1, 10))
    sources = SourceWatch(disk, BEGAN_NS)
    disk.files["a"] = (200, 10)
    assert sources.saved() == []
    disk.files["b"] = (201, 10)
    assert sources.saved() == []
    assert sources.saved() == [A, B]


def test_a_change_that_is_taken_back_is_none() -> None:
    disk = Disk(a=(1, 10))
    sources = SourceWatch(disk, BEGAN_NS)
    disk.files["a"] = (200, 10)
    assert sources.saved() == []
    disk.files["a"] = (1, 10)
    assert [sources.saved(), sources.saved()] == [[], []]


def test_what_was_saved_while_it_was_imported_is_told_of() -> None:
    sources = SourceWatch(Disk(a=(1, 10), b=(BEGAN_NS, 10)), BEGAN_NS)
    assert sources.saved() == [B]


def test_only_python_files_that_are_there_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere")
    stamp = (tmp_path / "a.py").stat()
    assert look_at([tmp_path, tmp_path / "gone"]) == {tmp_path / "a.py": (stamp.st_mtime_ns, stamp.st_size)}


def test_what_is_installed_is_not_looked_at(tmp_path: Path) -> None:
    own, main = ModuleType("shop.model"), ModuleType("__main__")
    own.__file__, main.__file__ = str(tmp_path / "shop" / "model.py"), str(tmp_path / "bin" / "run")
    modules = [own, main, ModuleType("built_in"), sys.modules["json"], pytest, aether]
    assert directories_of(modules) == {tmp_path / "shop"}


def test_the_directory_of_the_pool_is_looked_at_before_anything_in_it_was_imported(tmp_path: Path) -> None:
    sources = imported_source_watch(time.time_ns(), tmp_path)
    (tmp_path / "model.py").write_text("")
    assert [sources.saved(), sources.saved()][1] == [tmp_path / "model.py"]

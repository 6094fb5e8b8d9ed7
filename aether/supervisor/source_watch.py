"""The source files that a model was imported from, and whether one of them was saved: for `--reload`.

Looked at by the supervisor's loop, without threads: a look is one `stat` per file. What is installed (the standard
library, packages) is not looked at. Beside each imported file its neighbours are, because code that did not load may
need a file that the running code does not have.
"""

import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

LOOK_EVERY_S = 0.25

Stamps: TypeAlias = Mapping[Path, tuple[int, int]]
"""When each file was saved last, in nanoseconds of the file system, and its size."""


class SourceWatch:
    """Says when the files differ from what was imported. `began_ns`: what was saved later was not imported as it is."""

    def __init__(self, look: Callable[[], Stamps], began_ns: int) -> None:
        self._look = look
        self._seen = look()
        self._reported: Stamps = {path: stamp for path, stamp in self._seen.items() if stamp[0] < began_ns}

    def saved(self) -> list[Path]:
        """The files that changed, came or went since the last report, once they stay as they are; else none.

        An editor or a formatter that saves several files, or one twice, is waited for until the next look.
        """
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._reported:
            return []
        reported, self._reported = self._reported, self._seen
        return sorted(
            path for path in reported.keys() | self._seen.keys() if reported.get(path) != self._seen.get(path)
        )


def look_at(directories: Iterable[Path]) -> Stamps:
    """The Python files in these directories."""
    stamps = {}
    for directory in directories:
        try:
            files = [path for path in directory.iterdir() if path.suffix == ".py"]
        except OSError:  # the directory has gone, and its files with it
            continue
        for path in files:
            try:
                found = path.stat()
            except OSError:  # an editor is just replacing it
                continue
            stamps[path] = (found.st_mtime_ns, found.st_size)
    return stamps


def directories_of(modules: Iterable[ModuleType]) -> set[Path]:
    """The directories of modules that are not installed."""
    named = (module for module in modules if getattr(module, "__name__", "") != "__main__")
    files = [Path(str(file)) for module in named if (file := getattr(module, "__file__", None))]
    installed = _installed()
    return {file.parent for file in files if not any(file.is_relative_to(place) for place in installed)}


def _installed() -> set[Path]:
    paths = sysconfig.get_paths()
    places = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {Path(place) for place in {*places, *site.getsitepackages(), site.getusersitepackages()}} | {
        Path(__file__).parents[1]
    }


def imported_source_watch(began_ns: int, directory: Path) -> SourceWatch:
    """The sources of all that this process has imported, and what lies in `directory`.

    `began_ns` is when the import began, Unix time in nanoseconds.
    """
    directories = {directory, *directories_of(list(sys.modules.values()))}
    return SourceWatch(lambda: look_at(directories), began_ns)

"""Pages of the documentation as sessions: their files are written, their commands run, their output compared.

What a page may hold, in its order:

- a Python block whose first line is `# name.py` is a file. `test_*.py` is run by pytest at once, a file that no command
  of the page mentions and no other file imports is run as a script.
- a `console` block has commands after `$ ` and their output, stderr included. `...` stands for any text. `aether run`
  starts a pool, in place of one that an earlier block has started; every other command is run by bash, and must end
  with 0, unless the next one is `echo $?`.
- an `sh`, `ini` or `text` block is for the reader.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.support.nats_server import free_port
from tests.support.pool import READY, Pool

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
NODES = "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222"
"""A cluster of NATS servers, as pages name it."""

GATEWAY = "127.0.0.1:8080"
"""Where pages have a gateway listen."""

COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str

    @property
    def file_name(self) -> str:
        found = FILE_NAME.match(self.text)
        assert found is not None, f"a Python block needs its file's name in its first line:\n{self.text}"
        return found[1]

    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands of a console block, each with the output that is expected."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def blocks(page: Path) -> list[Block]:
    return [Block(language, text) for language, text in FENCE.findall(page.read_text())]


def matches(expected: str, output: str) -> bool:
    """Whether output is as expected, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip("\n").split("..."))
    return re.fullmatch(pattern, output.strip("\n"), re.DOTALL) is not None


class Reader:
    """Does what a page says, in a directory of its own. A context manager; its pool is drained after it."""

    def __init__(self, page: Path, directory: Path, replaced: Mapping[str, str] | None = None) -> None:
        self._blocks = blocks(page)
        self._directory = directory
        self._replaced = {GATEWAY: f"127.0.0.1:{free_port()}", **(replaced or {})}
        self._pool: Pool | None = None
        self._ready = 0
        self._status = 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AETHER_")}
        kept.pop("PYTHONSAFEPATH", None)
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self._environment = {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def follow(self) -> None:
        """Do all of it."""
        for block in self._blocks:
            if block.language == "python":
                self._write(block)
            elif block.language == "console":
                for command, output in block.commands():
                    self._do(command, output)

    def _write(self, block: Block) -> None:
        name = block.file_name
        (self._directory / name).write_text(block.text)
        if name.startswith("test_"):
            self._run(f"python -m pytest -q -p no:cacheprovider -o asyncio_mode=auto {name}", lambda _: True)
        elif not self._is_used(name):
            self._run(f"python {name}", lambda _: True)

    def _is_used(self, name: str) -> bool:
        module = name.removesuffix(".py")
        imported = re.compile(rf"^(from {module} import|import {module}$)", re.MULTILINE)
        mentioned = re.compile(rf"\b({re.escape(name)}\b|{module}:)")
        return any(
            imported.search(block.text) if block.language == "python" else mentioned.search(block.text)
            for block in self._blocks
            if block.language in ("python", "console")
        )

    def _do(self, command: str, output: str) -> None:
        for found, instead in self._replaced.items():
            command = command.replace(found, instead)
        if command.startswith("aether run "):
            self._start(shlex.split(command)[2:])
        elif command == "aether reload":
            self._run(command, lambda printed: matches(output, printed), output)
            self._await_reload()
        else:
            self._run(command, lambda printed: matches(output, printed), output)

    def _start(self, options: list[str]) -> None:
        self._stop()
        data = str(self._directory / ".aether")
        self._pool = Pool(
            options[0], *options[1:], "--data-dir", data, directory=self._directory, program=("aether.cli", "run"),
            variables=self._environment,
        )  # fmt: skip
        self._pool.wait_for(READY)
        self._ready = 1

    def _await_reload(self) -> None:
        assert self._pool is not None
        self._ready += 1
        self._pool.wait_for(READY, self._ready)

    def _run(self, command: str, accept: Callable[[str], bool], expected: str = "") -> None:
        done = subprocess.run(
            ["bash", "-c", f"(exit {self._status}); {command}"],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        self._status = done.returncode
        failed = done.returncode != 0 and not expected
        said = f"$ {command}\n{done.stdout}\nexpected:\n{expected}"
        assert not failed, said
        assert accept(done.stdout), said

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

"""The command line as a process: interrupts, full disks, closed and narrow streams. No traceback, no half an answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_cli_pool import command_line, environment

INTERRUPTED = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {when!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from aether.cli import run
sys.argv = ["aether", *{arguments!r}]
run()
"""
AT_THE_END = """
import atexit, os, signal, sys
from aether.cli import run
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv = ["aether", "--version"]
run()
"""
ESCAPED = "\N{CHEESE WEDGE}"
BANK = f"""
from aether import Actor, Model, command

class Account(Actor):
    balance: int = 0

    @command
    def deposit(self, amount: int, note: str = "{ESCAPED}") -> int:
        return 0

model = Model("bank", actors=[Account])
"""


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A directory with a model."""
    (tmp_path / "bank.py").write_text(BANK)
    return tmp_path


def python(code: str, ignoring: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program; with interrupts ignored, as a shell does to what runs in the background."""
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}" if ignoring else code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


IMPORTED = ["aether.cli.execute", "typer", "aether.errors", "msgspec", "rich.console", "aether.cli.run_command"]


@pytest.mark.parametrize("arguments", [["--help"], ["ps"], ["model", "show"], ["call", "a", "b", "c"], ["run", "m:m"]])
@pytest.mark.parametrize("when", IMPORTED)
def test_an_interrupt_while_a_command_is_imported_ends_it_without_a_word(when: str, arguments: list[str]) -> None:
    ran = python(INTERRUPTED.format(when=when, arguments=arguments))

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("when", "arguments"),
    [("aether.client", ["ps", "--nats", "nats://127.0.0.1:1"]), ("aether.supervisor.run", ["run", "m:m"])],
)
def test_an_interrupt_while_what_a_command_needs_is_imported_ends_it_without_a_word(
    when: str, arguments: list[str]
) -> None:
    ran = python(INTERRUPTED.format(when=when, arguments=arguments))

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_an_interrupt_after_the_answer_ends_it_without_a_word() -> None:
    ran = python(AT_THE_END)

    assert (ran.returncode, ran.stderr) == (130, "")


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    ran = python(INTERRUPTED.format(when="typer", arguments=["--version"]), ignoring=True)

    assert ran.returncode == 0
    assert ran.stdout.startswith("aether ")


@pytest.mark.parametrize("arguments", [("model", "schema", "bank:model"), ("model", "show", "bank:model"), ("--help",)])
def test_a_full_disk_is_told_and_is_no_traceback(bank: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(command_line(*arguments), cwd=bank, env=environment(), stdout=full,
                             stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip

    assert ran.returncode == 74
    assert ran.stderr == "the output cannot be written: No space left on device; the command itself was done\n"


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_traceback(bank: Path, streams: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *command_line("model", "show", "bank:model")]
    ran = subprocess.run(shell, cwd=bank, env=environment(), capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("model bank") is (">&-" not in streams.replace("2>&-", ""))


def test_json_from_a_closed_stdin_is_bad_input(bank: Path) -> None:
    call = command_line("call", "account", "a", "deposit", "--json", "-", "--model", "bank:model")
    ran = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *call], cwd=bank, env=environment(), capture_output=True,
                         text=True, check=False)  # fmt: skip

    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "invalid command: --json: stdin is closed\n")


def test_what_stdout_cannot_show_is_escaped_and_json_is_utf_8(bank: Path) -> None:
    narrow = {**environment(), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    show, schema = (
        subprocess.run(
            command_line("model", what, "bank:model"), cwd=bank, env=narrow, capture_output=True, check=False
        )
        for what in ("show", "schema")
    )

    assert (show.returncode, show.stderr) == (0, b"")
    assert b"\\U0001f9c0" in show.stdout
    assert (schema.returncode, schema.stderr) == (0, b"")
    assert ESCAPED in schema.stdout.decode()


def test_a_pipe_that_is_closed_early_is_no_traceback(bank: Path) -> None:
    for arguments in (("model", "show", "bank:model"), ("model", "schema", "bank:model"), ("ps", "--help")):
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        ran = subprocess.run(command_line(*arguments), cwd=bank, env=environment(), stdout=write_fd,
                             stderr=subprocess.PIPE, check=False)  # fmt: skip
        os.close(write_fd)
        assert (ran.returncode, ran.stderr) == (141, b"")


def test_help_and_completion_import_neither_the_client_nor_the_supervisor() -> None:
    ended = python(
        "import sys; from aether.cli import main; sys.argv = ['aether', 'run', '--help']; code = main()\n"
        "print(code, [name for name in ('nats', 'uvloop', 'aether.supervisor.run') if name in sys.modules])"
    )
    assert ended.stdout.splitlines()[-1] == "0 []", ended.stderr

"""What a module may do while it is imported: at the start of a pool, and when a running one reloads it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pool import READY, Pool

GOOD = """
import os, signal, sys, threading, time
from aether import Actor, Model, command

class Door(Actor):
    @command
    def knock(self) -> str:
        return "who is there?"

model = Model("doors", actors=[Door])
"""
SECOND_TIME = """
from pathlib import Path
seen = Path("seen")
second_time, _ = seen.exists(), seen.touch()
"""
INTERRUPTED = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {when!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = [{program!r}, "doors:model"]
runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
"""
CALLED_OFF = re.compile("aether: the reload is called off: (.*); the old workers go on")
RELOADING = re.compile("aether: reloading")

ENDS = ["sys.exit(0)", "os._exit(0)", "raise SystemExit", "raise KeyboardInterrupt", "x = (", "raise GeneratorExit",
        "__import__('ctypes').CDLL(None).exit(0)"]  # fmt: skip


def supervisor(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "aether.supervisor", "doors:model", "--data-dir=data"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("ending", ENDS[:-1])
def test_a_start_of_a_module_that_ends_the_process_says_so_and_fails(tmp_path: Path, ending: str) -> None:
    (tmp_path / "doors.py").write_text(f"{GOOD}\n{ending}\n")
    ended = supervisor(tmp_path)
    assert ended.returncode in (1, 4)
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("aether: ")


IMPORTED = ["aether.supervisor.arguments", "msgspec", "aether.supervisor.run", "uvloop", "doors"]


@pytest.mark.parametrize("program", ["aether.supervisor", "workers"])
@pytest.mark.parametrize("when", IMPORTED)
def test_an_interrupt_while_it_imports_ends_it_with_a_line(tmp_path: Path, when: str, program: str) -> None:
    code = INTERRUPTED.format(when=when, program=program)
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                           check=False)  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "aether: interrupted while it started\n")


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + INTERRUPTED.format(
        when="uvloop", program="aether.supervisor"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                           check=False)  # fmt: skip
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "doors" in ended.stderr, "the module is not there"


def test_a_reload_of_whatever_does_not_load_is_called_off_and_a_good_one_passes(tmp_path: Path) -> None:
    module = tmp_path / "doors.py"
    module.write_text(GOOD)
    endless = "time.sleep(1_000)"
    with Pool("doors:model", "--workers=1", "--nats=embedded", "--check-timeout=3", directory=tmp_path) as pool:
        before = pool.worker_pids(1)
        for count, ending in enumerate([*ENDS, endless, "os.kill(os.getpid(), 9)"], start=1):
            module.write_text(f"{GOOD}\n{ending}\n")
            pool.reload()
            why = pool.wait_for(CALLED_OFF, count)[-1][1]
            assert (ending == endless) == ("not imported within 3 s" in why), (ending, why)
        assert not [line for line in pool.lines if RELOADING.search(line)]
        assert pool.worker_pids(1) == before
        module.write_text(GOOD + "threading.Thread(target=time.sleep, args=(1_000,)).start()\n"
                          "os.chdir('/')\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n")  # fmt: skip
        for reloads in (1, 2):
            pool.reload()
            pool.wait_for(READY, count + 1 + reloads)
        assert pool.drain() == 0


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)", "time.sleep(1_000)", "Path(__file__).unlink()"])
def test_code_that_loads_when_it_is_checked_and_not_a_moment_later_leaves_the_pool_as_it_is(
    tmp_path: Path, ending: str
) -> None:
    module = tmp_path / "doors.py"
    module.write_text(GOOD)
    with Pool("doors:model", "--workers=1", "--nats=embedded", "--check-timeout=3", directory=tmp_path) as pool:
        before = pool.worker_pids(1)
        unlinks = ending.startswith("Path")
        module.write_text(f"{GOOD}\n{SECOND_TIME}\nif second_time or {unlinks}:\n    {ending}\n")
        pool.reload()
        pool.wait_for(CALLED_OFF)
        assert pool.worker_pids(1) == before
        # A worker that must be replaced meanwhile loads what is there by then.
        module.write_text(GOOD)
        os.kill(before[0], 9)
        assert pool.worker_pids(2) != before
        assert pool.drain() == 0


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "without a reader"])
def test_a_module_may_print_where_nothing_takes_it(tmp_path: Path, closed: bool) -> None:
    (tmp_path / "doors.py").write_text(GOOD + "print('hello', flush=True)\nsys.stdout.write('hello')\n")
    prefix = ["sh", "-c", 'exec "$0" "$@" 0<&- 1>&-'] if closed else []
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with Pool("doors:model", "--workers=1", "--nats=embedded", directory=tmp_path, prefix=prefix,
              stdout=write_fd) as pool:  # fmt: skip
        os.close(write_fd)
        pool.reload()
        pool.wait_for(READY, 2)
        assert pool.drain() == 0

"""Finding the supervisor of a data directory, and signalling no other process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aether.cli.target import PoolChoice, find_target
from aether.errors import ConfigError, Unavailable
from aether.system.node_claim import claim_node
from aether.system.running_supervisor import running_supervisors, signal_supervisor, the_supervisor
from tests.support.command_line import Run, runner

SUPERVISOR = """
import signal, sys
from pathlib import Path
from aether.system.node_claim import claim_node
signal.signal(signal.SIGHUP, lambda *_: print("reload", flush=True))
claim = claim_node(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
print("claimed", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def supervisor(directory: Path, namespace: str = "bank", node: str = "a.b") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a node, as a supervisor does. TERM ends it."""
    command = [sys.executable, "-c", SUPERVISOR, str(directory), namespace, node]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def test_the_supervisor_of_a_directory_is_found_and_signalled(tmp_path: Path, run: Run) -> None:
    with supervisor(tmp_path) as process:
        assert process.stdout is not None
        ran = run("reload", "--data-dir", str(tmp_path))
        assert (ran.code, process.stdout.readline()) == (0, "reload\n")
        assert json.loads(ran.out) == {"namespace": "bank", "supervisor": process.pid, "outcome": "reload asked"}
        assert run("stop", "--data-dir", str(tmp_path), "--namespace", "shop").code == 3
        assert running_supervisors(tmp_path, "shop") == []
        stopped = run("stop", "--data-dir", str(tmp_path))
        assert (stopped.code, json.loads(stopped.out)["outcome"]) == (0, "ended")
        assert process.wait() == -signal.SIGTERM
    again = run("stop", "--data-dir", str(tmp_path))
    assert again.code == 3
    assert f"no pool runs here with the data directory {tmp_path}" in again.err


def test_one_that_goes_on_draining_is_told(tmp_path: Path) -> None:
    with supervisor(tmp_path):
        found = the_supervisor(tmp_path, "bank")
        assert not signal_supervisor(found, signal.SIGHUP, wait_s=0.01)


def test_of_several_one_has_to_be_named(tmp_path: Path, run: Run) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(supervisor(tmp_path, namespace)) for namespace in ("bank", "shop"))
        assert [found.pid for found in running_supervisors(tmp_path)] == [one.pid, two.pid]
        with pytest.raises(ConfigError, match=rf"bank \(process {one.pid}\), shop \(process {two.pid}\)"):
            the_supervisor(tmp_path, None)
        assert the_supervisor(tmp_path, "shop").pid == two.pid
        assert run("reload", "--data-dir", str(tmp_path)).code == 4


def test_a_command_asks_the_pool_that_runs_in_its_directory(tmp_path: Path) -> None:
    here = PoolChoice(data_dir=tmp_path)
    assert find_target(here, {}).namespace is None, "the only one that the server has"
    with supervisor(tmp_path), supervisor(tmp_path, node="b"):
        assert find_target(here, {}).namespace == "bank"
        assert find_target(here, {"AETHER_NAMESPACE": "other"}).namespace == "other"
        assert find_target(here, {}, "model").namespace == "model"
        elsewhere = PoolChoice(data_dir=tmp_path, nats="nats://127.0.0.1:4222")
        assert find_target(elsewhere, {}).namespace is None
        assert find_target(here, {"AETHER_NATS_URL": "nats://127.0.0.1:4222"}).namespace is None
        with supervisor(tmp_path, "shop"):
            assert find_target(here, {}).namespace is None


def test_a_process_that_only_has_the_same_id_is_never_signalled(tmp_path: Path) -> None:
    with supervisor(tmp_path):
        (file,) = (tmp_path / "nodes" / "bank").glob("*.pid")
        pid, started = file.read_text().split()
        found = the_supervisor(tmp_path, None)
        file.write_text(f"{os.getpid()} {started}\n")
        assert running_supervisors(tmp_path) == []
        with pytest.raises(Unavailable, match="has just ended"):
            signal_supervisor(type(found)("bank", os.getpid(), found.started), signal.SIGTERM)
        for text in ("", f"{pid}\n", "x y\n", f"{2**22 + 1} {started}\n"):
            file.write_text(text)
            assert running_supervisors(tmp_path) == []


def test_a_lock_that_no_process_holds_is_of_no_supervisor(tmp_path: Path) -> None:
    claim = claim_node(tmp_path, "bank", "mine")
    assert [found.pid for found in running_supervisors(tmp_path)] == [os.getpid()]
    assert claim.lock_fd is not None
    os.close(claim.lock_fd)
    assert running_supervisors(tmp_path) == []
    assert claim_node(tmp_path, "bank", "mine", lock_wait_s=0).lock_fd is not None

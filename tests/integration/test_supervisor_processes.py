"""The supervisor with real forks, signals and kills. Run as a program, this file is the pool under test.

Workers report on stdout, one JSON line each; the tests wait for lines and exits, with a deadline, and for nothing else.
"""

import asyncio
import ctypes
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aether.errors import ConfigError
from aether.supervisor.handover import VARIABLE, take_over
from aether.supervisor.state import SupervisorConfig
from aether.supervisor.supervisor import SupervisorContext, supervise
from aether.system.embedded import EmbeddedConfig, start
from aether.system.environment import environment, take_variable
from aether.system.lifeline import Lifeline
from aether.system.nats_probe import NotAnswering, probe
from aether.system.node_claim import claim_node
from aether.worker_protocol import WorkerSpec

DEADLINE_S = 20.0
SILENT_KILL_S = 3.0


# ---------------------------------------------------------------------------------------------------- the pool


def serve(spec: WorkerSpec, forked: Callable[[], dict[str, int]] = dict) -> int:
    return asyncio.run(_serve(spec, forked))


async def _serve(spec: WorkerSpec, forked: Callable[[], dict[str, int]]) -> int:
    draining = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, draining.set)
    lifeline = Lifeline(spec)
    lifeline.open()
    lifeline.ready()
    report("ready", spec, forked())
    await draining.wait()
    lifeline.close()
    report("drained", spec)
    return 0


def hang_once(spec: WorkerSpec) -> int:
    return serve(spec) if spec.replaces else asyncio.run(_hang(spec))


def hang_before_it_is_ready(spec: WorkerSpec) -> int:
    return serve(spec) if spec.replaces else asyncio.run(_hang(spec, ready=False))


async def _hang(spec: WorkerSpec, ready: bool = True) -> int:
    lifeline = Lifeline(spec)
    lifeline.open()
    if ready:
        lifeline.ready()
    else:
        lifeline.joined()
    report("ready", spec)
    return block_the_loop()


def block_the_loop() -> int:
    while True:
        signal.pause()


def refuse_to_drain(spec: WorkerSpec) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(spec.status_fd, b"R")
    report("ready", spec)
    return block_the_loop()


def refuse_until_killed(spec: WorkerSpec) -> int:
    return refuse_to_drain(spec)


def outlive(spec: WorkerSpec) -> int:
    """A worker that survives its supervisor: it stands for one that the kernel has not ended yet."""
    prctl_set_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_death_signal, 0, 0, 0, 0)
    return refuse_to_drain(spec)


def fork(spec: WorkerSpec) -> int:
    """A worker with handlers that start processes in every way there is."""
    return serve(spec, forked=fork_in_every_way)


def fork_in_every_way() -> dict[str, int]:
    libc = ctypes.CDLL(None)
    forked = {"os.fork": os.fork() or block_the_loop()}
    forked["multiprocessing"] = started(multiprocessing.get_context("fork").Process(target=block_the_loop))
    forked["C"] = libc.fork() or libc.pause()
    forked["program"] = subprocess.Popen(["sleep", "1000"], start_new_session=True, close_fds=False).pid
    read_fd, write_fd = os.pipe()
    forked["parent"] = os.fork() or fork_a_grandchild(write_fd)
    forked["grandchild"] = int(os.read(read_fd, 100))
    return forked


def started(process: Any) -> int:
    process.start()
    pid: int = process.pid
    return pid


def fork_a_grandchild(write_fd: int) -> int:
    os.write(write_fd, str(os.fork() or block_the_loop()).encode())
    return block_the_loop()


def crash(spec: WorkerSpec) -> int:
    report("booting", spec)
    raise RuntimeError("this worker always fails at boot")


def misconfigured(spec: WorkerSpec) -> int:
    report("booting", spec)
    return 4


def report(what: str, spec: WorkerSpec, forked: dict[str, int] | None = None) -> None:
    said = {"what": what, "forked": forked, "slot": spec.slot, "slots": spec.slots, "pid": os.getpid(),
            "parent": os.getppid(), "incarnation": spec.incarnation, "replaces": spec.replaces, "claim": spec.claim,
            "code": CODE.read_text(), "lock": lock_of(os.getpid())}  # fmt: skip
    os.write(1, json.dumps(said).encode() + b"\n")


WORK: dict[str, Callable[[WorkerSpec], int]] = {
    work.__name__: work
    for work in (
        serve,
        hang_once,
        hang_before_it_is_ready,
        refuse_to_drain,
        refuse_until_killed,
        outlive,
        crash,
        misconfigured,
        fork,
    )
}
CODE = Path("code")
"""What stands for the model's code: read by each worker, and refused by the check when it says `broken`."""

CHECK = """
import os, sys
open("check-files", "w").write(" ".join(os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")))
from aether.supervisor.check import VARIABLE, prove
from aether.system.environment import take_variable
code = open("code").read()
if code != "broken":
    prove(take_variable(VARIABLE))
sys.exit(1)
"""


def main(work: str, workers: int, with_server: bool) -> int:
    handover = take_over(take_variable(VARIABLE))
    config = SupervisorConfig(
        workers=workers, loop_silent_kill_s=SILENT_KILL_S, dump_grace_s=0.5, restart_first_s=0.01, crash_limit=3,
        drain_timeout_s=2.0 if work == "refuse_to_drain" else 10 * DEADLINE_S,
    )  # fmt: skip
    try:
        node = handover.node if handover else claim_node(Path("data"), "pool", "mine", lock_wait_s=0.1)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 4
    server = handover.server if handover else None
    if with_server and handover is None:
        server = start(EmbeddedConfig(data_dir=Path("data"), boot_timeout_s=DEADLINE_S))
    code = CODE.read_text()
    context = SupervisorContext(
        namespace="pool",
        node=node,
        server=server,
        check=(sys.executable, "-c", CHECK),
        fresh=(sys.executable, *sys.argv),
        directory=Path.cwd(),
        variables=environment(),
    )
    print(json.dumps({"what": "supervising", "code": code, "server": server and [server.pid, server.port]}), flush=True)
    return supervise(config, WORK[work], context, handover)


# ---------------------------------------------------------------------------------------------------- the tests


class Pool:
    """The pool's process, seen from outside."""

    def __init__(self, directory: Path, work: str, workers: int = 1, with_server: bool = False) -> None:
        self.errors = directory / f"stderr-{time.monotonic_ns()}"
        (directory / "code").write_text("one")
        self._rest = b""
        arguments = [sys.executable, __file__, work, str(workers), "server" if with_server else ""]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, cwd=directory,
                                            env={**os.environ, "PYTHONPATH": str(Path.cwd())})  # fmt: skip

    def next(self, what: str) -> dict[str, Any]:
        """The next report of that sort, or of any when it is empty; others are passed over."""
        give_up_s = time.monotonic() + DEADLINE_S
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                said: dict[str, Any] = json.loads(line)
                if what in (said["what"], ""):
                    return said
            self._rest += self._read(give_up_s, what)

    def _read(self, give_up_s: float, what: str) -> bytes:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        readable, _, _ = select.select([fd], [], [], max(0.0, give_up_s - time.monotonic()))
        assert readable, f"no report of {what!r} in time; stderr: {self.errors.read_text()}"
        chunk = os.read(fd, 65_536)
        assert chunk, f"the pool ended without a report of {what!r}; stderr: {self.errors.read_text()}"
        return chunk

    def wait_until_said(self, text: str, times: int = 1) -> None:
        """Wait for words of the supervisor for people."""
        give_up_s = time.monotonic() + DEADLINE_S
        while self.errors.read_text().count(text) < times:
            assert time.monotonic() < give_up_s, f"{text!r} was not said: {self.errors.read_text()}"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_S)


Starts = Callable[..., Pool]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Starts]:
    started: list[Pool] = []

    def begin(work: str, workers: int = 1, with_server: bool = False) -> Pool:
        started.append(Pool(tmp_path, work, workers, with_server))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait(DEADLINE_S)
        assert one.process.stdout is not None
        one.process.stdout.close()


def lock_of(pid: int) -> str | None:
    """The node's lock among the open files of a process."""
    files = [os.path.realpath(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return next((path for path in files if path.endswith("/nodes/pool/mine.lock")), None)


def shown(pid: int) -> tuple[str, str]:
    """What `top` and `ps aux` show of a process."""
    process = Path(f"/proc/{pid}")
    title = (process / "cmdline").read_bytes().rstrip(b"\0").decode()
    return (process / "comm").read_text().strip(), title


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([pidfd], [], [], DEADLINE_S)
    finally:
        os.close(pidfd)
    assert ended, f"process {pid} lives on"


def test_a_killed_worker_is_replaced_with_the_proof_that_it_is_dead(pool: Starts) -> None:
    running = pool("serve", workers=2)
    first = {said["slot"]: said for said in (running.next("ready"), running.next("ready"))}
    os.kill(first[1]["pid"], signal.SIGKILL)
    replacement = running.next("ready")
    assert replacement["slot"] == 1
    assert replacement["replaces"] == first[1]["incarnation"]
    assert replacement["incarnation"] not in {said["incarnation"] for said in first.values()}
    assert first[0]["replaces"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_all_workers_drain_and_the_exit_code_is_0(pool: Starts, number: int) -> None:
    running = pool("serve", workers=2)
    ready = {running.next("ready")["pid"], running.next("ready")["pid"]}
    running.signal(number)
    assert {running.next("drained")["pid"], running.next("drained")["pid"]} == ready
    assert running.exit_code() == 0


def test_workers_that_never_become_ready_end_the_pool_with_3(pool: Starts) -> None:
    running = pool("crash")
    replaces = [running.next("booting")["replaces"] for _ in range(3)]
    assert running.exit_code() == 3
    assert replaces[0] is None
    assert None not in replaces[1:]
    assert "this worker always fails at boot" in running.errors.read_text()


def test_a_worker_that_refuses_its_configuration_ends_the_pool_with_4_at_once(pool: Starts) -> None:
    running = pool("misconfigured")
    running.next("booting")
    assert running.exit_code() == 4
    assert "exited with 4" in running.errors.read_text()


@pytest.mark.parametrize("when", ["hang_once", "hang_before_it_is_ready"])
def test_a_worker_whose_loop_hangs_is_dumped_killed_and_replaced(pool: Starts, when: str) -> None:
    running = pool(when)
    hung = running.next("ready")
    assert running.next("ready")["replaces"] == hung["incarnation"]
    said = running.errors.read_text()
    assert "in block_the_loop" in said, "the stack of the hung worker was not dumped"
    assert "SIGKILL" in said


def test_a_worker_that_does_not_drain_is_killed_and_the_exit_code_says_so(pool: Starts) -> None:
    running = pool("refuse_to_drain")
    running.next("ready")
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 1


def test_a_second_interrupt_does_not_wait_for_the_workers(pool: Starts) -> None:
    running = pool("refuse_until_killed")
    worker = running.next("ready")["pid"]
    running.signal(signal.SIGINT)
    running.wait_until_said("interrupt again")
    running.signal(signal.SIGINT)
    assert running.exit_code() == 1
    wait_until_gone(worker)


def test_workers_and_server_die_with_a_killed_supervisor(pool: Starts) -> None:
    running = pool("serve", workers=2, with_server=True)
    server_pid, port = running.next("supervising")["server"]
    workers = [running.next("ready")["pid"], running.next("ready")["pid"]]
    running.signal(signal.SIGKILL)
    for pid in (*workers, server_pid):
        wait_until_gone(pid)
    with pytest.raises(NotAnswering):
        probe("127.0.0.1", port, 1.0)


def test_the_server_is_stopped_last_also_when_all_processes_are_signalled_at_once(pool: Starts) -> None:
    running = pool("serve", with_server=True)
    server_pid, port = running.next("supervising")["server"]
    worker = running.next("ready")
    assert os.getsid(server_pid) == server_pid, "a signal for the terminal or the group would reach the server"
    os.kill(worker["pid"], signal.SIGSTOP)  # it cannot drain yet
    os.kill(worker["pid"], signal.SIGTERM)
    running.signal(signal.SIGTERM)
    probe("127.0.0.1", port, DEADLINE_S)
    os.kill(worker["pid"], signal.SIGCONT)
    running.next("drained")
    assert running.exit_code() == 0
    wait_until_gone(server_pid)


def test_a_server_that_dies_is_started_again_at_its_address(pool: Starts, tmp_path: Path) -> None:
    running = pool("serve", with_server=True)
    server_pid, port = running.next("supervising")["server"]
    running.next("ready")
    os.kill(server_pid, signal.SIGKILL)
    wait_until_gone(server_pid)
    give_up_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            probe("127.0.0.1", port, 1.0)
            break
        except NotAnswering:
            assert time.monotonic() < give_up_s, running.errors.read_text()
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0


def test_a_reload_replaces_the_workers_by_fresh_code_in_the_same_supervisor(pool: Starts, tmp_path: Path) -> None:
    running = pool("serve", workers=2, with_server=True)
    server = running.next("supervising")["server"]
    old = {said["slot"]: said for said in (running.next("ready"), running.next("ready"))}
    (tmp_path / "code").write_text("two")
    running.signal(signal.SIGHUP)
    renewed = running.next("supervising")
    assert (renewed["code"], renewed["server"]) == ("two", server)
    reports = [running.next("") for _ in range(4)]
    order = [(said["what"], said["slot"]) for said in reports]
    assert sorted(order) == [("drained", 0), ("drained", 1), ("ready", 0), ("ready", 1)]
    # Two processes write the reports of one being ready and of the next being told to go, in either order.
    assert order.index(("drained", 0)) < order.index(("drained", 1))
    for fresh in (said for said in reports if said["what"] == "ready"):
        assert (fresh["code"], fresh["replaces"]) == ("two", old[fresh["slot"]]["incarnation"])
        assert fresh["parent"] == running.process.pid
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0
    wait_until_gone(server[0])


def test_a_reload_of_code_that_does_not_load_leaves_the_old_workers_alone(pool: Starts, tmp_path: Path) -> None:
    running = pool("serve")
    old = running.next("ready")
    (tmp_path / "code").write_text("broken")
    running.signal(signal.SIGHUP)
    running.wait_until_said("called off")
    running.signal(signal.SIGTERM)
    assert running.next("drained")["incarnation"] == old["incarnation"]
    assert running.exit_code() == 0


def test_a_reload_of_the_only_worker_never_leaves_none_and_adds_none(pool: Starts, tmp_path: Path) -> None:
    running = pool("serve")
    old = running.next("ready")
    (tmp_path / "code").write_text("two")
    running.signal(signal.SIGHUP)
    assert running.next("supervising")["code"] == "two"
    reports = {(said["what"], said["slot"]): said for said in (running.next("") for _ in range(4))}
    assert reports.keys() == {("ready", 1), ("drained", 0), ("ready", 0), ("drained", 1)}
    assert reports["drained", 0]["incarnation"] == old["incarnation"]
    assert reports["drained", 1]["incarnation"] == reports["ready", 1]["incarnation"]
    assert reports["ready", 0]["code"] == "two"
    running.signal(signal.SIGTERM)
    assert running.next("")["incarnation"] == reports["ready", 0]["incarnation"]
    assert running.exit_code() == 0


def test_one_worker_more_and_one_less_and_nothing_else_restarts(pool: Starts) -> None:
    running = pool("serve")
    first = running.next("ready")
    running.signal(signal.SIGTTIN)
    second = running.next("")
    assert (second["what"], second["slot"], second["slots"]) == ("ready", 1, 2)
    running.signal(signal.SIGTTOU)
    gone = running.next("")
    assert (gone["what"], gone["incarnation"]) == ("drained", second["incarnation"])
    running.signal(signal.SIGTERM)
    gone = running.next("")
    assert (gone["what"], gone["incarnation"]) == ("drained", first["incarnation"])
    assert running.exit_code() == 0


def test_asked_for_stacks_every_process_writes_them_and_goes_on(pool: Starts) -> None:
    running = pool("refuse_until_killed")
    worker = running.next("ready")
    running.signal(signal.SIGUSR1)
    running.wait_until_said("in block_the_loop")
    running.wait_until_said("in supervise", times=2)  # the worker's stack has it too: it was forked from there
    os.kill(worker["pid"], 0)
    assert running.process.poll() is None


def test_the_next_supervisor_of_a_node_waits_for_the_last_worker_of_a_killed_one(pool: Starts) -> None:
    first = pool("outlive", workers=2)
    workers = [first.next("ready"), first.next("ready")]
    assert {said["claim"] for said in workers} != {""}
    first.signal(signal.SIGKILL)
    first.process.wait(DEADLINE_S)
    for said in workers:
        refused = pool("serve")
        assert refused.exit_code() == 4
        words = refused.errors.read_text()
        assert "'mine'" in words
        assert "--node" in words
        os.kill(said["pid"], signal.SIGKILL)
        wait_until_gone(said["pid"])
    assert pool("serve").next("ready")["claim"] == workers[0]["claim"]


def test_workers_hold_the_nodes_lock_over_a_reload_and_no_other_child_has_it(pool: Starts, tmp_path: Path) -> None:
    running = pool("serve", with_server=True)
    server_pid, _ = running.next("supervising")["server"]
    old = running.next("ready")
    assert old["lock"] == lock_of(running.process.pid) != None  # noqa: E711 - one lock, in both
    running.signal(signal.SIGHUP)
    running.next("supervising")
    for _ in range(2):
        fresh = running.next("ready")
        assert fresh["claim"] == old["claim"] != ""
        assert fresh["lock"] == lock_of(running.process.pid) != None  # noqa: E711 - one lock, in both
    assert pool("serve").exit_code() == 4
    assert lock_of(server_pid) is None
    assert "mine.lock" not in (tmp_path / "check-files").read_text()


def test_processes_say_what_they_are(pool: Starts) -> None:
    running = pool("serve")
    worker = running.next("ready")["pid"]
    assert shown(running.process.pid) == ("aether", "aether: supervisor pool (mine)")
    assert shown(worker) == ("aether-slot-0", "aether: worker 0 pool")
    assert b"PYTHONPATH=" in Path(f"/proc/{worker}/environ").read_bytes(), "the environment stays readable"


def test_what_a_worker_forks_ends_with_it_and_holds_nothing_of_it(pool: Starts) -> None:
    running = pool("fork", with_server=True)
    first = running.next("ready")
    for how, pid in first["forked"].items():
        if how != "C":
            assert not shown(pid)[1].startswith("aether: worker"), how
            assert lock_of(pid) is None, how
    os.kill(first["forked"]["os.fork"], signal.SIGTERM)
    wait_until_gone(first["forked"]["os.fork"])
    os.kill(first["pid"], signal.SIGKILL)
    second = running.next("ready")
    assert second["replaces"] == first["incarnation"], "a signal for what it forked was taken for its own"
    for pid in first["forked"].values():
        wait_until_gone(pid)
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0
    for pid in second["forked"].values():
        wait_until_gone(pid)
    assert pool("serve", with_server=True).next("ready"), "the next supervisor starts at once"


def test_nothing_that_python_forked_keeps_the_next_supervisor_out_when_the_last_one_was_killed(pool: Starts) -> None:
    running = pool("fork", with_server=True)
    forked = running.next("ready")["forked"]
    os.kill(forked["C"], signal.SIGKILL)
    running.signal(signal.SIGKILL)
    running.process.wait(DEADLINE_S)
    for how in ("os.fork", "multiprocessing", "parent"):
        wait_until_gone(forked[how])
    assert pool("serve", with_server=True).next("ready")
    for how in ("program", "grandchild"):
        os.kill(forked[how], signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "server"))

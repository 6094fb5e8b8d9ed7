"""Which supervisors of a data directory run, and signals to one of them that cannot reach another process.

A supervisor writes `<name>.pid` beside its lock (`aether.system.node_claim`): its process id and when that process was
started, in the kernel's ticks. An exec keeps both, so the file stays true over reloads. The reader believes it only
while the lock is held and the process of that id was started then. It signals through a descriptor of the process,
so that an id that is used again meanwhile reaches no other process. Linux only, as the descriptors are.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aether.errors import ConfigError, Unavailable
from aether.system.environment import lock_file

NODES_DIRECTORY = "nodes"
_START_TIME = 19
"""Its place among the fields of /proc/<pid>/stat that come after the name."""


@dataclass(frozen=True, slots=True)
class RunningSupervisor:
    """A supervisor that runs on this machine: its process, and the namespace of its pool."""

    namespace: str
    pid: int
    started: int


def record_supervisor(lock_path: Path) -> None:
    """Write this process beside the lock that it holds. Where that cannot be written, it cannot be found."""
    path = lock_path.with_suffix(".pid")
    being_written = path.with_suffix(".pid.new")
    try:
        being_written.write_text(f"{os.getpid()} {_started(os.getpid())}\n")
        being_written.replace(path)
    except OSError:  # a full disk: signals by the process id go on working
        path.unlink(missing_ok=True)


def running_supervisors(data_directory: Path, namespace: str | None = None) -> list[RunningSupervisor]:
    """The supervisors of a data directory that run now, those of one namespace or of all."""
    found = sorted((data_directory / NODES_DIRECTORY).glob(f"{namespace or '*'}/*.pid"))
    return [supervisor for path in found if (supervisor := _running(path)) is not None]


def the_supervisor(data_directory: Path, namespace: str | None) -> RunningSupervisor:
    """The only one that runs. Raises `Unavailable` when there is none, `ConfigError` when there are several."""
    found = running_supervisors(data_directory, namespace)
    of_namespace = f" of namespace {namespace}" if namespace else ""
    if not found:
        raise Unavailable(
            f"no pool{of_namespace} runs here with the data directory {data_directory}: start it, or give --data-dir"
        )
    if len(found) > 1:
        shown = ", ".join(f"{one.namespace} (process {one.pid})" for one in found)
        raise ConfigError(f"several pools run with the data directory {data_directory}: {shown}; give --namespace, or "
                          "signal one by its process id", setting="namespace")  # fmt: skip
    return found[0]


def signal_supervisor(supervisor: RunningSupervisor, number: int, wait_s: float = 0.0) -> bool:
    """Signal that very process, and wait for its end; whether it has ended within `wait_s`.

    Raises `Unavailable` when it runs no more, `ConfigError` when it is another user's.
    """
    gone = Unavailable(f"the supervisor {supervisor.pid} has just ended")
    try:
        process = os.pidfd_open(supervisor.pid)
    except ProcessLookupError:
        raise gone from None
    try:
        if _started(supervisor.pid) != supervisor.started:
            raise gone
        signal.pidfd_send_signal(process, number)
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        return bool(waiting.poll(wait_s * 1000))
    except ProcessLookupError:
        raise gone from None
    except PermissionError:
        raise ConfigError(f"the supervisor {supervisor.pid} is another user's", setting="data_dir") from None
    finally:
        os.close(process)


def _running(path: Path) -> RunningSupervisor | None:
    try:
        pid, started = map(int, path.read_text().split())
        with _free(path.with_suffix(".lock")) as free:
            lives = not free and started != 0 and _started(pid) == started
    except (OSError, ValueError):
        return None
    return RunningSupervisor(path.parent.name, pid, started) if lives else None


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether no process holds a lock. It is held here until this ends, for a moment; a starting supervisor waits."""
    held = lock_file(path)
    try:
        yield held is not None
    finally:
        if held is not None:
            os.close(held)


def _started(pid: int) -> int:
    """When a process was started, in ticks since the boot; 0 when it is not there or the kernel does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[_START_TIME])
    except (OSError, ValueError, IndexError):
        return 0

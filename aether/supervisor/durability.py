"""Who makes what is stored durable: the workers, by a sync barrier, where that can be proved, else the server.

The proof needs a connection and an event loop, which the supervisor does not have: a child of it makes the proof, once,
before the first worker is forked, and reports what it found through a pipe.
"""

import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

import orjson
import uvloop

from aether.config import ConnectionConfig, StorageConfig
from aether.errors import AetherError, Unavailable, error_body, error_from_body
from aether.system.main_loop import run_to_end
from aether.system.process import die_with_parent, leave, reset_signals, send_signal
from aether.worker_barrier import why_no_barrier

PROOF_TIMEOUT_S = 60.0
SERVER_WAIT_S = 10.0
"""How long a server that is started beside the pool may take to come up."""

TRY_AGAIN_S = 0.2
READ_BYTES = 65_536


def why_no_sync_barrier(connection: ConnectionConfig, namespace: str, storage: StorageConfig) -> str:
    """What `aether.worker_barrier.why_no_barrier` says, and raises, in a process of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    read_fd, write_fd = os.pipe()
    supervisor_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _answer(write_fd, supervisor_pid, connection, namespace, storage)
    os.close(write_fd)
    try:
        answer = _read(read_fd)
    finally:
        send_signal(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_fd)
    if answer is None:
        raise Unavailable(f"what the server makes durable could not be found out within {PROOF_TIMEOUT_S:g} s")
    if "why" in answer:
        return str(answer["why"])
    raise error_from_body(answer["code"], answer["message"], answer["details"])


def _read(read_fd: int) -> dict[str, Any] | None:
    """What the child has written; None when it has written nothing in time, or is gone."""
    if not select.select([read_fd], [], [], PROOF_TIMEOUT_S)[0]:
        return None
    written = os.read(read_fd, READ_BYTES)
    return orjson.loads(written) if written else None


def _answer(
    write_fd: int, supervisor_pid: int, connection: ConnectionConfig, namespace: str, storage: StorageConfig
) -> NoReturn:
    """The child: report, in one write, and end."""
    try:
        reset_signals()
        die_with_parent(supervisor_pid)
        os.write(write_fd, orjson.dumps(_asked(connection, namespace, storage), default=str))
    finally:
        leave(0)


def _asked(connection: ConnectionConfig, namespace: str, storage: StorageConfig) -> dict[str, Any]:
    give_up_s = time.monotonic() + SERVER_WAIT_S
    while True:
        try:
            return {"why": run_to_end(uvloop.new_event_loop, why_no_barrier(connection, namespace, storage))}
        except Unavailable as error:
            if time.monotonic() > give_up_s:
                return error_body(error)
        except AetherError as error:
            return error_body(error)
        except Exception as error:
            return error_body(Unavailable(f"what the server makes durable cannot be seen: {error!r}"))
        time.sleep(TRY_AGAIN_S)

"""The examples as their reader runs them: programs of their own, over memory and against a pool."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
BOOT_S = 60.0


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python program of the clone, to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=CLONE,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bank_pool(tmp_path: Path) -> Iterator[str]:
    """The URL of a pool that runs `examples.bank`, once it has said that it is ready."""
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(tmp_path / "ready"))
    ready.settimeout(BOOT_S)
    data = tmp_path / "data"
    pool = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "aether.supervisor",
            "examples.bank:model",
            "--workers=1",
            "--nats=embedded",
            f"--data-dir={data}",
        ],
        cwd=CLONE,
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "ready")},
    )
    try:
        while b"READY=1" not in ready.recv(4096):
            pass
        yield (data / "nats.url").read_text().strip()
    finally:
        ready.close()
        pool.send_signal(signal.SIGTERM)
        assert pool.wait() == 0


def test_the_quickstart_needs_no_server() -> None:
    quickstart = run("examples/quickstart.py")
    assert quickstart.returncode == 0, quickstart.stderr
    lines = quickstart.stdout.splitlines()
    assert lines[:2] == ["deposit 10: 10", "withdraw 4: 6"]
    assert lines[2].startswith("withdraw 100: insufficient funds")
    assert lines[3].startswith("deposit -1:")
    assert lines[3].endswith("(at amount)")
    assert lines[4] == "back from its history: 6"


def test_the_bank_neither_makes_nor_loses_money(bank_pool: str) -> None:
    for _ in range(2):
        bank = run("examples/bank.py", AETHER_NATS_URL=bank_pool)
        assert bank.returncode == 0, bank.stdout + bank.stderr
        assert "1000.00 in all, 1000.00 were paid in" in bank.stdout


def test_the_bank_says_when_there_is_no_pool() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{unused.getsockname()[1]}"
        bank = run("examples/bank.py", AETHER_NATS_URL=url)
    assert bank.returncode == 1
    assert url.removeprefix("nats://") in bank.stderr
    assert "Traceback" not in bank.stderr

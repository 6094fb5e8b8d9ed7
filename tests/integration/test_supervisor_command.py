"""`python -m workers` as a program: its exit codes for what cannot work, and what it says."""

import os
import subprocess
import sys
from pathlib import Path

from aether.system.node_claim import claim_node


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-m", "workers", *arguments], cwd=directory, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip


def test_a_model_that_does_not_import_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "broken_pool.py").write_text("import there_is_no_such_module\n")
    for name in ("broken_pool:model", "no_such_pool:model", "no-colon"):
        ended = run(tmp_path, name)
        assert ended.returncode == 4, ended.stderr
        assert ended.stderr.startswith("aether: ")
        assert "Traceback" not in ended.stderr


def test_nothing_is_started_for_a_configuration_error(tmp_path: Path) -> None:
    ended = run(tmp_path, "no_such_pool:model", "--data-dir", str(tmp_path / "pool"))
    assert ended.returncode == 4
    assert not (tmp_path / "pool").exists()


def test_wrong_settings_are_a_configuration_error(tmp_path: Path) -> None:
    assert run(tmp_path, "pool:model", "--workers", "0").returncode == 4
    assert run(tmp_path, "pool:model", "--workers", "many").returncode == 4


def test_a_node_that_runs_already_is_a_configuration_error(tmp_path: Path) -> None:
    claim = claim_node(tmp_path, "accounts", "mine")
    ended = run(Path.cwd(), "tests.support.actors:model", "--namespace", "accounts", "--node", "mine",
                "--data-dir", str(tmp_path), "--nats", "nats://127.0.0.1:1")  # fmt: skip
    assert ended.returncode == 4
    assert "'mine'" in ended.stderr
    assert "--data-dir" in ended.stderr
    assert claim.lock_fd is not None
    os.close(claim.lock_fd)


def test_help_is_no_error(tmp_path: Path) -> None:
    ended = run(tmp_path, "--help")
    assert ended.returncode == 0
    assert "--data-dir" in ended.stdout

"""Laws of node names: one holder at a time, the same name and claim for the next, and no claim without a lock."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import ConfigError
from aether.system.environment import boot_id, host_name
from aether.system.node_claim import ID_FILE, NAME_BYTES_MAX, NodeClaim, claim_node, claim_text

DEADLINE_S = 20.0

names = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: len(name.encode()) <= NAME_BYTES_MAX)


def release(*claims: NodeClaim) -> None:
    for claim in claims:
        assert claim.lock_fd is not None
        os.close(claim.lock_fd)


def test_the_default_name_has_one_holder_at_a_time_and_comes_back_with_its_claim(tmp_path: Path) -> None:
    first = claim_node(tmp_path, "bank")
    assert first.name.startswith(f"{host_name()}-")
    assert first.claim
    with pytest.raises(ConfigError) as refused:
        claim_node(tmp_path, "bank", lock_wait_s=0)
    assert refused.value.setting == "node"
    for words in (first.name, "--node", "--data-dir"):
        assert words in refused.value.message
    release(first)
    again = claim_node(tmp_path, "bank", lock_wait_s=0)
    assert (again.name, again.claim) == (first.name, first.claim)
    release(again)


def test_a_given_name_has_one_holder_at_a_time_too(tmp_path: Path) -> None:
    first = claim_node(tmp_path, "bank", "mine")
    assert first.name == "mine"
    with pytest.raises(ConfigError, match="mine"):
        claim_node(tmp_path, "bank", "mine", lock_wait_s=0)
    release(first)


def test_other_names_and_other_namespaces_share_the_directory(tmp_path: Path) -> None:
    claims = [
        claim_node(tmp_path, "bank"),
        claim_node(tmp_path, "shop"),
        claim_node(tmp_path, "bank", "a"),
        claim_node(tmp_path, "bank", "b"),
    ]
    assert claims[0].name == claims[1].name
    assert len({claim.claim for claim in claims}) == 4
    release(*claims)


@pytest.mark.parametrize("left", [b"", bytes(9), b"4f2a\0\0\0\0\0", bytes(range(128, 255)), b"\n"], ids=repr)
def test_what_a_power_cut_leaves_of_an_id_is_replaced_by_one(tmp_path: Path, left: bytes) -> None:
    (tmp_path / ID_FILE).write_bytes(left)
    first = claim_node(tmp_path, "bank")
    assert first.name.isprintable()
    assert re.fullmatch(r"[0-9a-f]{8}\n", (tmp_path / ID_FILE).read_text())
    release(first)
    again = claim_node(tmp_path, "bank", lock_wait_s=0)
    assert again.name == first.name
    release(again)


@given(first=names, second=names)
def test_any_text_is_a_name_and_stays_in_its_directory(first: str, second: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        claims = [claim_node(Path(directory), "bank", name, lock_wait_s=0) for name in {first, second}]
        files = list(Path(directory).rglob("*.lock"))
        assert {path.parent for path in files} == {Path(directory).resolve() / "nodes" / "bank"}
        assert len(files) == len(claims)
        release(*claims)


@pytest.mark.parametrize("wrong", ["x" * (NAME_BYTES_MAX + 1), "\udcff"])
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        claim_node(tmp_path, "bank", wrong)
    assert refused.value.setting == "node"


def test_a_forked_child_keeps_the_name_and_an_executed_program_does_not(tmp_path: Path) -> None:
    first = claim_node(tmp_path, "bank")
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        release(first)
        with pytest.raises(ConfigError):
            claim_node(tmp_path, "bank", lock_wait_s=0)
        dying = threading.Thread(target=os.kill, args=(child, signal.SIGKILL))
        dying.start()
        again = claim_node(tmp_path, "bank", lock_wait_s=DEADLINE_S)
        assert again.claim == first.claim
        assert program.poll() is None, "it lives, and does not hold the name"
        dying.join()
        release(again)
    finally:
        program.communicate(b"\n")
        os.waitpid(child, 0)


def test_a_copied_directory_has_the_same_name_and_another_claim(tmp_path: Path) -> None:
    release(original := claim_node(tmp_path / "one", "bank"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    release(copy := claim_node(tmp_path / "two", "bank"))
    assert copy.name == original.name
    assert copy.claim != original.claim


def test_who_removes_the_lock_of_a_living_supervisor_does_not_get_its_claim(tmp_path: Path) -> None:
    first = claim_node(tmp_path, "bank", "mine")
    (lock,) = (tmp_path / "nodes" / "bank").glob("*.lock")
    lock.unlink()
    second = claim_node(tmp_path, "bank", "mine", lock_wait_s=0)
    assert second.claim != first.claim
    release(first, second)


def test_another_boot_is_another_claim_and_an_unknown_boot_is_none() -> None:
    assert boot_id()
    claims = {claim_text("id", 1, 2, boot) for boot in (boot_id(), "another")}
    assert len(claims) == 2
    assert claim_text("id", 1, 2, "") == ""


def test_where_nothing_can_be_locked_a_given_name_is_taken_and_the_default_is_random(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = tmp_path / "file" / "below"
    assert claim_node(unwritable, "bank", "mine") == NodeClaim("mine", None, "")
    claims = [claim_node(unwritable, "bank") for _ in range(3)]
    assert len({claim.name for claim in claims}) == 3
    assert {(claim.lock_fd, claim.claim) for claim in claims} == {(None, "")}

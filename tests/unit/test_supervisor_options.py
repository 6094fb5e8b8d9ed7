"""The supervisor's small parts: its command line, systemd's protocol, node names and the lifeline."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.config import WORKER_ALIVE, WORKER_READY, WorkerSpec
from aether.errors import ConfigError
from aether.system.environment import CLAIMS_MAX, NodeClaim, claim_node
from aether.system.lifeline import Lifeline
from workers.__main__ import options_from
from workers.notify import notify, watchdog_s
from workers.run import RunOptions
from workers.state import SupervisorConfig

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
options = st.builds(
    RunOptions,
    model=st.from_regex(r"[a-z.]+:[a-z]+", fullmatch=True),
    workers=st.integers(-5, 300),
    nats=st.none() | texts,
    namespace=st.none() | texts,
    data_dir=texts.map(Path),
    port=st.none() | st.integers(),
    node=st.none() | texts,
    shards=st.none() | st.integers(),
    replicas=st.none() | st.integers(),
    drain_timeout_s=st.floats(allow_nan=False),
    hang_timeout_s=st.floats(allow_nan=False),
    check=st.booleans(),
)


@given(options)
def test_the_next_interpreter_reads_the_options_that_this_one_had(given: RunOptions) -> None:
    assert options_from(given.to_arguments()) == given


@pytest.mark.parametrize("wrong", [[], ["m:m", "--workers", "many"], ["m:m", "--unknown"]])
def test_a_wrong_command_line_exits_with_4(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        options_from(wrong)
    assert left.value.code == 4


@pytest.mark.parametrize("setting", ["workers", "drain_timeout_s", "crash_limit"])
def test_settings_that_cannot_work_are_named(setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SupervisorConfig(**{setting: 0})
    assert refused.value.setting == setting


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_what_is_said(tmp_path: Path, abstract: bool) -> None:
    address = f"@aether-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + address[1:] if abstract else address)
        systemd.settimeout(20)
        assert notify(address, "READY=1\nSTATUS=2 workers ready")
        assert systemd.recv(1_000) == b"READY=1\nSTATUS=2 workers ready"


def test_without_systemd_nothing_is_sent_and_nothing_fails(tmp_path: Path) -> None:
    assert not notify("", "READY=1")
    assert not notify(str(tmp_path / "nobody"), "READY=1")


def test_the_watchdog_hears_us_twice_in_its_time() -> None:
    assert watchdog_s("10000000", "", 7) == 5.0
    assert watchdog_s("10000000", "7", 7) == 5.0
    assert watchdog_s("10000000", "8", 7) is None
    assert watchdog_s("", "", 7) is None


def test_node_names_of_one_directory_are_never_shared_and_come_back(tmp_path: Path) -> None:
    first, second = claim_node(tmp_path), claim_node(tmp_path)
    assert first.name != second.name
    assert first.lock_fd is not None
    os.close(first.lock_fd)
    again = claim_node(tmp_path)
    assert again.name == first.name
    for claim in (second, again):
        assert claim.lock_fd is not None
        os.close(claim.lock_fd)


def test_a_directory_has_so_many_node_names_and_no_more(tmp_path: Path) -> None:
    claims = [claim_node(tmp_path) for _ in range(CLAIMS_MAX)]
    with pytest.raises(ConfigError) as refused:
        claim_node(tmp_path)
    assert refused.value.setting == "data_dir"
    for claim in claims:
        assert claim.lock_fd is not None
        os.close(claim.lock_fd)


def test_a_given_name_needs_no_directory_and_a_missing_directory_gives_a_random_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = tmp_path / "file" / "below"
    assert claim_node(unwritable, "mine") == NodeClaim("mine", None)
    names = {claim_node(unwritable).name for _ in range(3)}
    assert len(names) == 3


async def test_the_lifeline_says_ready_then_alive_and_ends_with_the_supervisor() -> None:
    status_read_fd, status_write_fd = os.pipe()
    parent_read_fd, parent_write_fd = os.pipe()
    spec = WorkerSpec(slot=0, slots=1, node="n", incarnation="i", replaces=None, claim="", status_fd=status_write_fd,
                      parent_fd=parent_read_fd)  # fmt: skip
    orphaned = asyncio.Event()
    lifeline = Lifeline(spec, orphaned.set)
    lifeline.open()
    lifeline.ready()
    assert os.read(status_read_fd, 10) == WORKER_READY
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(status_read_fd, lambda: heard.set_result(os.read(status_read_fd, 10)))
    async with asyncio.timeout(20):
        assert await heard == WORKER_ALIVE
        asyncio.get_running_loop().remove_reader(status_read_fd)
        os.close(parent_write_fd)
        await orphaned.wait()
    lifeline.close()
    for fd in (status_read_fd, status_write_fd, parent_read_fd):
        os.close(fd)

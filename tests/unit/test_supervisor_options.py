"""The supervisor's small parts: its command line, systemd's protocol and the lifeline."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.config import ClusterConfig, RuntimeConfig, StorageConfig, from_environment
from aether.errors import ConfigError
from aether.supervisor.arguments import options_from
from aether.supervisor.notify import notify, watchdog_s
from aether.supervisor.options import RunOptions
from aether.supervisor.run import silent_kill_s
from aether.supervisor.state import SupervisorConfig
from aether.system.lifeline import Lifeline
from aether.worker_protocol import WORKER_ALIVE, WORKER_JOINED, WORKER_READY, WorkerSpec

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
    sync=st.none() | texts,
    check_timeout_s=st.floats(allow_nan=False),
    drain_timeout_s=st.floats(allow_nan=False),
    loop_silent_kill_s=st.floats(allow_nan=False) | st.none(),
    log_level=st.none() | texts,
    log_format=st.none() | texts,
    reload=st.booleans(),
    check=st.booleans(),
    dev=st.booleans(),
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


@pytest.mark.parametrize(
    ("kind", "variable", "value", "setting"),
    [
        (StorageConfig, "AETHER_SYNC", "maybe", "sync"),
        (StorageConfig, "AETHER_SYNC", "", "sync"),
        (StorageConfig, "AETHER_REPLICAS", "0", "replicas"),
        (StorageConfig, "AETHER_SHARDS", "65537", "shards"),
        (RuntimeConfig, "AETHER_COMMIT_BATCHING", "no", "commit_batching"),
    ],
)
def test_a_variable_that_says_what_cannot_be_names_its_setting(
    kind: type[StorageConfig] | type[RuntimeConfig], variable: str, value: str, setting: str
) -> None:
    with pytest.raises(ConfigError, match=setting) as refused:
        from_environment(kind, {variable: value})
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


@pytest.mark.parametrize("installed", [True, False])
def test_a_process_has_its_name_with_and_without_the_package_for_titles(installed: bool) -> None:
    program = (
        ("" if installed else "import sys; sys.modules['setproctitle'] = None\n")
        + "from aether.system.process import set_process_name; set_process_name('a-name', 'a title')\n"
        + "print(open('/proc/self/comm').read(), open('/proc/self/cmdline').read())"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    name, _, title = said.rstrip("\n\0").partition("\n ")
    assert name == "a-name"
    assert (title == "a title") is installed


async def test_the_lifeline_says_joined_then_ready_then_alive_and_ends_with_the_supervisor() -> None:
    status_read_fd, status_write_fd = os.pipe()
    parent_read_fd, parent_write_fd = os.pipe()
    spec = WorkerSpec(slot=0, slots=1, node="n", incarnation="i", replaces=None, claim="", status_fd=status_write_fd,
                      parent_fd=parent_read_fd)  # fmt: skip
    orphaned = asyncio.Event()
    lifeline = Lifeline(spec, orphaned.set)
    lifeline.open()
    lifeline.unready()
    lifeline.joined()
    assert os.read(status_read_fd, 10) == WORKER_JOINED
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(status_read_fd, lambda: heard.put_nowait(os.read(status_read_fd, 10)))
    async with asyncio.timeout(20):
        assert await heard.get() == WORKER_JOINED
        lifeline.ready()
        assert await heard.get() == WORKER_READY
        assert await heard.get() == WORKER_ALIVE
        asyncio.get_running_loop().remove_reader(status_read_fd)
        os.close(parent_write_fd)
        await orphaned.wait()
    lifeline.close()
    for fd in (status_read_fd, status_write_fd, parent_read_fd):
        os.close(fd)


@pytest.mark.parametrize(
    ("given_s", "variables"),
    [(12.0, {}), (4.0, {"AETHER_MEMBER_TTL_S": "5"}), (0.5, {}), (None, {"AETHER_LOOP_SILENT_KILL_S": "13"})],
)
def test_a_loop_may_not_be_silent_for_longer_than_its_lease_lasts(
    given_s: float | None, variables: dict[str, str]
) -> None:
    options = RunOptions(model="m:m", nats="nats://127.0.0.1:1", loop_silent_kill_s=given_s)
    with pytest.raises(ConfigError) as refused:
        silent_kill_s(options, variables)
    assert refused.value.setting == "loop_silent_kill_s"


@given(st.integers(4, 600), st.floats(0.0, 0.9))
def test_by_default_a_silent_loop_is_ended_while_no_other_worker_may_run_what_it_runs(ttl_s: int, share: float) -> None:
    config = ClusterConfig(ttl_s=ttl_s)
    options = RunOptions(model="m:m", nats="nats://127.0.0.1:1")
    ends_s = silent_kill_s(options, {"AETHER_MEMBER_TTL_S": str(ttl_s)})
    assert 0 < ends_s < config.answers_for_s
    renewed_ago_s = share * ttl_s / config.renewals_per_ttl  # before the loop fell silent
    assert ends_s < ttl_s - renewed_ago_s

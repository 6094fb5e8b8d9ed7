"""The gateway's process beside the workers: kept running, replaced last, drained first; it never ends the pool."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import ConfigError
from aether.supervisor.deadlines import next_wake_s
from aether.supervisor.gateway_program import gateway_program, listen_for_gateway
from aether.supervisor.options import RunOptions
from aether.supervisor.state import Exited, Kill, Phase, Request, Say, SignalReceived, StartGateway, Terminate
from tests.support.supervised import CONFIG, World, happen, happenings


@given(st.lists(happenings, max_size=60))
def test_whatever_happens_the_world_stays_sound_and_a_drain_ends(history: list[tuple[int, int, int]]) -> None:
    world = World(has_gateway=True)
    for what, which, code in history:
        if world.exit_code is not None:
            break
        happen(world, what, which, code)
    world.tell(SignalReceived(Request.DRAIN))
    for _ in range(200):
        if world.exit_code is not None:
            break
        if world.gateway_pid in world.terminated:
            world.end_gateway(0)
        for pid in [pid for pid in world.live if pid in world.terminated]:
            world.die(pid, 0)
        world.pass_time(1.0)
    assert world.exit_code in (0, 1, 3, 4)


@given(st.lists(happenings, max_size=60))
def test_a_pool_that_is_left_alone_has_its_gateway(history: list[tuple[int, int, int]]) -> None:
    world = World(has_gateway=True)
    for what, which, code in history:
        if world.exit_code is None:
            happen(world, what, which, code)
    world.forks_fail = False
    world.settle()
    if world.state.phase is Phase.RUNNING and world.state.check is None:
        world.pass_time(CONFIG.restart_cap_s)
        world.settle()
        assert world.gateway_pid is not None


def test_a_gateway_that_ends_is_started_again_ever_later_and_the_workers_go_on() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    delays = []
    for _ in range(12):
        world.end_gateway(3)
        assert world.exit_code is None
        delays.append(world.state.gateway.start_at_s - world.now_s if world.state.gateway else 0)
        assert world.gateway_pid is None
        assert next_wake_s(world.state, world.config) <= world.now_s + delays[-1]
        world.beat()
        world.now_s += delays[-1] - world.config.pause_s if delays[-1] > world.config.pause_s else 0
        for _ in range(40):
            if world.gateway_pid is None:
                world.beat()
                world.pass_time(0.25)
    assert delays[0] == world.config.restart_first_s
    assert delays == sorted(delays)
    assert delays[-1] == world.config.restart_cap_s
    assert len(world.live) == 3
    assert not world.terminated


def test_one_that_lived_begins_anew_with_its_delays() -> None:
    world = World(has_gateway=True)
    for _ in range(5):
        world.end_gateway(1)
        while world.gateway_pid is None:
            world.pass_time(0.5)
    world.pass_time(world.config.stable_s)
    world.end_gateway(1)
    assert world.state.gateway is not None
    assert world.state.gateway.start_at_s == world.now_s + world.config.restart_first_s


def test_workers_are_asked_to_drain_when_the_gateway_has_drained() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    told = world.tell(SignalReceived(Request.DRAIN))
    assert [effect for effect in told if isinstance(effect, Terminate)] == [Terminate(world.gateway_pid or 0)]
    assert not set(world.live) & world.terminated
    world.end_gateway(0)
    assert set(world.live) <= world.terminated
    for pid in sorted(world.live):
        world.die(pid, 0)
    assert world.exit_code == 0


def test_a_gateway_that_does_not_drain_is_killed_at_half_time_and_workers_have_the_other_half() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    world.tell(SignalReceived(Request.DRAIN))
    half_s = CONFIG.drain_timeout_s / 2
    assert next_wake_s(world.state, CONFIG) <= world.now_s + half_s
    pid = world.gateway_pid
    world.now_s += half_s - 1
    world.beat()
    assert Kill(pid or 0) not in world.pass_time(0)
    world.beat()
    assert Kill(pid or 0) in world.pass_time(1)
    assert Say("the gateway was killed before it had drained", "ERROR") in world.end_gateway(-9)
    assert set(world.live) <= world.terminated


def test_two_interrupts_end_all_at_once() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    world.tell(SignalReceived(Request.INTERRUPT))
    told = world.tell(SignalReceived(Request.INTERRUPT))
    assert {effect.pid for effect in told if isinstance(effect, Kill)} == {world.gateway_pid, *world.live}


def test_a_reload_replaces_the_gateway_after_every_worker() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    before = world.gateway_pid
    assert before is not None
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 0))
    old = set(world.live)
    while old & set(world.live):
        assert before not in world.terminated
        going = next(pid for pid in sorted(world.live) if pid in world.terminated)
        world.die(going, 0)
        world.pass_time(0.1)
        world.all_ready()
    world.pass_time(0.1)
    assert before in world.terminated
    told = world.end_gateway(0)
    assert StartGateway() in told, "at once, as it was asked for"
    assert world.gateway_pid not in (None, before)
    world.pass_time(1)
    assert world.gateway_pid not in world.terminated


def test_a_reload_that_is_called_off_leaves_the_gateway() -> None:
    world = World(has_gateway=True)
    world.all_ready()
    world.tell(SignalReceived(Request.RELOAD))
    world.tell(Exited(world.checks.pop(), 3))
    world.settle()
    assert not world.terminated


def test_options_without_the_address_they_are_for_are_refused(tmp_path: Path) -> None:
    assert listen_for_gateway(RunOptions(model="m:m"), tmp_path) is None
    with pytest.raises(ConfigError, match="--http-tokens"):
        listen_for_gateway(RunOptions(model="m:m", http_tokens=Path("t")), tmp_path)
    with pytest.raises(ConfigError, match="needs authentication"):
        listen_for_gateway(RunOptions(model="m:m", http="0.0.0.0:0"), tmp_path)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        listen_for_gateway(RunOptions(model="m:m", http="8080"), tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        listen_for_gateway(RunOptions(model="m:m", http="127.0.0.1:0", http_tokens=Path("t")), tmp_path)


def test_a_password_is_in_no_command_line(tmp_path: Path) -> None:
    options = RunOptions(model="m:m", http="127.0.0.1:0", data_dir=tmp_path)
    program = gateway_program(options, tmp_path, {"A": "b"}, "ns", "nats://me:secret@there:1", 7)
    assert "--fd=7" in program.arguments
    assert not any("secret" in argument for argument in program.arguments)
    assert program.variables == {"A": "b", "AETHER_NATS_URL": "nats://me:secret@there:1", "AETHER_NAMESPACE": "ns"}


def test_a_development_pool_takes_a_free_port_and_knows_which_was_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for asked, instead_of in ((taken, taken), ("127.0.0.1:0", "")):
            found = listen_for_gateway(RunOptions(model="m:m", http=asked, dev=True), tmp_path)
            assert found is not None
            os.close(found.fd)
            assert found.instead_of == instead_of
            assert taken not in found.url

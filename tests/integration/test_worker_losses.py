"""A handler that ends its process, in a real pool: it ends two workers and no more, and others wait only briefly."""

import asyncio
import os
import re
from pathlib import Path

import pytest

import aether
from aether import ActorFailed, DeadlineExceeded
from aether.config import EXIT_SYNC_FAILED
from tests.support.doors import model
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

ENDED = re.compile(r"aether: worker \d+ \(pid \d+\) .* while it ran door/(\w+) (its replay|\w+)")


def pool(directory: Path, server: NatsServer, namespace: str, workers: int = 2) -> Pool:
    options = (f"--workers={workers}", "--loop-silent-kill=2", "--nats", server.url, "--namespace", namespace)
    variables = {**os.environ, "AETHER_MEMBER_TTL_S": "5"}
    return Pool("tests.support.doors:model", *options, directory=directory, variables=variables)


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("crash", {"how": 11}),
        ("leave_later", {"code": 0}),
        ("block", {"seconds": 30}),
        ("fault_in_thread", {"address": 0}),
        ("leave_in_thread", {"code": 3}),
        ("leave_later", {"code": EXIT_SYNC_FAILED}),
        ("keep_the_lock", {"length": 40}),
    ],
)
async def test_a_command_that_ends_its_worker_is_refused_after_two(
    tmp_path: Path, nats_server: NatsServer, namespace: str, command: str, argument: dict[str, int]
) -> None:
    with pool(tmp_path, nats_server, namespace) as running:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            front = client.actor("door", "front", deadline_s=40)
            others = [client.actor("door", f"d{n}", deadline_s=20) for n in range(40)]
            assert await front.knock() == 1
            bad = asyncio.ensure_future(getattr(client.actor("door", "front", deadline_s=40), command)(**argument))
            knocked = await asyncio.gather(*(other.knock() for other in others))
            with pytest.raises(ActorFailed, match="has ended two workers and is not run again"):
                await bad
            assert knocked == [1] * 40
            assert await front.knock() == 2
            types = [event.type async for event in client.history("door", "front")]
            assert types in (["Knocked", "Knocked"], ["Knocked", *["aether.WorkerLost"] * 2, "Knocked"])
        assert [ended[1] for ended in running.wait_for(ENDED, 2)] == ["front", "front"]
        assert len([line for line in running.lines if ENDED.search(line)]) == 2


@pytest.mark.parametrize(
    ("command", "argument", "for_s", "refusal", "said"),
    [
        (
            "fault_in_thread",
            {"address": 0},
            8,
            ActorFailed,
            "front fault_in_thread .* noted as ended by that: SIGSEGV",
        ),
        ("block", {"seconds": 30}, 8, ActorFailed, "front block .* noted as ended by that: a hang"),
        ("leave_in_thread", {"code": 3}, 2, DeadlineExceeded, "which of them ended it, if one did, is not known"),
    ],
)
async def test_with_two_at_once_it_is_laid_to_the_one_that_is_known_to_have_done_it(
    tmp_path: Path,
    nats_server: NatsServer,
    namespace: str,
    command: str,
    argument: dict[str, int],
    for_s: float,
    refusal: type[Exception],
    said: str,
) -> None:
    """Where the one that did it is not known, its caller waits no longer than for the first of its ends.

    Later it may come back before the other one, be alone at two more ends, and be refused.
    """
    with pool(tmp_path, nats_server, namespace, workers=1) as running:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            waits = asyncio.ensure_future(client.actor("door", "back", deadline_s=30).wait_there(3))
            await asyncio.to_thread(running.wait_for, re.compile("back waits"))
            with pytest.raises(refusal):
                await getattr(client.actor("door", "front", deadline_s=for_s), command)(**argument)
            assert await waits == 1, "it ran again, and was not refused"
        first = running.wait_for(re.compile("while it ran"))[0].string
        assert "door/front" in first
        assert "door/back" in first
        assert re.search(said, first)
        assert not re.search("door/back [^,;]*; it is noted", "".join(running.lines)), "an innocent one is not blamed"
        shown = "".join(running.lines)
        assert ("Current thread" in shown and "in fault_in_thread" in shown) == (command == "fault_in_thread")


async def test_a_crash_of_a_handlers_child_is_not_the_workers(
    tmp_path: Path, nats_server: NatsServer, namespace: str
) -> None:
    with pool(tmp_path, nats_server, namespace, workers=1) as running:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            front = client.actor("door", "front", deadline_s=20)
            assert await front.lose_a_child() == -11
            os.kill(running.worker_pids(1)[0], 9)
            assert await front.knock() == 1
        assert any("Fatal Python error" in line for line in running.lines), "the child's stacks are shown at once"
        assert not any("which crashed" in line for line in running.lines)


async def test_a_kill_from_outside_is_held_against_no_command(
    tmp_path: Path, nats_server: NatsServer, namespace: str
) -> None:
    with pool(tmp_path, nats_server, namespace, workers=1) as running:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            for killed in (1, 2, 3):
                os.kill(running.worker_pids(killed)[0], 9)
                assert await client.actor("door", "front", deadline_s=20).knock() == killed
        assert not [line for line in running.lines if ENDED.search(line)]


async def test_an_actor_whose_replay_ends_a_worker_is_left_alone(
    tmp_path: Path, nats_server: NatsServer, namespace: str
) -> None:
    with pool(tmp_path, nats_server, namespace, workers=1) as running:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            front = client.actor("door", "front", deadline_s=20)
            assert [await front.knock() for _ in range(3)] == [1, 2, 3]
            (tmp_path / "poison").touch()
            os.kill(running.worker_pids(1)[0], 9)  # without a snapshot: the next one replays
            with pytest.raises(
                DeadlineExceeded, match="its replay has ended a worker"
            ):  # its first send was not answered
                await client.actor("door", "front", deadline_s=4).knock()
            with pytest.raises(ActorFailed, match="not activated for a while: its replay has ended a worker"):
                await front.knock()
            assert await client.actor("door", "back", deadline_s=20).knock() == 1
        assert [(ended[1], ended[2]) for ended in running.wait_for(ENDED)] == [("front", "its replay")]

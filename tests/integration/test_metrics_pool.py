"""The metrics of a pool of forked workers: each tells its own, a silent one is missing, a dead one is not there."""

import asyncio
import os
import signal

import aether
from aether.core.metrics.pool_metrics import Accumulated, PoolMetrics
from tests.support.actors import Account, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

MODEL = "tests.support.actors:model"
DEPOSITED = ("aether_commands_total", "account", "deposit", "ok")
GUARD_S = 60.0


async def metrics_with(client: aether.Client, workers: int, missing: int, without: str = "") -> PoolMetrics:
    """The pool's metrics, once so many workers told theirs, so many did not, and one incarnation is not among them."""
    async with asyncio.timeout(GUARD_S):
        while True:
            found = await client.metrics()
            told = {one.incarnation for one in found.workers}
            if (len(told), len(found.missing)) == (workers, missing) and without not in told:
                return found
            await asyncio.sleep(0.1)


async def pids_of(client: aether.Client) -> dict[str, int]:
    members = (await client.untyped.overview()).members
    return {f"{one['node']}-{one['slot']}": one["pid"] for one in members}


async def test_what_is_told_follows_the_workers(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    options = ("--workers", "2", "--nats", nats_server.url, "--namespace", namespace)
    with await asyncio.to_thread(Pool(MODEL, *options).__enter__):
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            counted = Accumulated()
            for number in range(20):
                await client.actor(Account, f"a{number}").deposit(1)
            both = await metrics_with(client, 2, 0)
            sums = counted.take(both)
            assert sums.value(*DEPOSITED) == 20
            assert all(one.readings.value(*DEPOSITED) for one in both.workers), "each has a share"
            assert sums.value("aether_shards_owned") == sums.value("aether_shards")
            assert sums.value("aether_active_actors", "account") == 20
            assert sums.histograms["aether_command_seconds"]["account", "deposit"].count == 20
            assert sums.histograms["aether_commit_seconds"][()].count == sums.value("aether_commits_total") == 20
            assert sums.histograms["aether_activation_seconds"][()].count == 20
            async with asyncio.timeout(GUARD_S):  # it is measured every now and then
                while not (await client.metrics()).sum().histograms["aether_loop_lag_seconds"][()].count:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

            pids = await pids_of(client)
            silent = both.workers[0].member
            os.kill(pids[silent], signal.SIGSTOP)
            try:
                assert (await metrics_with(client, 1, 1)).missing == (silent,)
            finally:
                os.kill(pids[silent], signal.SIGCONT)
            await metrics_with(client, 2, 0)

            os.kill(pids[silent], signal.SIGKILL)
            after = await metrics_with(client, 2, 0, without=both.workers[0].incarnation)
            assert after.sum().value(*DEPOSITED) < 20
            assert counted.take(after).value(*DEPOSITED) == 20

"""Policies in a real pool: transfers whose second half a policy tells, while workers are killed."""

import os
import random
import signal

from tests.integration.test_tells_pool import paying, settled
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool


async def test_killed_workers_neither_lose_nor_repeat_what_a_policy_tells() -> None:
    namespace, chance = fresh_namespace(), random.Random(18)  # noqa: S311 - no secret
    with (
        NatsServer() as server,
        Pool(
            "tests.support.policy_transfers:model", "--workers", "3", "--nats", server.url, "--namespace", namespace
        ) as pool,
    ):
        async with paying(server.url, namespace) as payments:
            await payments.until_acknowledged(100)
            for killed in range(3):
                pids = pool.worker_pids(3 + killed)
                os.kill(pids[chance.randrange(3)], signal.SIGKILL)
                await payments.until_acknowledged(150)
        found, count = await settled(payments, server.url, namespace)
        assert found == ""
        assert count > 500

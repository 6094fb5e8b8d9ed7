"""Loads on DBOS in its own process, with no network before it: load, library and the code it runs are one.

    python -m benchmarks.peers.dbos_load LOAD COUNT IN_FLIGHT SEED LEAD_S

DATABASE_URL says where it stores. A handler is a workflow, its deposit a transaction in the same database, which DBOS
makes happen once; what it sends is another workflow, put into a queue.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa  # type: ignore[import-not-found]
from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID, SQLAlchemyDatasource  # type: ignore[import-not-found]

from benchmarks.peers import effects
from benchmarks.peers.report import tell

QUEUE = "deposits"
POLLING_INTERVAL_S = 0.01
"""How often DBOS looks into a queue; its default is 1 s."""

RUNNING_MAX = 20
"""Workflows of the queue that run at once: the best of 4, 5, 8, 20 and no limit."""

POOL_SIZE = 20
"""DBOS's own default for its connections to the database."""

URL = os.environ["DATABASE_URL"]
bank_tables = SQLAlchemyDatasource.create(URL, engine_kwargs={"pool_size": POOL_SIZE})


@bank_tables.transaction(isolation_level="READ COMMITTED")  # type: ignore[untyped-decorator]
def add(account: str, amount: int) -> int:
    """Add money in one statement, which locks the account's row; the new balance."""
    session = bank_tables.sql_session()
    added = sa.text("UPDATE account SET balance = balance + :amount WHERE key = :key RETURNING balance")
    return int(session.execute(added, {"amount": amount, "key": account}).scalar_one())


@DBOS.workflow()  # type: ignore[untyped-decorator]
def deposit(account: str, amount: int) -> int:
    """Add money; the new balance."""
    return int(add(account, amount))


@DBOS.workflow()  # type: ignore[untyped-decorator]
def transfer(account: str, to: str, amount: int) -> int:
    """Add money, and send the same to another account; the new balance."""
    balance = int(add(account, amount))
    DBOS.enqueue_workflow(QUEUE, deposit, to, amount)
    return balance


@DBOS.step()  # type: ignore[untyped-decorator]
def same(amount: int) -> int:
    """The amount itself."""
    return amount


@DBOS.workflow()  # type: ignore[untyped-decorator]
def task(amount: int) -> int:
    """A step, and its result for that of the workflow."""
    return int(same(amount))


class DbosBank:
    """The bank of this process. DBOS blocks its callers, so each has a thread."""

    def __init__(self, load: str, callers: int) -> None:
        self._engine = sa.create_engine(URL, isolation_level="AUTOCOMMIT")
        self._pool = ThreadPoolExecutor(callers)
        self._read = self._results if load == effects.TASKS else self._balances

    def open_accounts(self, accounts: Sequence[str]) -> None:
        """Make the table, and a row for each account."""
        with self._engine.connect() as connection:
            connection.execute(sa.text("CREATE TABLE account (key text PRIMARY KEY, balance bigint NOT NULL)"))
            row = sa.text("INSERT INTO account VALUES (:key, 0)")
            connection.execute(row, [{"key": account} for account in accounts])

    async def transfer(self, account: str, to: str, amount: int) -> None:
        """A workflow that enqueues one."""
        await self._in_thread(lambda: transfer(account, to, amount))

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> None:
        """A workflow enqueued with a delay."""

        def enqueue() -> None:
            with SetEnqueueOptions(delay_seconds=max(0.0, due_s - time.time())):
                DBOS.enqueue_workflow(QUEUE, deposit, account, amount)

        await self._in_thread(enqueue)

    async def run_task(self, account: str, amount: int, number: int) -> None:
        """A workflow of one step, enqueued. Its id says for which account it is."""

        def enqueue() -> None:
            with SetWorkflowID(f"{account}/{number}"):
                DBOS.enqueue_workflow(QUEUE, task, amount)

        await self._in_thread(enqueue)

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        """The rows of the accounts; for tasks, how many workflows of each have ended well."""
        found: Mapping[str, int] = await self._in_thread(lambda: self._read(accounts))
        return found

    async def results(self) -> set[int]:
        """What the workflows of tasks returned."""
        return {int(status.output) for status in await DBOS.list_workflows_async(name=task.__qualname__)}

    def _balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        return self._rows("SELECT key, balance FROM account WHERE key = ANY(:keys)", accounts)

    def _results(self, accounts: Sequence[str]) -> Mapping[str, int]:
        key = "split_part(workflow_uuid, '/', 1)"
        wanted = f"{key} = ANY(:keys) AND status = 'SUCCESS'"
        return self._rows(f"SELECT {key}, count(*) FROM dbos.workflow_status WHERE {wanted} GROUP BY 1", accounts)

    def _rows(self, query: str, accounts: Sequence[str]) -> Mapping[str, int]:
        with self._engine.connect() as connection:
            rows = connection.execute(sa.text(query), {"keys": list(accounts)})
            return {str(key): int(value) for key, value in rows}

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


async def measured(load: str, count: int, in_flight: int, seed: int, lead_s: float) -> None:
    """Measure one load, and tell."""
    bank = DbosBank(load, max(in_flight, effects.WARM_UP_IN_FLIGHT))
    bank.open_accounts(effects.all_accounts(load))
    # The database's processes come and go with connections, so what they use is not told.
    cases = await effects.measure(load, bank, count, in_flight, seed, lead_s, {"load": [os.getpid()]})
    if load == effects.TASKS:
        effects.check(await bank.results() == {1}, "a task did not return its argument")
    tell(cases)


def main(arguments: Sequence[str]) -> None:
    """Launch DBOS, measure one load, and tell."""
    load, count, in_flight, seed, lead_s = arguments
    config: DBOSConfig = {"name": "bank", "system_database_url": URL, "sys_db_pool_size": POOL_SIZE}
    DBOS(config={**config, "log_level": "WARNING"})
    DBOS.launch()
    try:
        DBOS.register_queue(QUEUE, worker_concurrency=RUNNING_MAX, polling_interval_sec=POLLING_INTERVAL_S)
        asyncio.run(measured(load, int(count), int(in_flight), int(seed), float(lead_s)))
    finally:
        DBOS.destroy(workflow_completion_timeout_sec=30)


if __name__ == "__main__":
    main(sys.argv[1:])

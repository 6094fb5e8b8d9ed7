"""The load, a process of its own: clients that append numbered commands to ledgers and read them, and log every call.

`python -m tests.chaos.load --url URL --namespace NS --log FILE ...`; TERM ends it, when every call under way has ended.
A client sends its numbers to one ledger strictly one after the other, and to all ledgers at once; after an unknown
outcome it goes on with the next number.
"""

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import aether
from tests.chaos import model
from tests.chaos.calls import Act, Call, CallSink, Outcome, Receipt, write_call

READ_SHARE = 0.3
WITHDRAWN_SHARE = 0.45
"""So many appends take from the ledger, which is refused when it has less."""

NOTHING_SHARE = 0.05
"""So many appends are of nothing: their answers have no events."""

OWN_ID_SHARE = 0.5
"""So many calls have an id that the caller gave; the others have one as the library makes it."""

HASTY_SHARE = 0.2
HASTY_S = 0.7
"""Some calls have a deadline that a fault outlasts, so that there are unknown outcomes to go on from."""

AMOUNT_MAX = 9

WANTED_ID: ContextVar[str] = ContextVar("wanted_id")
"""The id of this task's call that has none given: the log must know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Who talks to whom: every client to every ledger. `pause_s` is the mean pause between two calls of one of them."""

    url: str
    namespace: str
    log: Path
    clients: int = 3
    ledgers: int = 24
    seed: int = 0
    deadline_s: float = 15.0
    pause_s: float = 0.3

    def to_arguments(self) -> list[str]:
        """The same as a command line."""
        return [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in self.__dataclass_fields__]


def ledger_names(count: int) -> list[str]:
    """The ledgers' keys: some need escaping."""
    return [f"käse/{n}" if n % 3 == 0 else f"ledger-{n}" for n in range(count)]


def client_names(count: int) -> list[str]:
    """The clients, each with a connection of its own."""
    return [f"c{n}" for n in range(count)]


class NatsProtocol:
    """One client's calls to one ledger, one after the other."""

    def __init__(self, client: aether.Client, name: str, ledger: str, options: LoadOptions, log: CallSink) -> None:
        self._client = client
        self._name = name
        self._ledger = ledger
        self._options = options
        self._log = log
        self._count = 0
        self._dice = random.Random(f"{options.seed}/{name}/{ledger}")  # noqa: S311 - a workload, not a secret

    async def run(self, stopping: asyncio.Event) -> None:
        dice = self._dice
        number = 0
        while not stopping.is_set():
            if dice.random() < READ_SHARE:
                await self._call(Act.READ, 0, 0)
            else:
                number += 1
                await self._call(Act.APPEND, number, _amount(dice))
            try:
                async with asyncio.timeout(self._options.pause_s * 2 * dice.random()):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def _call(self, act: Act, number: int, amount: int) -> None:
        self._count += 1
        command_id = f"{self._name}/{self._ledger}/{self._count}"
        deadline_s = HASTY_S if self._dice.random() < HASTY_SHARE else self._options.deadline_s
        WANTED_ID.set(command_id)
        given = self._dice.random() < OWN_ID_SHARE
        ledger = self._client.actor(
            model.Ledger, self._ledger, deadline_s=deadline_s, command_id=command_id if given else None
        )
        started_s = time.monotonic()
        answer = ledger.read() if act is Act.READ else ledger.append(self._name, number, amount)
        outcome, receipt, error = await _heard(answer)
        call = Call(
            client=self._name,
            actor=self._ledger,
            act=act,
            number=number,
            amount=amount,
            command_id=command_id,
            given=given,
            started_s=started_s,
            ended_s=time.monotonic(),
            deadline_s=deadline_s,
            outcome=outcome,
            receipt=receipt,
            error=error,
        )
        write_call(call, self._log)


def _amount(dice: random.Random) -> int:
    """What to append."""
    kind = dice.random()
    if kind < NOTHING_SHARE:
        return 0
    return dice.randint(1, AMOUNT_MAX) * (-1 if kind < NOTHING_SHARE + WITHDRAWN_SHARE else 1)


async def _heard(answer: Awaitable[model.Receipt]) -> tuple[Outcome, Receipt | None, str]:
    """What came of a call, and the state that was told."""
    try:
        receipt = await answer
    except aether.Rejected as rejection:
        return Outcome.REJECTED, Receipt(**rejection.details), str(rejection)
    except aether.DeadlineExceeded as error:
        return (Outcome.UNAVAILABLE if error.outcome_known else Outcome.UNKNOWN), None, str(error)
    except (aether.Unavailable, aether.Overloaded) as error:
        return Outcome.UNAVAILABLE, None, str(error)
    except Exception as error:  # whatever else comes out of a call is what we look for
        return Outcome.FAILED, None, repr(error)
    return Outcome.REPLY, Receipt(receipt.version, receipt.total, receipt.digest), ""


async def run_load(options: LoadOptions) -> None:
    """Run until TERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as clients:
        log = clients.enter_context(options.log.open("a", buffering=1))
        lanes = await open_lanes(clients, options, log)
        await asyncio.gather(*(lane.run(stopping) for lane in lanes))


async def open_lanes(
    clients: AsyncExitStack, options: LoadOptions, log: CallSink, names: Sequence[str] = ()
) -> list[NatsProtocol]:
    """Every client's lane to every ledger, with the clients open until the stack closes them."""
    lanes = []
    for name in names or client_names(options.clients):
        client = await clients.enter_async_context(
            aether.connect(options.url, model=model.model, namespace=options.namespace)
        )
        client._untyped.caller._new_id = WANTED_ID.get  # the library's own ids are not told
        lanes += [NatsProtocol(client, name, ledger, options, log) for ledger in ledger_names(options.ledgers)]
    return lanes


def options_from_arguments(description: str | None) -> LoadOptions:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=description)
    for name, field in LoadOptions.__dataclass_fields__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=field.type, default=None)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    return LoadOptions(**given)


if __name__ == "__main__":
    asyncio.run(run_load(options_from_arguments(__doc__)))

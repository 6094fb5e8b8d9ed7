"""The long run: `python -m tests.chaos --minutes 30 --seed 7 [--cluster] [--bank]`; see `scripts/chaos`.

Round after round with seeds drawn from the given one; `--replay` runs one seed as it is. It ends after the given time,
with 1 when a round failed: what that round left is in a directory that is named, and its seed is in the seeds file.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from tests.chaos.scenario import Result, drawn, run
from tests.chaos.seeds import Seed, keep_seed
from tests.chaos.world import dice_of

SEED_MAX = 10**9
ROUND_MAX_S = 900.0


def say(text: str) -> None:
    """One line at once, also into a pipe."""
    print(text, flush=True)


async def one_round(seed: Seed, kept: Path) -> bool:
    """Whether all was well."""
    scenario = drawn(seed.number, cluster=seed.cluster, faults=seed.faults, bank=seed.bank)
    say(f"== seed {seed}{'' if scenario.setting.follow else ', workers do not follow what is stored'}")
    for step in scenario.steps:
        say(f"   {step.fault}{'' if step.heal else ' and at once the next'}")
    try:
        async with asyncio.timeout(ROUND_MAX_S):
            result = await run(scenario, kept / str(seed.number))
    except Exception as error:  # a round that cannot even be run is a failing round
        say(f"== FAILED: {error!r}")
        keep_seed(seed, f"did not run: {type(error).__name__}")
        return False
    say(result.text())
    if not result.ok:
        say(f"== FAILED: log, stream and output are in {result.directory}")
        keep_seed(seed, _remark(result))
    return result.ok


def _remark(result: Result) -> str:
    found = [violation.name.lower() for violation in result.report.counts]
    return ", ".join([*found, "did not heal"] if result.broken else found)


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="no round starts after that")
    parser.add_argument("--seed", type=int, default=None, help="of the seeds of the rounds; default by the time")
    parser.add_argument("--replay", type=int, default=None, help="one round of exactly this seed")
    parser.add_argument("--faults", type=int, default=6, help="how many faults a round has")
    parser.add_argument("--cluster", action="store_true", help="three servers and three replicas")
    parser.add_argument("--bank", action="store_true", help="transfers, schedules and tasks instead of ledgers")
    parser.add_argument("--keep", type=Path, default=Path(".chaos"), help="where failing rounds are kept")
    options = parser.parse_args()
    kept = options.keep.resolve()
    if options.replay is not None:
        return 0 if await one_round(Seed(options.replay, options.faults, options.cluster, options.bank), kept) else 1
    first = time.time_ns() % SEED_MAX if options.seed is None else options.seed
    say(f"seed {first}, {options.minutes:g} minutes")
    chance, ends_s, rounds, failed = dice_of(first), time.monotonic() + options.minutes * 60, 0, 0
    while not rounds or time.monotonic() < ends_s:
        seed = Seed(chance.randrange(SEED_MAX), options.faults, options.cluster, options.bank)
        rounds += 1
        failed += not await one_round(seed, kept)
    say(f"== {rounds} rounds, {failed} failed (seed {first})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

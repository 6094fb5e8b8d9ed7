"""A scenario: a setting and a list of faults, run under load and then checked. A seed is a scenario.

The same seed gives the same setting, faults, lengths and dice; what the operating system schedules in between is not
replayed.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.bank.checker import check_bank
from tests.chaos.bank.findings import BankReport, Wrong
from tests.chaos.bank.outside import asked_line
from tests.chaos.checker import Limits, check
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.needs import Needs
from tests.chaos.raw_stream import RawStream, ends, keep_stream, read_stream
from tests.chaos.waiting import NotObserved
from tests.chaos.world import Setting, World, dice_of

FAULTS_A_SEED = 4
BANK_ACCOUNTS = 10
AT_ONCE_SHARE = 0.3
"""How often the next fault comes before the world has healed from the last."""

SETTLED_GUARD_S = 90.0
"""How long after the last call everything that was told, due or started must have had its effect."""

SETTLED_AGAIN_S = 0.5


class Checked(Protocol):
    """What a check found."""

    @property
    def ok(self) -> bool: ...

    @property
    def counts(self) -> Mapping[Any, int]: ...

    def table(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, and whether the world heals before the next."""

    fault: Fault
    heal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is run; `seed` also drives the load."""

    setting: Setting
    steps: Sequence[Step]
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. `broken` is what else went wrong: something that should have healed or ended and did not."""

    scenario: Scenario
    report: Checked
    broken: str
    happened: Sequence[str]
    directory: Path

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong at all."""
        return self.report.ok and not self.broken

    def text(self) -> str:
        """What happened, and the table."""
        lines = [*self.happened, self.report.table()]
        return "\n".join([*lines, f"! broken: {self.broken}"] if self.broken else lines)


def setting_of(*, cluster: bool, bank: bool = False) -> Setting:
    """The usual setting: a host of two workers, and one of one worker whose connection can be cut."""
    setting = Setting(cluster=cluster, hosts={"a": 2, "b": 1}, proxied="b")
    return replace(setting, bank=True, ledgers=BANK_ACCOUNTS) if bank else setting


def drawn(seed: int, *, cluster: bool = False, faults: int = FAULTS_A_SEED, bank: bool = False) -> Scenario:
    """The scenario of a seed."""
    chance = dice_of(seed)
    setting = replace(
        setting_of(cluster=cluster, bank=bank), follow=chance.random() < 0.5, shorten=bank and seed % 4 > 0
    )
    possible = possible_faults(setting)
    kinds = chance.sample(possible, min(faults, len(possible)))
    steps = [Step(kind.drawn(chance), chance.random() >= AT_ONCE_SHARE) for kind in kinds]
    return Scenario(setting=setting, steps=steps, seed=seed)


def possible_faults(setting: Setting) -> list[type[Fault]]:
    """The faults whose needs are met."""
    present = {Needs.CLUSTER if setting.cluster else Needs.SINGLE}
    if setting.proxied is not None:
        present.add(Needs.PROXY)
    if setting.bank:
        present.add(Needs.BANK)
    return [kind for kind in FAULTS if kind.needs <= present]


async def run(scenario: Scenario, directory: Path | None = None, limits: Limits | None = None) -> Result:
    """Run it to its end. What it left is in `Result.directory`, unless all is well."""
    kept = Path(tempfile.mkdtemp(prefix="aether-chaos-")) if directory is None else directory
    kept.mkdir(parents=True, exist_ok=True)
    namespace = f"chaos-{scenario.seed % 10**9}"
    broken: list[str] = []
    async with World(scenario.setting, namespace, kept, scenario.seed) as world:
        for part in (_strike(world, scenario.steps), world.end_load(), _settled(world), world.drain()):
            try:
                await part
            except (AssertionError, TimeoutError) as error:
                broken.append(str(error) or repr(error))
        raw = await read_stream(world.servers.url, namespace)
        if scenario.setting.bank:
            world.note(
                "the inbox has the sequences {} to {}".format(
                    *await ends(world.servers.url, f"AETHER_{namespace}_INBOX")
                )
            )
    result = _checked(scenario, world, raw, "; ".join(broken), limits)
    if result.ok:
        shutil.rmtree(kept)
    else:
        keep_stream(raw, kept / "stream.jsonl")
        (kept / "asked.jsonl").write_text("".join(map(asked_line, world.outside.asked)))
        (kept / "report.txt").write_text(result.text() + "\n")
    return result


async def _strike(world: World, steps: Sequence[Step]) -> None:
    for step in steps:
        world.note(str(step.fault))
        await step.fault.strike(world)
        if step.heal:
            await world.healed()
    await world.healed()


async def _settled(world: World) -> None:
    """Return when everything that was told, due or started has had its effect."""
    if not world.setting.bank:
        return
    try:
        async with asyncio.timeout(SETTLED_GUARD_S):
            while Wrong.LOST in _check_bank(world, await read_stream(world.servers.url, world.namespace)).counts:  # noqa: ASYNC110
                await asyncio.sleep(SETTLED_AGAIN_S)
    except TimeoutError:
        raise NotObserved(f"an end of all that was under way: not within {SETTLED_GUARD_S:.0f} s") from None


def _check_bank(world: World, raw: RawStream) -> BankReport:
    return check_bank(raw.stored, world.log.calls, world.outside.asked)


def _checked(scenario: Scenario, world: World, raw: RawStream, broken: str, limits: Limits | None) -> Result:
    report: Checked
    if world.setting.bank:
        report = _check_bank(world, raw)
    else:
        report = check(raw.stored, world.log.calls, namespace=world.namespace, shards=raw.shards, limits=limits)
    return Result(
        scenario=scenario, report=report, broken=broken, happened=world.happened, directory=world.directory
    )  # fmt: skip

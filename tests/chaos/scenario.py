"""A scenario: a setting and a list of faults, run under load and then checked. A seed is a scenario.

The same seed gives the same setting, faults, lengths and dice; what the operating system schedules in between is not
replayed.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.checker import Limits, check
from tests.chaos.faults import FAULTS, Fault, Needs
from tests.chaos.raw_stream import RawStream, keep_stream, read_stream
from tests.chaos.report import Report
from tests.chaos.world import Setting, World, dice_of

FAULTS_A_SEED = 4
AT_ONCE_SHARE = 0.3
"""How often the next fault comes before the world has healed from the last."""


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
    report: Report
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


def setting_of(*, cluster: bool) -> Setting:
    """The usual setting: a host of two workers, and one of one worker whose connection can be cut."""
    return Setting(cluster=cluster, hosts={"a": 2, "b": 1}, proxied="b")


def drawn(seed: int, *, cluster: bool = False, faults: int = FAULTS_A_SEED) -> Scenario:
    """The scenario of a seed."""
    chance = dice_of(seed)
    setting = replace(setting_of(cluster=cluster), follow=chance.random() < 0.5)
    possible = possible_faults(setting)
    kinds = chance.sample(possible, min(faults, len(possible)))
    steps = [Step(kind.drawn(chance), chance.random() >= AT_ONCE_SHARE) for kind in kinds]
    return Scenario(setting=setting, steps=steps, seed=seed)


def possible_faults(setting: Setting) -> list[type[Fault]]:
    """The faults whose needs are met."""
    present = {Needs.CLUSTER if setting.cluster else Needs.SINGLE}
    if setting.proxied is not None:
        present.add(Needs.PROXY)
    return [kind for kind in FAULTS if kind.needs <= present]


async def run(scenario: Scenario, directory: Path | None = None, limits: Limits | None = None) -> Result:
    """Run it to its end. What it left is in `Result.directory`, unless all is well."""
    kept = Path(tempfile.mkdtemp(prefix="aether-chaos-")) if directory is None else directory
    kept.mkdir(parents=True, exist_ok=True)
    namespace = f"chaos-{scenario.seed % 10**9}"
    broken: list[str] = []
    async with World(scenario.setting, namespace, kept, scenario.seed) as world:
        for part in (_strike(world, scenario.steps), world.end_load(), world.drain()):
            try:
                await part
            except (AssertionError, TimeoutError) as error:
                broken.append(str(error) or repr(error))
        raw = await read_stream(world.servers.url, namespace)
    result = _checked(scenario, world, raw, "; ".join(broken), limits)
    if result.ok:
        shutil.rmtree(kept)
    else:
        keep_stream(raw, kept / "stream.jsonl")
        (kept / "report.txt").write_text(result.text() + "\n")
    return result


async def _strike(world: World, steps: Sequence[Step]) -> None:
    for step in steps:
        world.note(str(step.fault))
        await step.fault.strike(world)
        if step.heal:
            await world.healed()
    await world.healed()


def _checked(scenario: Scenario, world: World, raw: RawStream, broken: str, limits: Limits | None) -> Result:
    report = check(raw.stored, world.log.calls, namespace=world.namespace, shards=raw.shards, limits=limits)
    return Result(
        scenario=scenario, report=report, broken=broken, happened=world.happened, directory=world.directory
    )  # fmt: skip

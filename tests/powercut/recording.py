"""A recorded run: its disk, and what its clients had heard at each instant."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.chaos.bank.books import TELL
from tests.chaos.bank.outside import Asked, read_asked
from tests.chaos.calls import Call, Outcome, read_call
from tests.powercut.disk import Disk, Image
from tests.powercut.recorded import BANK, DATA, LOG, NOTES
from tests.powercut.trace import TRACED, Opened, Removed, Renamed, Written, read_trace
from tests.powercut.trace import Call as SystemCall

RECORD_TIMEOUT_S = 300
RECEIPTS_SHARE = 0.6
STRING_MAX = 16_000_000
"""Bytes of one write that the trace holds: more than a block has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is recorded: `recorded` explains `steps`, `calls` and what load the `bank` is, `pool` the `arguments`."""

    arguments: tuple[str, ...] = ()
    steps: tuple[str, ...] = ("worker", "purge", "server")
    calls: int = 1_000
    bank: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """What a run goes on with: the disk that a power cut has left, and what clients had heard until then.

    `asked`: what tasks had asked the server outside.
    """

    image: Image
    heard: Sequence[Call]
    asked: Sequence[Asked] = ()


class Recording:
    """`calls` are all of the run, with the instant from which a client knew each one's end."""

    def __init__(self, system_calls: Sequence[SystemCall], before: Before | None = None, *, bank: bool = False) -> None:
        self.bank = bank
        self.disk = Disk(system_calls, DATA, None if before is None else before.image)
        self.calls: list[tuple[int, Call]] = []
        self._earlier = list(before.heard) if before is not None else []
        self._asked_earlier = list(before.asked) if before is not None else []
        self._asked: list[tuple[int, int, Asked]] = []
        self.marks: list[int] = []
        self._changes: list[int] = []
        self._last = max(one.begin for one in system_calls)
        for one in system_calls:
            if isinstance(one, Written) and one.path == NOTES:
                self._noted(one.begin, one.content.decode())
            elif isinstance(one, Renamed | Removed) or (isinstance(one, Opened) and one.creates):
                self._changes += [one.begin, one.end]

    def _noted(self, instant: int, line: str) -> None:
        if line.startswith('{"mark"'):
            self.marks.append(instant)
        elif line.startswith('{"asked"'):
            found = json.loads(line)
            place = found.pop("asked")
            self._asked.append((instant, place, read_asked(json.dumps(found))))
        else:
            self.calls.append((instant, read_call(line)))

    def heard(self, at: int) -> list[Call]:
        """What clients knew at an instant. Whatever they learned later they did not know, or had not even asked."""
        return self._earlier + [
            call if instant < at else replace(call, outcome=Outcome.UNKNOWN, receipt=None)
            for instant, call in self.calls
        ]

    def asked(self, at: int) -> list[Asked]:
        """What tasks had asked the server outside by an instant."""
        latest = {place: asked for instant, place, asked in self._asked if instant < at}
        return [*self._asked_earlier, *latest.values()]

    def instants(self, count: int, seed: str) -> list[int]:
        """Instants to cut at. Most are just after an answer: what was promised last is what a missing sync loses.

        Many are after the first answers that follow what befell the run, or a change of names, such as a new block;
        some are just after such a change, some anywhere, and a few while the pool starts or drains. Where clients tell,
        many are just after a receipt, because only the inbox has the tell for some milliseconds.
        """
        dice = Random(seed)  # noqa: S311 - chance that must repeat
        first, last = self.marks[0], self.marks[-1]
        answered = [instant for instant, _ in self.calls]
        receipts = [instant for instant, call in self.calls if TELL in call.command_id]
        changes = [instant for instant in self._changes if first <= instant <= last]
        found = []
        for _ in range(count):
            kind = dice.random()
            if kind < 0.45:
                among = receipts if receipts and dice.random() < RECEIPTS_SHARE else answered
                found.append(dice.choice(among) + 1)
            elif kind < 0.6:
                found.append(self._soon_after(dice.choice(self.marks), 40, dice))
            elif kind < 0.8 and changes:
                found.append(self._soon_after(dice.choice(changes), 4, dice))
            elif kind < 0.86 and changes:
                found.append(dice.choice(changes) + 1)
            elif kind < 0.92:
                found.append(dice.randint(first, last))
            else:
                found.append(dice.choice([dice.randint(0, first), dice.randint(last, self._last)]))
        return found

    def _soon_after(self, instant: int, answers_max: int, dice: Random) -> int:
        """Just after one of the first answers that follow."""
        following = [answered for answered, _ in self.calls if answered > instant]
        return following[min(dice.randrange(answers_max), len(following) - 1)] + 1 if following else instant


def write_image(image: Image, directory: Path) -> None:
    """The disk as files. What the model calls `data` is the directory itself."""
    for path, content in image.items():
        _, _, below = path.partition("/")
        if content is None:
            (directory / below).mkdir(exist_ok=True)
        else:
            (directory / below).write_bytes(content)


def record(scene: Scene, directory: Path, before: Before | None = None) -> Recording:
    """Run it under strace, in a directory that is empty, and read what came of it.

    Raises `RuntimeError` where there is no strace or it may not trace, and when the run itself goes wrong;
    `NotUnderstood` for what the reader of traces does not know.
    """
    tracer = shutil.which("strace")
    if tracer is None:
        raise RuntimeError("strace is not installed (on Debian: apt-get install strace); power cuts cannot be tested")
    (directory / DATA).mkdir()
    if before is not None:
        write_image(before.image, directory / DATA)
    # A client's numbers are its own: one of a later run is another one.
    names = ["c0", "c1"] if before is None else ["d0", "d1"]
    trace = directory / "trace"
    tracing = [tracer, "-f", "-y", "-xx", "--seccomp-bpf", "-s", str(STRING_MAX), "-e", f"trace={TRACED}",
               "-e", "signal=none", "-o", str(trace)]  # fmt: skip
    kind = BANK if scene.bank else "ledgers"
    run = [sys.executable, "-P", "-m", "tests.powercut.recorded", kind, str(directory), str(scene.calls),
           ",".join(scene.steps), ",".join(names), "--", *scene.arguments]  # fmt: skip
    root = Path(__file__).parents[2]
    done = subprocess.run([*tracing, *run], check=False, cwd=root, capture_output=True, text=True,
                          timeout=RECORD_TIMEOUT_S)  # fmt: skip
    if done.returncode != 0:
        log = directory / LOG
        said = log.read_text() if log.exists() else ""
        raise RuntimeError(f"the run ended with {done.returncode}:\n{done.stderr[-2000:]}\n{said[-2000:]}")
    with trace.open() as lines:
        return Recording(read_trace(lines, directory), before, bank=scene.bank)

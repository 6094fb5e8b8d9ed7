"""What a check found: the classes of violation, their counts and examples, and the run's own figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EXAMPLES_MAX = 5


class Violation(StrEnum):
    """Everything that may be wrong with a run, in words for the table."""

    MISSING_PREFIX = "acknowledged, missing: all before the first that is there"
    MISSING_MIDDLE = "acknowledged, missing: between others"
    MISSING_SUFFIX = "acknowledged, missing: all after the last that is there"
    DUPLICATED = "stored twice"
    TWO_OUTCOMES = "two outcomes of one command stored"
    CONTRADICTED = "told otherwise than is stored of the command"
    DECIDED_WRONG = "refused or done against the state"
    REORDERED = "stored in another order than sent"
    UNEXPECTED = "stored, never sent so or refused"
    VERSION_GAP = "versions not contiguous"
    WRONG_REPLY = "a command's reply contradicts the history"
    WRONG_QUERY = "a query's answer, or a refusal's state, is none of the history"
    STALE_QUERY = "a query or refusal missed what was acknowledged before it"
    EARLY_QUERY = "a query or refusal saw what was sent after it"
    BACKWARDS_QUERY = "a query or refusal is older than an answer before it"
    WRONG_SHAPE = "not a CloudEvent as promised"
    FAILED = "an answer that no fault explains"
    OVERDUE = "answered after its deadline"
    TOO_FEW = "too few calls were answered"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation and what it is about."""

    violation: Violation
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a check; `ok` is that nothing is wrong."""

    counts: Mapping[Violation, int]
    examples: Mapping[Violation, tuple[str, ...]]
    calls: int
    appended: int
    read: int
    rejected: int
    unknown: int
    unavailable: int
    events: int
    refusals_stored: int
    handled_stored: int
    losses_stored: int
    actors: int
    longest_wait_s: float
    longest_silence_s: float

    @property
    def ok(self) -> bool:
        """Whether no violation was found."""
        return not self.counts

    @property
    def answered_share(self) -> float:
        """Calls that were answered, of all."""
        return (self.appended + self.read + self.rejected) / self.calls if self.calls else 0.0

    def table(self) -> str:
        """All figures, then every class of violation with its count, then the examples."""
        rows = [
            ("calls", f"{self.calls}, answered {self.answered_share:.1%}"),
            ("appends acknowledged", str(self.appended)),
            ("queries answered", str(self.read)),
            ("rejected", str(self.rejected)),
            ("unknown", str(self.unknown)),
            ("unavailable", str(self.unavailable)),
            ("events stored", f"{self.events} of {self.actors} actors"),
            ("of them refusals", str(self.refusals_stored)),
            ("of them replies without events", str(self.handled_stored)),
            ("of them lost workers", str(self.losses_stored)),
            ("longest wait of a client", f"{self.longest_wait_s:.1f} s"),
            ("longest time without any answer", f"{self.longest_silence_s:.1f} s"),
            *((violation.value, str(self.counts.get(violation, 0))) for violation in Violation),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        for violation, examples in self.examples.items():
            lines += [f"! {violation.value}: {example}" for example in examples]
        return "\n".join(lines)


def collected(findings: list[Finding]) -> tuple[dict[Violation, int], dict[Violation, tuple[str, ...]]]:
    """Findings counted by class, with the first few examples of each."""
    counts: dict[Violation, int] = {}
    examples: dict[Violation, tuple[str, ...]] = {}
    for violation in Violation:
        found = [finding.example for finding in findings if finding.violation is violation]
        if found:
            counts[violation] = len(found)
            examples[violation] = tuple(found[:EXAMPLES_MAX])
    return counts, examples

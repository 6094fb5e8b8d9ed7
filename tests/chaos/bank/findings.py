"""What a check of the bank found: what may be wrong by class, counts and examples, and the run's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

EXAMPLES_MAX = 5


class Wrong(StrEnum):
    """Everything that may be wrong with a run, in words for the table."""

    MISSING = "acknowledged, not stored"
    TWICE = "in effect twice"
    LOST = "told, due or started, and without effect"
    MADE_UP = "an effect of nothing that is stored before it"
    OUT_OF_ORDER = "told in another order than sent"
    EARLY = "a tick before its time"
    STRAY = "a tick or a result after the end of what it is of"
    NOT_CONSERVED = "the total is not what it was"
    WRONG_ANSWER = "an answer contradicts the history"
    VERSION_GAP = "versions not contiguous"
    KEY_CHANGED = "a task was asked for with another key"
    NEVER_ASKED = "a task was never asked for"
    WRONG_RESULT = "a result that the server outside did not give"
    ATTEMPTS = "an attempt beyond those that a task has"
    TOO_MANY = "more of a task at once than a worker may run"
    FAILED = "an answer that no fault explains"
    TOO_FEW = "too few calls were answered"


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them, and what it is about."""

    wrong: Wrong
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BankReport:
    """The result of a check; `ok` is that nothing is wrong."""

    counts: Mapping[Wrong, int]
    examples: Mapping[Wrong, tuple[str, ...]]
    figures: Sequence[tuple[str, str]]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def table(self) -> str:
        """All figures, then every class with its count, then the examples."""
        rows = [*self.figures, *((wrong.value, str(self.counts.get(wrong, 0))) for wrong in Wrong)]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        for wrong, examples in self.examples.items():
            lines += [f"! {wrong.value}: {example}" for example in examples]
        return "\n".join(lines)


def collected(findings: Sequence[Finding]) -> tuple[dict[Wrong, int], dict[Wrong, tuple[str, ...]]]:
    """Findings counted by class, with the first few examples of each."""
    counts: dict[Wrong, int] = {}
    examples: dict[Wrong, tuple[str, ...]] = {}
    for wrong in Wrong:
        found = [finding.example for finding in findings if finding.wrong is wrong]
        if found:
            counts[wrong] = len(found)
            examples[wrong] = tuple(found[:EXAMPLES_MAX])
    return counts, examples

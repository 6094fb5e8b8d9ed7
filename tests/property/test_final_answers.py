"""An answer is final, whatever arrives late; and each part of the rule that makes it so is needed.

The law is run over many seeds. Then one safeguard at a time is switched off, and a seed has to find what it prevents.
Two safeguards are needed so rarely that `tests/unit/test_runtime_final_answers.py` tells their stories instead: what
becomes of a command in an append without an outcome, and of one that is sent again while its refusal waits.
"""

from collections.abc import Callable
from typing import Any

import pytest

from aether.runtime.committer import Committer
from aether.runtime.pending_command import PendingCommand
from aether.runtime.worker_context import WorkerContext
from aether.system.environment import is_compiled
from tests.support.final_answers import Call, World, violations

SEEDS = 300
SEEDS_MAX = 1_500

Patch = Callable[[pytest.MonkeyPatch], None]


def test_what_a_client_was_told_is_what_became_of_its_command() -> None:
    assert {seed: found for seed in range(SEEDS) if (found := violations(seed))} == {}


def clients_believe_any_error(patch: pytest.MonkeyPatch) -> None:
    """Also one that no turn has decided, although an earlier send is unanswered."""

    def told(self: Call) -> str:
        if self.answer is None:
            return ""
        return "done" if self.answer.error is None else "refused"

    patch.setattr(Call, "told", property(told))


def every_send_is_the_first(patch: pytest.MonkeyPatch) -> None:
    """A refusal of a later send, or of an id that a caller gave, leaves unstored."""
    made = PendingCommand.__init__

    def init(self: PendingCommand, *args: Any, **named: Any) -> None:
        made(self, *args, **named)
        self.fresh = True

    patch.setattr(PendingCommand, "__init__", init)


def workers_without_a_lease_go_on(patch: pytest.MonkeyPatch) -> None:
    """The lease is asked before an answer only."""
    patch.setattr(WorkerContext, "owns", lambda *_: True)
    patch.setattr(Committer, "_leaves", lambda *_: True)


def the_first_delivery_counts(patch: pytest.MonkeyPatch) -> None:
    """A later send that is merged into a first one changes nothing."""
    patch.setattr(PendingCommand, "merge", lambda self, other: self.deliveries.extend(other.deliveries))


def clients_take_any_answer(patch: pytest.MonkeyPatch) -> None:
    """Also one to an earlier send."""
    patch.setattr(World, "drops_earlier", False)


@pytest.mark.skipif(is_compiled(), reason="a compiled class cannot be patched")
@pytest.mark.parametrize(
    "switch_off",
    [
        clients_believe_any_error,
        every_send_is_the_first,
        workers_without_a_lease_go_on,
        the_first_delivery_counts,
        clients_take_any_answer,
    ],
    ids=lambda switch_off: switch_off.__name__,
)
def test_without_a_safeguard_some_answer_is_not_final(switch_off: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    assert any(violations(seed) for seed in range(SEEDS_MAX))

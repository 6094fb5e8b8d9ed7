"""The public names: sorted, importable, documented, and no more than these."""

import inspect

import pytest

import aether
from aether.system.environment import is_compiled

PROMISED = {
    "connect", "Actor", "Model", "Decider", "command", "event", "query", "Runtime", "VirtualMachine", "ActorId",
    "ActorState", "InMemoryEventStore", "JetStreamEventStore", "NATSEventBus", "InMemoryEventBus",
    "AetherError", "Rejected", "InvalidCommand", "UnknownActor", "UnknownCommand", "ActorFailed", "VersionConflict",
    "Overloaded", "Unavailable", "DeadlineExceeded", "StateChangedOutsideEvent", "HistoryRegressed", "UnreadableEvent",
    "ModelError", "ConfigError",
}  # fmt: skip


def test_all_is_sorted_and_importable() -> None:
    assert aether.__all__ == sorted(set(aether.__all__))
    assert all(hasattr(aether, name) for name in aether.__all__)


def test_every_promised_name_is_there() -> None:
    assert set(aether.__all__) >= PROMISED


@pytest.mark.skipif(is_compiled(), reason="a compiled class has its docstring in the source only")
def test_every_public_name_says_what_it_is() -> None:
    for name in aether.__all__:
        assert inspect.getdoc(getattr(aether, name)), name


def test_errors_have_one_root_and_a_code_each() -> None:
    public = [getattr(aether, name) for name in aether.__all__]
    raised = [one for one in public if isinstance(one, type) and issubclass(one, BaseException)]
    errors = [one for one in raised if issubclass(one, aether.AetherError)]
    assert errors == raised
    assert len({error.code for error in errors}) == len(errors)

"""The public names: sorted, importable, documented, and no more than these."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import aether
from aether.system.environment import is_compiled

PROMISED = {
    "connect", "Actor", "Model", "Decider", "command", "event", "query", "Runtime", "VirtualMachine", "ActorId",
    "ActorState", "Receipt", "InMemoryEventStore", "JetStreamEventStore", "NATSEventBus", "InMemoryEventBus",
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


def test_names_are_imported_from_where_type_checkers_are_told() -> None:
    source = ast.parse(Path(aether.__file__).read_text())
    [block] = [node for node in source.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    told = {alias.name: node.module for node in imports for alias in node.names}
    assert told == aether._WHERE
    assert set(told) == set(aether.__all__)
    assert set(dir(aether)) >= set(aether.__all__)


def test_modules_of_the_package_are_attributes_and_other_names_are_not() -> None:
    assert aether.errors.Rejected is aether.Rejected
    assert not hasattr(aether, "nothing_of_this_name")
    assert not hasattr(aether, "_nothing_of_this_name")


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, aether; print([name for name in sys.modules if name.startswith(('aether.', 'nats', 'msgspec'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"

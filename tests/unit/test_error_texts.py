"""What the text of an error says by itself, as a log line or a test prints it."""

import pytest

from aether import Actor, InvalidCommand, Model, command
from aether.errors import error_body, error_from_body
from aether.testing import local_runtime


class Counter(Actor):
    """Counts."""

    @command
    def add(self, number: int) -> int:
        """Nothing is kept."""
        return number


async def test_the_text_of_an_invalid_command_names_the_field_once() -> None:
    async with local_runtime(Model("counters", actors=[Counter])) as runtime:
        with pytest.raises(InvalidCommand) as refused:
            await runtime.actor("counter", "a").add("x")
    error = refused.value
    assert (str(error), error.message, error.path) == (
        "number: Expected 'int', got 'str'",
        "Expected 'int', got 'str'",
        "number",
    )
    body = error_body(error)
    again = error_from_body(body["code"], body["message"], body["details"])
    assert (str(again), str(InvalidCommand("nothing can be a command"))) == (str(error), "nothing can be a command")


async def test_too_many_positional_arguments_are_counted() -> None:
    async with local_runtime(Model("counters", actors=[Counter])) as runtime:
        with pytest.raises(InvalidCommand, match=r"add takes 1 positional argument, 2 were given"):
            await runtime.actor("counter", "a").add(1, 2)

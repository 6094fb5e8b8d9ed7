"""From `name=value` words and `--json` to what the user gave as a command's arguments.

Pure. Every error is an `InvalidCommand` whose path is the argument.
"""

from collections.abc import Sequence

from msgspec import Raw
from msgspec.json import decode

from aether.errors import InvalidCommand
from aether.model.json_text import NotJson, read_json
from aether.model.schema_arguments import GivenArguments, shown


def read_arguments(pairs: Sequence[str], json_text: str | None) -> GivenArguments:
    """Take `name=value` words and a `--json` object apart. Raises `InvalidCommand` for a name given twice."""
    texts: dict[str, str] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise InvalidCommand(f"an argument is name=value, not {shown(pair)}")
        if name in texts:
            raise InvalidCommand("the argument is given twice", path=name)
        texts[name] = text
    exact = {} if json_text is None else _read_object(json_text)
    for name in texts.keys() & exact.keys():
        raise InvalidCommand("the argument is given twice: as name=value and in --json", path=name)
    return GivenArguments(texts, exact)


def _read_object(json_text: str) -> dict[str, Raw]:
    try:
        value = read_json(json_text)
        if not isinstance(value, dict):
            raise InvalidCommand(f"--json takes an object of arguments by name, not {shown(json_text)}")
        return decode(json_text.encode(), type=dict[str, Raw])
    except NotJson as error:
        raise InvalidCommand(f"--json is not JSON: {error}") from None
    except ValueError as error:
        raise InvalidCommand(f"--json cannot be sent: {error}") from None

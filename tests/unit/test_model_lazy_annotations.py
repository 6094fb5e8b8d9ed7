"""Annotations that name what is defined further down: strings, and on Python 3.14 those without quotes (PEP 649)."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aether.errors import ModelError
from aether.model.address import load_model
from tests.support.scopes import Turn

STRINGS = "from __future__ import annotations"
LAZY = [STRINGS, ""] if sys.version_info >= (3, 14) else [STRINGS]
"""How a module may begin whose annotations are evaluated late."""

SHOP = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from aether import Actor, Decider, Model, PolicyContext, command, event, policy, query, task

if TYPE_CHECKING:
    from elsewhere import Pool

@task
async def charge(amount: Money) -> Receipt:
    return Receipt(amount)

@policy
def on_paid(e: Paid, context: PolicyContext[Shop]) -> None: ...

@asynccontextmanager
async def lifespan() -> Pool:
    yield None

class Shop(Actor):
    paid: dict[str, Money] = {}

    @command
    def pay(self, by: str, amount: Money) -> Receipt:
        self.emit(Paid(by, amount))
        return Receipt(self.paid[by])

    @query
    def paid_by(self, by: str) -> Money | None:
        return self.paid.get(by)

    @event
    def was_paid(self, e: Paid) -> None:
        self.paid |= {e.by: e.amount}

def decide(state: Till, command: Open) -> list[Opened]:
    return [Opened()]

def evolve(state: Till, event: Opened) -> Till:
    return Till(True)

@dataclass(frozen=True)
class Money:
    cents: int

@dataclass(frozen=True)
class Receipt:
    amount: Money

@dataclass(frozen=True)
class Paid:
    by: str
    amount: Money

@dataclass(frozen=True)
class Till:
    is_open: bool = False

@dataclass(frozen=True)
class Open: ...

@dataclass(frozen=True)
class Opened: ...

till = Decider(Till, decide, evolve, kind="till")
model = Model("shop", actors=[Shop, till], tasks=[charge], policies=[on_paid], lifespan=lifespan)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable module of its own for each test."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / f"lazy_shop_{tmp_path.name}.py"
    yield path
    sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("first", LAZY)
def test_a_model_may_name_what_is_defined_further_down(first: str, shop: Path) -> None:
    shop.write_text(first + SHOP)
    model = load_model(f"{shop.stem}:model")
    turn = Turn(model.actor_type("shop"))
    receipt = turn.run("pay", "alice", cents := sys.modules[shop.stem].Money(5))
    assert (receipt.amount, turn.run("paid_by", "alice")) == (cents, cents)
    assert set(model.actor_type("till").commands) == {"open"}
    assert repr(sys.modules[shop.stem].Shop.pay).startswith("<command shop.pay(by: ")


@pytest.mark.parametrize("first", LAZY)
@pytest.mark.parametrize(
    ("written", "wrong", "what"),
    [
        ("by: str, amount: Money) -> Receipt", "by: str, amount: Muney) -> Receipt", r"pay\(amount\), 'Muney'"),
        ("paid: dict[str, Money]", "paid: Muney", r"Shop.paid, 'Muney'"),
        ("charge(amount: Money)", "charge(amount: Muney)", r"charge\(amount\), 'Muney'"),
        ("command: Open", "command: Muney", r"decide\(command\), 'Muney'"),
        ("on_paid(e: Paid", "on_paid(e: Muney", r"on_paid\(e\), 'Muney'"),
    ],
)
def test_a_name_that_is_nowhere_is_a_model_error(first: str, written: str, wrong: str, what: str, shop: Path) -> None:
    text = (first + SHOP).replace(written, wrong)
    shop.write_text(text)
    with pytest.raises(ModelError, match=rf"the annotation of {what}, cannot be evaluated: name 'Muney'") as refused:
        load_model(f"{shop.stem}:model")
    assert refused.value.file == str(shop)

"""Loading a model by its address: every way to be wrong says what and where."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from aether.errors import ConfigError, ModelError
from aether.model.address import load_model

GOOD = """
from dataclasses import dataclass
from aether.model.actor import Actor
from aether.model.handlers import event
from aether.model.model import Model

@dataclass
class Happened:
    pass

class Account(Actor):
    @event
    def happened(self, e: Happened) -> None:
        pass

class holder:
    model = Model("bank", actors=[Account])

model = holder.model
other = 3
"""

Write: TypeAlias = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Puts modules on the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def written(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_model_is_found_by_module_and_attribute(write: Write) -> None:
    write("shop_good", GOOD)
    assert load_model("shop_good:model").name == "bank"
    assert load_model("shop_good:holder.model") is load_model("shop_good:model")


@pytest.mark.parametrize("address", ["", "shop", "shop:", ":model", "a b:model", "shop:model:more", "shop/x.py:model"])
def test_what_is_no_address_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="module:attribute") as refused:
        load_model(address)
    assert refused.value.setting == "model"


@pytest.mark.parametrize("address", ["shop_nowhere:model", "shop_nowhere.models:model"])
def test_a_module_that_is_not_there_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="no module 'shop_nowhere'"):
        load_model(address)


def test_an_attribute_that_is_not_there_is_a_config_error_that_lists_the_models(write: Write) -> None:
    write("shop_attribute", GOOD)
    with pytest.raises(ConfigError, match=r"no 'modell'; it has: model"):
        load_model("shop_attribute:modell")


def test_an_attribute_that_is_no_model_is_a_model_error(write: Write) -> None:
    path = write("shop_other", GOOD)
    with pytest.raises(ModelError, match="is a int, not a Model") as refused:
        load_model("shop_other:other")
    assert refused.value.file == str(path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("import sys\n\nimport nowhere_at_all\n", 3, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def fail():\n    return 1 / 0\n\nfail()\n", 2, "ZeroDivisionError: division by zero"),
        ("x = 1\ny = (\n", 2, "SyntaxError"),
        (GOOD.replace('"bank"', '"Bank"'), 17, "a model's name is its namespace"),
        ("import sys\n\nsys.exit(0)\n", 3, "it ends the process: SystemExit: 0"),
        ("import os\nos._exit(0)\n", 2, "it ends the process: SystemExit: 0"),
        ("raise GeneratorExit\n", 1, "GeneratorExit"),
        ("import asyncio\nraise asyncio.CancelledError('mine')\n", 2, "CancelledError: mine"),
        ("def __getattr__(name):\n    raise SystemExit(3)\n", 2, "it ends the process: SystemExit: 3"),
    ],
)
def test_what_fails_within_the_module_is_a_model_error_at_its_line(
    write: Write, text: str, line: int, message: str
) -> None:
    path = write("shop_broken", text)
    with pytest.raises(ModelError) as refused:
        load_model("shop_broken:model")
    assert message in refused.value.message
    assert (refused.value.file, refused.value.line) == (str(path), line)


def test_an_interrupt_while_a_module_is_imported_stays_one_and_an_exit_is_one_again(write: Write) -> None:
    leave = os._exit
    write("shop_interrupted", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_model("shop_interrupted:model")
    assert os._exit is leave


def test_a_child_that_a_module_forks_may_end(write: Write) -> None:
    forks = "import os\nchild = os.fork()\nif child == 0:\n    os._exit(7)\nended = os.waitpid(child, 0)[1] >> 8\n"
    write("shop_forks", forks + GOOD)
    load_model("shop_forks:model")
    assert sys.modules["shop_forks"].ended == 7

"""The command line as users have it: processes, a real pool with its embedded server, and what they print."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.support.nats_server import free_port

BANK = '''
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from aether import Actor, Model, Rejected, command, event, query

print("a model may print when it is imported")


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: Decimal
    note: str


class Account(Actor):
    """A bank account."""

    balance: Decimal = Decimal(0)

    @command
    def deposit(self, amount: Decimal, note: str = "") -> Decimal:
        """Add money."""
        self.emit(Deposited(amount, note))
        return self.balance

    @command
    def count_to(self, number: Annotated[int, Meta(gt=0, le=10)]) -> list[int]:
        return list(range(1, number + 1))

    @command
    def withdraw(self, amount: Decimal) -> None:
        raise Rejected("insufficient funds", balance=str(self.balance))

    @command
    def fail(self) -> None:
        raise ZeroDivisionError("a bug")

    @query
    def statement(self) -> Decimal:
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount


model = Model("bank", actors=[Account])
'''


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "aether.cli", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AETHER_")}


@dataclass
class Ran:
    """How a process went."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def run_in(directory: Path) -> Run:
    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        done = subprocess.run(
            command_line(*arguments), cwd=directory, env=environment(), input=stdin, capture_output=True,
            check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bank")
    (directory / "bank.py").write_text(BANK)
    return directory


@pytest.fixture(scope="module")
def aether(bank: Path) -> Iterator[Run]:
    """The command line in a directory whose pool runs."""
    directory = bank
    arguments = command_line("run", "bank:model", "--workers", "1", "--port", str(free_port()))
    with subprocess.Popen(
        arguments, cwd=directory, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as pool:
        assert pool.stderr is not None
        try:
            said = []
            for line in pool.stderr:
                said.append(line)
                if "1 worker ready" in line:
                    break
            else:
                pytest.fail("the pool did not start:\n" + "".join(said))
            yield run_in(directory)
        finally:
            pool.send_signal(signal.SIGTERM)
            pool.stderr.read()
            code = pool.wait()
    assert code == 0


def test_call_state_and_history_agree(aether: Run) -> None:
    assert aether("state", "account", "alice").out == (
        '{"id":{"kind":"account","key":"alice"},"version":0,"state":{"balance":"0"}}\n'
    )
    assert aether("history", "account", "alice") == Ran(0, "", "")

    assert aether("call", "account", "alice", "deposit", "amount=10.50", "note=007") == Ran(0, '"10.50"\n', "")
    assert aether("call", "account", "alice", "deposit", "--json", "-", stdin=b'{"amount": "1"}').out == '"11.50"\n'
    assert aether("call", "account", "alice", "statement", "--model", "bank:model").out == '"11.50"\n'

    assert json.loads(aether("state", "account", "alice").out)["state"] == {"balance": "11.50"}
    assert json.loads(aether("state", "account", "alice", "--version", "1").out)["state"] == {"balance": "10.50"}
    events = [json.loads(line) for line in aether("history", "account", "alice").out.splitlines()]
    assert [(event["id"], event["data"]) for event in events] == [
        ("1", {"amount": "10.50", "note": "007"}),
        ("2", {"amount": "1", "note": ""}),
    ]
    assert len(aether("history", "account", "alice", "--after", "1").out.splitlines()) == 1


def test_a_repeated_command_id_has_its_effect_once(aether: Run) -> None:
    call = ("call", "account", "twice", "deposit", "amount=5", "--command-id", "one")

    assert [aether(*call).out, aether(*call).out] == ['"5"\n', '"5"\n']
    assert json.loads(aether("state", "account", "twice").out)["version"] == 1


ERRORS = [
    (("withdraw", "amount=1"), 1, 'rejected: insufficient funds (balance="0")'),
    (("fail",), 1, "actor failed: "),
    (("deposi", "amount=1"), 2, "its commands are count_to, deposit, fail, statement, withdraw"),
    (("count_to", "number=11"), 2, "invalid command: number: "),
    (("count_to", "number=ten"), 2, "number: expected integer > 0 and <= 10, got 'ten'"),
    (("count_to",), 2, "number: the argument is missing"),
    (("deposit", "amount=ten"), 2, "invalid command: amount: "),
    (("deposit", "amount=1", "tip=1"), 2, "tip: deposit has no such argument"),
]


@pytest.mark.parametrize(("words", "code", "said"), ERRORS)
def test_an_error_is_one_line_and_its_code(aether: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ran = aether("call", "account", "wrong", *words)

    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_model_is_shown_without_a_pool_and_its_prints_are_not_the_answer(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)

    ran = run_in(tmp_path)("model", "show", "bank:model")

    assert (ran.code, ran.err) == (0, "a model may print when it is imported\n")
    assert ran.out.startswith("model bank\n")


def test_a_command_over_the_payload_limit_is_refused(aether: Run) -> None:
    ran = aether("call", "account", "big", "deposit", "--json", "-",
                 stdin=json.dumps({"amount": "1", "note": "n" * 2_000_000}).encode())  # fmt: skip

    assert (ran.code, ran.out) == (2, "")
    assert re.search(r"the command takes 20001\d\d bytes, at most \d+ can be sent", ran.err)
    assert len(ran.err) < 500


def test_snapshots_are_dropped(aether: Run) -> None:
    assert aether("snapshots", "show", "account", "nobody").code == 1
    assert aether("snapshots", "drop", "account").code == 0
    assert aether("snapshots", "drop", "account") == Ran(0, '{"kind":"account","dropped":0}\n', "")
    assert aether("snapshots", "drop", "account", "alice").out == '{"kind":"account","key":"alice","dropped":0}\n'


def test_the_pool_is_seen(aether: Run) -> None:
    (worker,) = [json.loads(line) for line in aether("ps").out.splitlines()]
    assert worker["slot"] == 0
    assert list(json.loads(aether("model", "schema").out)["actors"]) == ["account"]
    shown = aether("model", "show")
    assert shown.out == aether("model", "show", "bank:model").out
    assert 'deposit(amount: decimal, note: string = "") -> decimal  Add money.' in shown.out
    assert "Deposited(amount: decimal, note: string)  Money came in." in shown.out


def test_top_shows_what_the_pool_does(aether: Run, bank: Path) -> None:
    assert aether("call", "account", "topped", "deposit", "amount=1").code == 0
    (line,) = aether("top", "--once", "--interval", "0.1").out.splitlines()
    found = json.loads(line)
    assert (found["namespace"], found["missing"], found["shards"]) == ("bank", [], {"held": 256})
    assert {(one["state"], one["told"], one["shards"]) for one in found["workers"]} == {("serving", True, 256)}
    assert found["active"] >= 1
    assert {"deposit", "statement", "aether.state"} <= {one["command"] for one in found["commands"]}

    arguments = command_line("top")
    with subprocess.Popen(
        arguments, cwd=bank, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as top:
        assert top.stdout is not None
        for line in top.stdout:  # until it has seen one
            if json.loads(line)["per_s"]:
                break
            aether("call", "account", "topped", "deposit", "amount=1")
        top.send_signal(signal.SIGINT)
        _, said = top.communicate()
        assert (top.returncode, said) == (0, "")


def test_another_namespace_is_not_there(aether: Run) -> None:
    ran = aether("ps", "--namespace", "other", "--timeout", "0.5")

    assert (ran.code, ran.out) == (3, "")
    assert "other" in ran.err


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"

    for arguments in (("call", "account", "a", "deposit"), ("ps",)):
        ran = run_in(tmp_path)(*arguments, "--nats", url)
        assert (ran.code, ran.out) == (3, "")
        assert url in ran.err
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "model"),
        ("import there_is_no_such_module", "there_is_no_such_module"),
        ("model = 1", "model"),
        ("def broken(:", "broken.py"),
    ],
)
def test_a_model_that_does_not_import_is_exit_4(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "broken.py").write_text(source)

    ran = run_in(tmp_path)("call", "a", "b", "c", "--model", "broken:model")

    assert (ran.code, ran.out) == (4, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_a_pool_whose_model_does_not_import_starts_nothing(tmp_path: Path) -> None:
    ran = run_in(tmp_path)("run", "there_is_no_such_module:model")

    assert (ran.code, ran.out) == (4, "")
    assert "there_is_no_such_module" in ran.err
    assert not (tmp_path / ".aether").exists()


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(BANK)
    read_fd, write_fd = os.pipe()
    os.close(read_fd)

    done = subprocess.run(command_line("model", "schema", "bank:model"), cwd=tmp_path, env=environment(),
                          stdout=write_fd, stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(write_fd)

    assert done.returncode == 141
    assert done.stderr == b"a model may print when it is imported\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from aether.cli import main; sys.exit(main(['ps']))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.decode() == f"the command line needs {missing}: `pip install 'aether-actors[cli]'` brings it\n"


def test_keys_are_listed(aether: Run) -> None:
    for n in range(3):
        assert aether("call", "account", f"listed {n}", "deposit", "amount=1").code == 0
    listed = aether("ls", "account").out.splitlines()
    assert {f"listed {n}" for n in range(3)} <= set(listed)
    assert len(listed) == len(set(listed))
    assert aether("ls", "acount").code == 2


def test_tail_shows_what_is_stored_and_an_interrupt_ends_it_well(aether: Run, bank: Path) -> None:
    arguments = command_line("tail", "account", "tailed", "--type", "Deposited")
    with subprocess.Popen(arguments, cwd=bank, env=environment(), stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        arrived = threading.Event()
        lines: list[str] = []

        def read(out: IO[str]) -> None:
            for line in out:
                lines.append(line)
                arrived.set()

        reader = threading.Thread(target=read, args=(tail.stdout,))
        reader.start()
        while not arrived.is_set():  # until it listens
            aether("call", "account", "another", "deposit", "amount=1")
            aether("call", "account", "tailed", "deposit", "amount=2")
        tail.send_signal(signal.SIGINT)
        assert tail.wait() == 0
        reader.join()
    events = [json.loads(line) for line in lines]
    assert {(one["source"], one["type"], one["data"]["amount"]) for one in events} == {
        ("/bank/account/tailed", "Deposited", "2")
    }

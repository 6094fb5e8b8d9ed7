"""The commands over a stand-in for the pool: what they print, what they send, and their exit codes."""

import io
import json
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from aether.cli.execute import execute
from aether.cli.outside import LoadedModel, Outside
from aether.cli.target import Target
from aether.errors import (
    ActorFailed,
    AetherError,
    ConfigError,
    DeadlineExceeded,
    HistoryRegressed,
    InvalidCommand,
    ModelError,
    Overloaded,
    Rejected,
    Unavailable,
    UnreadableEvent,
)
from aether.ids import ActorId, Position
from aether.wire import Answer, Event, instant, new_event
from workers.run import RunOptions

SCHEMA: dict[str, Any] = {
    "model": "bank",
    "actors": {
        "account": {
            "description": "A bank account.\nMore about it.",
            "commands": {
                "deposit": {
                    "query": False,
                    "description": "Add money.",
                    "args": {
                        "type": "object",
                        "properties": {"amount": {"type": "integer", "exclusiveMinimum": 0}},
                        "required": ["amount"],
                        "additionalProperties": False,
                    },
                    "reply": {"type": "integer"},
                },
                "statement": {"query": True, "args": {"type": "object", "properties": {}}, "reply": {"type": "null"}},
            },
            "events": {"Deposited": {"$ref": "#/$defs/Deposited"}},
            "state": {"type": "object", "properties": {"balance": {"type": "integer", "default": 0}}},
        }
    },
    "$defs": {
        "Deposited": {
            "title": "Deposited",
            "type": "object",
            "properties": {"amount": {"type": "integer"}},
            "required": ["amount"],
            "description": "Money came in.",
        }
    },
}
MEMBERS = [
    {"node": "b", "slot": 0, "pid": 12, "state": "active", "shards": 128},
    {"node": "a", "slot": 1, "pid": 11, "state": "active"},
    {"node": "a", "slot": 0, "pid": 10, "state": "draining"},
]


def stored(version: int) -> Event:
    return new_event(version=version, source="/bank/account/alice", type="Deposited", time=instant(0),
                     data=b'{\n "amount": 10.50 }', commandid=f"c{version}")  # fmt: skip


@dataclass
class Pool:
    """A pool that remembers what it was asked, and answers or raises as it was told."""

    error: AetherError | None = None
    refusal: AetherError | None = None
    reply: bytes = b"10"
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    namespace = "bank"

    async def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
    ) -> Answer:
        self.asked.append((str(actor_id), command, json.loads(args), command_id))
        assert deadline_s is not None
        assert 0 < deadline_s <= 60
        if self.error is not None:
            raise self.error
        return Answer(ok=True, value=Raw(self.reply), version=1, position=1)

    async def state(self, actor_id: ActorId, version: int | None = None) -> bytes:
        self.asked.append((str(actor_id), version))
        if self.error is not None:
            raise self.error
        return b'{"id": {"kind": "account", "key": "alice"}, "version": 1, "state": {"balance": 10.50}}'

    async def history(self, actor_id: ActorId, after_version: int = 0) -> AsyncIterator[tuple[Event, Position]]:
        for version in range(after_version + 1, 4):
            yield stored(version), Position(version)
        if self.error is not None:
            raise self.error

    async def schema(self) -> dict[str, Any]:
        return SCHEMA

    async def members(self) -> list[dict[str, Any]]:
        return list(MEMBERS)


class Declared:
    """A model that was imported."""

    name = "shop"

    def actor_type(self, kind: str) -> Any:
        raise InvalidCommand("checked against the model", path=kind)

    def schema(self) -> dict[str, Any]:
        return {**SCHEMA, "model": "shop"}


@dataclass
class Ran:
    """How a command line went."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(
        *arguments: str,
        pool: Pool | None = None,
        variables: Mapping[str, str] | None = None,
        terminal: bool = False,
        load_model: Callable[[str], LoadedModel] | None = None,
        run_pool: Callable[[RunOptions], int] = lambda _: 0,
    ) -> Ran:
        used = pool or Pool()

        @asynccontextmanager
        async def open_session(target: Target) -> AsyncIterator[Pool]:
            used.targets.append(target)
            if used.refusal is not None:
                raise used.refusal
            yield used

        outside = Outside(
            variables=variables or {},
            terminal=terminal,
            open_session=open_session,
            load_model=load_model or (lambda _: Declared()),
            run=run_pool,
        )
        code = execute(arguments, outside)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


DEPOSIT = ("call", "account", "alice", "deposit")


def test_call_prints_the_reply_and_nothing_else(run: Run) -> None:
    pool = Pool(reply=b'{"balance": 10.50,\n "name": "\xc3\xa4"}')

    ran = run(*DEPOSIT, "amount=10", "--command-id", "c1", pool=pool)

    assert (ran.code, ran.out, ran.err) == (0, '{"balance":10.50,"name":"ä"}\n', "")
    assert pool.asked == [("account/alice", "deposit", {"amount": 10}, "c1")]


def test_call_makes_a_command_id_of_its_own(run: Run) -> None:
    pool = Pool()

    run(*DEPOSIT, "amount=1", pool=pool)
    run(*DEPOSIT, "amount=1", pool=pool)

    first, second = (asked[3] for asked in pool.asked)
    assert first
    assert first != second


def test_call_takes_json_from_the_flag_and_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    assert run(*DEPOSIT, "--json", '{"amount": 5}', pool=pool).code == 0

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"amount": 6}')))
    assert run(*DEPOSIT, "--json", "-", pool=pool).code == 0

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert run(*DEPOSIT, "--json", "-", pool=pool).code == 2
    assert [asked[2] for asked in pool.asked] == [{"amount": 5}, {"amount": 6}]


def test_a_key_is_any_text(run: Run) -> None:
    pool = Pool()

    run("call", "account", "a b/ü*>", "statement", pool=pool)
    run("call", "account", "--", "-dash", "statement", pool=pool)

    assert [asked[0] for asked in pool.asked] == ["account/a b/ü*>", "account/-dash"]


BAD_INPUT = [
    (("call", "acount", "alice", "deposit"), "unknown actor: the model has no actor 'acount'; its actors are account"),
    (("call", "Account", "alice", "deposit"), "kind: a kind is 1-64 characters of snake_case, not 'Account'"),
    (("call", "account", "alice", "deposi"), "no command 'deposi'; its commands are deposit, statement"),
    (("call", "account", "", "deposit"), "key: an actor's key cannot be empty"),
    (("call", "account", "k" * 201, "deposit"), "key: an actor's key is at most 200 bytes of UTF-8, this is 201"),
    (("call", "account", "\udcff", "deposit"), "key: an actor's key cannot hold a lone surrogate"),
    ((*DEPOSIT, "amount=ten"), "amount: expected integer > 0, got 'ten'"),
    ((*DEPOSIT, "amount=1", "amount=2"), "amount: the argument is given twice"),
    ((*DEPOSIT, "amount=1", "--json", '{"amount": 1}'), "amount: the argument is given twice: as name=value and in"),
    (DEPOSIT, "amount: the argument is missing"),
    ((*DEPOSIT, "amount=1", "tip=1"), "tip: deposit has no such argument"),
    ((*DEPOSIT, "10"), "an argument is name=value, not '10'"),
    ((*DEPOSIT, "--json", "{"), "--json is not JSON"),
    ((*DEPOSIT, "amount=1", "--timeout", "0"), "--timeout: seconds are more than 0 and at most 60, not 0"),
    ((*DEPOSIT, "amount=1", "--timeout", "61"), "--timeout: seconds are more than 0 and at most 60, not 61"),
    ((*DEPOSIT, "amount=1", "--timeout", "nan"), "--timeout: seconds are more than 0"),
    ((*DEPOSIT, "amount=1", "--command-id", ""), "--command-id: a command id is 1-128 characters"),
    ((*DEPOSIT, "amount=1", "--command-id", "c" * 129), "--command-id: a command id is 1-128 characters"),
    (("state", "acount", "alice"), "the model has no actor 'acount'"),
    (("history", "acount", "alice"), "the model has no actor 'acount'"),
    (("state", "account", ""), "an actor's key cannot be empty"),
    (("state", "account", "alice", "--version", "-1"), "usage: Invalid value for '--version'"),
    (("state", "account", "alice", "--version", "x"), "usage: Invalid value for '--version'"),
    (("call", "account"), "usage: Missing argument"),
    (("call", "account", "alice", "deposit", "--bogus"), "usage: No such option"),
    (("bogus",), "usage: No such command 'bogus'"),
    (("model", "bogus"), "usage: No such command 'bogus'"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    pool = Pool()

    ran = run(*arguments, pool=pool)

    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert pool.asked == []


ANSWERS = [
    (Rejected("insufficient funds", balance=10), 1, "rejected: insufficient funds (balance=10)\n"),
    (ActorFailed("a bug", actor="account/alice", command_id="c1"), 1, "actor failed: a bug"),
    (HistoryRegressed("went back", actor="account/alice"), 1, "history regressed: went back"),
    (UnreadableEvent("no event", actor="account/alice", position=7), 1, "position=7"),
    (InvalidCommand("Expected int > 0", path="amount"), 2, "invalid command: amount: Expected int > 0\n"),
    (InvalidCommand("the command takes 2000000 bytes, at most 1048576 can be sent"), 2, "at most 1048576"),
    (Overloaded("the mailbox is full", limit="mailbox_max"), 3, "overloaded: the mailbox is full"),
    (Unavailable("no owner"), 3, "unavailable: no owner"),
    (DeadlineExceeded("too late", outcome_known=True), 3, "deadline exceeded: too late\n"),
    (AetherError("the answer cannot be read"), 1, "error: the answer cannot be read"),
]


@pytest.mark.parametrize(("error", "code", "words"), ANSWERS)
def test_an_error_of_the_pool_is_one_line_and_its_code(run: Run, error: AetherError, code: int, words: str) -> None:
    ran = run(*DEPOSIT, "amount=1", pool=Pool(error=error))

    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_an_unknown_outcome_says_how_to_find_it_out(run: Run) -> None:
    pool = Pool(error=DeadlineExceeded("too late"))

    ran = run("call", "account", "a b", "deposit", "amount=1", "--command-id", "c7", pool=pool)

    assert ran.code == 3
    assert "whether command id c7 was committed, `aether history account 'a b'` shows" in ran.err


REFUSALS = [
    (Unavailable("NATS cannot be reached at nats://h:1: refused", url="nats://h:1"), 3, "nats://h:1"),
    (ConfigError("name one of the namespaces with --namespace: bank, shop", setting="namespace"), 4, "bank, shop"),
]


@pytest.mark.parametrize(("error", "code", "words"), REFUSALS)
@pytest.mark.parametrize(
    "arguments",
    [
        (*DEPOSIT, "amount=1"),
        ("state", "account", "alice"),
        ("history", "account", "alice"),
        ("ps",),
        ("model", "show"),
        ("model", "schema"),
    ],
)
def test_no_session_is_one_line_and_its_code(
    run: Run, arguments: tuple[str, ...], error: AetherError, code: int, words: str
) -> None:
    ran = run(*arguments, pool=Pool(refusal=error))

    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_a_pool_that_is_only_starting_is_waited_for(run: Run) -> None:
    class Starting(Pool):
        tries = 0

        async def schema(self) -> dict[str, Any]:
            self.tries += 1
            if self.tries < 3:
                raise Unavailable("no worker answers")
            return SCHEMA

    assert run(*DEPOSIT, "amount=1", pool=Starting()) == Ran(0, "10\n", "")


def test_a_pool_without_workers_is_unavailable(run: Run) -> None:
    class Empty(Pool):
        async def schema(self) -> dict[str, Any]:
            raise Unavailable("no worker answers")

    ran = run(*DEPOSIT, "amount=1", "--timeout", "0.02", pool=Empty())

    assert ran == Ran(3, "", "unavailable: no worker answers\n")


def test_a_pool_that_says_nothing_is_unavailable_in_time(run: Run) -> None:
    class Silent(Pool):
        async def schema(self) -> dict[str, Any]:
            raise TimeoutError

    ran = run(*DEPOSIT, "amount=1", "--timeout", "7", pool=Silent())

    assert (ran.code, ran.out, ran.err) == (3, "", "unavailable: no answer from the pool within 7 s\n")


def test_a_model_that_does_not_import_is_a_configuration_error(run: Run) -> None:
    def load_model(reference: str) -> LoadedModel:
        raise ModelError(f"there is no module {reference}", file="bank.py", line=3)

    for arguments in (
        (*DEPOSIT, "--model", "nope:model"),
        ("model", "show", "nope:model"),
        ("model", "schema", "nope:model"),
        ("history", "account", "a", "--model", "nope:model"),
    ):
        ran = run(*arguments, load_model=load_model)
        assert (ran.code, ran.out) == (4, "")
        assert ran.err == "model error: bank.py:3: there is no module nope:model\n"


def test_a_named_model_checks_the_arguments_and_names_the_namespace(run: Run) -> None:
    pool = Pool()

    ran = run(*DEPOSIT, "amount=-1", "--model", "shop:model", pool=pool)

    assert (ran.code, ran.err) == (2, "invalid command: account: checked against the model\n")
    assert pool.asked == []
    assert pool.targets[0].namespace == "shop"


def test_a_flag_precedes_the_environment_which_precedes_the_address_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nats.url").write_text("nats://127.0.0.1:7777\n")
    ps = ("ps", "--data-dir", str(tmp_path))
    variables = {"AETHER_NATS_URL": "nats://env:1", "AETHER_NAMESPACE": "env", "AETHER_DEADLINE_S": "5"}
    pool = Pool()

    run(*ps, "--nats", "nats://flag:1", "--namespace", "flag", "--timeout", "7", pool=pool, variables=variables)
    run(*ps, pool=pool, variables=variables)
    run(*ps, pool=pool)
    run("ps", "--data-dir", str(tmp_path / "none"), pool=pool)

    assert [(target.connection.url, target.namespace, target.timeout_s) for target in pool.targets] == [
        ("nats://flag:1", "flag", 7.0),
        ("nats://env:1", "env", 5.0),
        ("nats://127.0.0.1:7777", None, 10.0),
        ("nats://127.0.0.1:4222", None, 10.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("--namespace", "No Such"), {}, "a namespace is 1-32 characters"),
        (("--namespace", ""), {}, "a namespace is 1-32 characters"),
        (("--nats", ""), {}, "the NATS URL is empty"),
        ((), {"AETHER_DEADLINE_S": "soon"}, "AETHER_DEADLINE_S must be float, not 'soon'"),
    ],
)
def test_a_setting_that_cannot_work_is_a_configuration_error(
    run: Run, arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    ran = run("ps", *arguments, variables=variables)

    assert (ran.code, ran.out) == (4, "")
    assert words in ran.err


def test_state_is_json_of_the_version_asked_for(run: Run) -> None:
    pool = Pool()

    now, then = (
        run("state", "account", "alice", pool=pool),
        run("state", "account", "alice", "--version", "0", pool=pool),
    )

    assert now.out == '{"id":{"kind":"account","key":"alice"},"version":1,"state":{"balance":10.50}}\n'
    assert (now.code, then.code) == (0, 0)
    assert [asked[1] for asked in pool.asked] == [None, 0]


def test_history_is_one_cloudevent_a_line(run: Run) -> None:
    ran = run("history", "account", "alice", "--after", "1")

    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [(event["id"], event["type"], event["specversion"]) for event in events] == [
        ("2", "Deposited", "1.0"),
        ("3", "Deposited", "1.0"),
    ]
    assert '"data":{"amount":10.50}' in ran.out
    assert (ran.code, ran.err) == (0, "")


def test_history_of_an_actor_never_used_is_no_lines(run: Run) -> None:
    assert run("history", "account", "alice", "--after", "3") == Ran(0, "", "")


def test_history_that_breaks_off_shows_what_came_before(run: Run) -> None:
    ran = run("history", "account", "alice", pool=Pool(error=UnreadableEvent("cannot be read", position=9)))

    assert len(ran.out.splitlines()) == 3
    assert ran.code == 1
    assert "cannot be read" in ran.err


def test_on_a_terminal_history_and_ps_are_tables(run: Run) -> None:
    shown = run("history", "account", "[red]", terminal=True).out
    assert "account/[red]" in shown
    assert "command id" in shown
    assert "{" in shown

    workers = run("ps", terminal=True).out
    assert "namespace bank: 3 workers" in workers
    assert "draining" in workers
    assert "128" in workers
    assert "started at" not in workers


def test_ps_is_one_worker_a_line_in_order(run: Run) -> None:
    for ran in (run("ps"), run("ps", "--json", terminal=True)):
        rows = [json.loads(line) for line in ran.out.splitlines()]
        assert [(row["node"], row["slot"], row["pid"]) for row in rows] == [("a", 0, 10), ("a", 1, 11), ("b", 0, 12)]


TREE = """\
model bank
└── account  A bank account.
    ├── commands
    │   └── deposit(amount: integer > 0) -> integer  Add money.
    ├── queries
    │   └── statement() -> null
    ├── events
    │   └── Deposited(amount: integer)  Money came in.
    └── state
        └── balance: integer = 0
"""


def test_model_show_is_a_tree(run: Run) -> None:
    assert run("model", "show") == Ran(0, TREE, "")
    assert run("model", "show", "shop:model").out == TREE.replace("model bank", "model shop")


def test_model_schema_is_json(run: Run) -> None:
    assert json.loads(run("model", "schema").out) == SCHEMA
    assert json.loads(run("model", "schema", "shop:model").out)["model"] == "shop"


def test_run_hands_its_options_to_the_supervisor(run: Run) -> None:
    asked: list[RunOptions] = []

    def run_pool(options: RunOptions) -> int:
        asked.append(options)
        return 3

    plain = run("run", "bank:model", run_pool=run_pool)
    full = run(
        *shlex.split("run bank:model --workers 3 --nats embedded --namespace ns --node n --port 4333 --data-dir d"),
        *shlex.split("--replicas 1 --shards 8 --timeout 4 --hang-timeout 9"),
        run_pool=run_pool,
    )

    assert (plain.code, full.code) == (3, 3)
    assert asked == [
        RunOptions(model="bank:model"),
        RunOptions(model="bank:model", workers=3, nats="embedded", namespace="ns", node="n", port=4333,
                   data_dir=Path("d"), replicas=1, shards=8, drain_timeout_s=4.0, hang_timeout_s=9.0),
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [("run",), ("run", "bank:model", "--workers", "x"), ("run", "m:m", "--bogus")])
def test_a_misspelt_run_is_a_configuration_error(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("usage: ")


@pytest.mark.parametrize("name", ["run", "call", "state", "history", "ps"])
def test_every_help_has_an_example(run: Run, name: str) -> None:
    ran = run(name, "--help")

    assert ran.code == 0
    assert f"\n    aether {name}" in ran.out


def test_without_a_command_there_is_help(run: Run) -> None:
    assert run().out == run("--help").out
    assert run("--version").out.startswith("aether ")


def test_an_interrupt_has_no_traceback(run: Run) -> None:
    class Interrupted(Pool):
        async def schema(self) -> dict[str, Any]:
            raise KeyboardInterrupt

    ran = run(*DEPOSIT, "amount=1", pool=Interrupted())

    assert (ran.code, ran.out, ran.err) == (130, "", "")

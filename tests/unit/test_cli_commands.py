"""The commands over a stand-in for the pool: what they print, what they send, and whom they ask."""

import io
import json
import os
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aether.errors import DeadlineExceeded, Overloaded, Unavailable
from aether.ids import ActorId, Position
from aether.runtime.fold import Fold
from aether.runtime.snapshots import encode_snapshot
from aether.supervisor.arguments import options_from
from aether.supervisor.options import RunOption, RunOptions, run_options
from aether.system.node_claim import claim_node
from aether.wire import Event, instant, new_event
from tests.support.actors import model as tests_model
from tests.support.command_line import DEPOSIT, SCHEMA, Pool, Ran, Run, runner, stored


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def test_call_prints_the_reply_and_nothing_else(run: Run) -> None:
    pool = Pool(reply=b'{"balance": 10.50,\n "name": "\xc3\xa4"}')

    ran = run(*DEPOSIT, "amount=10", "--command-id", "c1", pool=pool)

    assert (ran.code, ran.out, ran.err) == (0, '{"balance":10.50,"name":"ä"}\n', "")
    assert pool.asked == [("account/alice", "deposit", {"amount": 10}, "c1")]


def test_call_leaves_the_command_id_to_the_client(run: Run) -> None:
    """Who knows that it sends the id for the first time: a refusal then stores nothing."""
    pool = Pool()

    run(*DEPOSIT, "amount=1", pool=pool)

    assert [asked[3] for asked in pool.asked] == [None]


def test_an_unknown_outcome_tells_the_id_that_the_client_has_made(run: Run) -> None:
    error = DeadlineExceeded("too late", command_id="made-7")

    ran = run(*DEPOSIT, "amount=1", pool=Pool(error=error))

    assert "whether command id made-7 was committed" in ran.err


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


def test_on_a_terminal_history_and_ps_are_tables(run: Run) -> None:
    shown = run("history", "account", "[red]", terminal=True).out
    assert "account/[red]" in shown
    assert "command id" in shown
    assert "{" in shown

    workers = run("ps", terminal=True).out
    assert "namespace bank: 3 workers, 3 shards: 1 held, 1 moving, 1 free" in workers
    assert "draining" in workers
    assert "128" in workers
    assert "started at" not in workers


def test_ps_is_one_worker_a_line_in_order(run: Run) -> None:
    for ran in (run("ps"), run("ps", "--json", terminal=True)):
        rows = [json.loads(line) for line in ran.out.splitlines()]
        assert [(row["node"], row["slot"], row["pid"]) for row in rows] == [("a", 0, 10), ("a", 1, 11), ("b", 0, 12)]


def test_ps_shards_shows_owners_epochs_and_moves(run: Run) -> None:
    rows = [json.loads(line) for line in run("ps", "--shards").out.splitlines()]
    assert rows[1] == {"shard": 1, "state": "moving", "holder": "a-0", "wanted": "b-0", "epoch": 7}
    assert len(rows) == 3
    assert "moving" in run("ps", "--shards", terminal=True).out


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


def test_model_show_has_the_policies(run: Run) -> None:
    deposited = {"kind": "account", "event": "Deposited"}
    policies = {
        "on_deposit": {"description": "Say so. Always.", "events": [deposited, {"kind": "a", "event": "B"}],
                       "tells": [{"kind": "mail", "command": "write"}, {"kind": "ledger", "command": "enter"}]},
        "free": {"description": "", "events": [deposited], "tells": None},
        "watch": {"description": "", "events": [deposited], "tells": []},
    }  # fmt: skip

    class WithPolicies(Pool):
        async def schema(self) -> dict[str, Any]:
            return {**SCHEMA, "policies": policies}

    shown = run("model", "show", pool=WithPolicies()).out
    assert shown.partition("└── policies\n")[2].splitlines() == [
        "    ├── on_deposit: account.Deposited, a.B -> mail.write, ledger.enter  Say so.",
        "    ├── free: account.Deposited -> any command: it has no `tells`",
        "    └── watch: account.Deposited -> nothing",
    ]


def test_model_show_has_tasks_and_schedules_with_what_starts_them(run: Run) -> None:
    deposit = {"kind": "account", "command": "deposit"}
    more = {
        "tasks": {"charge": {"args": {}, "result": {"type": "integer"}, "description": "Take money. Always."}},
        "starts": [{"by": deposit, "task": "charge", "then": deposit, "failed": None},
                   {"by": {"policy": "free"}, "task": "charge", "then": None, "failed": None}],
        "policies": {"free": {"description": "", "events": [{"kind": "account", "event": "Deposited"}], "tells": []}},
        "schedules": [{"by": deposit, "name": "hold", "when": "After(hours=1)", "run": deposit}],
    }  # fmt: skip

    class WithTasks(Pool):
        async def schema(self) -> dict[str, Any]:
            return {**SCHEMA, **more}

    shown = run("model", "show", pool=WithTasks()).out
    assert "free: account.Deposited -> task charge\n" in shown
    assert shown.partition("├── tasks\n")[2].splitlines() == [
        "│   └── charge() -> integer  Take money.",
        "│       ├── started by account.deposit: result to account.deposit, failure to none",
        "│       └── started by policy free: result to none, failure to none",
        "└── schedules",
        "    └── hold: After(hours=1), set by account.deposit, runs account.deposit",
    ]


def test_model_show_says_what_the_types_of_fields_are(run: Run) -> None:
    class Nested(Pool):
        async def schema(self) -> dict[str, Any]:
            line = {"title": "Line", "type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
            colour = {"title": "Colour", "enum": ["blue", "red"]}
            return {**SCHEMA, "$defs": {**SCHEMA["$defs"], "Line": line, "Colour": colour}}

    shown = run("model", "show", pool=Nested()).out
    assert shown.endswith("└── types\n    └── Line(item: string)\n")
    assert shown.count("Deposited(") == 1


def test_what_is_no_terminal_gets_whole_lines(run: Run) -> None:
    class Wide(Pool):
        async def schema(self) -> dict[str, Any]:
            fields = {f"a_rather_long_name_of_a_field_{n}": {"type": "integer"} for n in range(40)}
            about = "A description of two lines,\nwhich goes on. And has another sentence.\n\nAnd a paragraph."
            command = {"query": False, "description": about, "args": {"type": "object", "properties": fields}}
            return {**SCHEMA, "actors": {"account": {"commands": {"deposit": command}}}}

        async def history(self, *_: Any, **__: Any) -> AsyncIterator[tuple[Event, Position]]:
            data = b'{"text": "%b"}' % (b"x" * 3_000)
            yield new_event(version=1, source="/", type="E", time=instant(0), data=data, commandid="c"), Position(1)

    lines = run("model", "show", pool=Wide()).out.splitlines()
    [deposit] = [line for line in lines if "deposit(" in line]
    assert "a_rather_long_name_of_a_field_39" in deposit
    assert deposit.endswith("  A description of two lines, which goes on.")
    table = run("history", "account", "alice", pool=Wide(), terminal=True).out.splitlines()
    assert len(table) == 3
    assert "x" * 3_000 in table[2]


def test_model_draw_is_the_same_to_stdout_and_to_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "board.svg"
    drawn = run("model", "draw")
    assert (drawn.code, drawn.err) == (0, "")
    assert drawn.out.startswith("<svg ")
    assert ">deposit</text>" in drawn.out
    written = run("model", "draw", "-o", str(file))
    assert (written.code, written.out, file.read_text()) == (0, "", drawn.out)
    refused = run("model", "draw", "-o", str(tmp_path / "no" / "board.svg"))
    assert refused.code == 2
    assert "cannot be written" in refused.err


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
        *shlex.split("--replicas 1 --shards 8 --timeout 4 --loop-silent-kill 9"),
        run_pool=run_pool,
    )

    assert (plain.code, full.code) == (3, 3)
    assert asked == [
        RunOptions(model="bank:model"),
        RunOptions(model="bank:model", workers=3, nats="embedded", namespace="ns", node="n", port=4333,
                   data_dir=Path("d"), replicas=1, shards=8, drain_timeout_s=4.0, loop_silent_kill_s=9.0),
    ]  # fmt: skip


def test_dev_is_run_with_reload_and_the_dashboard(run: Run) -> None:
    asked: list[RunOptions] = []

    def run_pool(options: RunOptions) -> int:
        asked.append(options)
        return 0

    run("dev", "bank:model", run_pool=run_pool)
    run(*shlex.split("dev bank:model --workers 3 --http 127.0.0.1:9000 --log-format json"), run_pool=run_pool)

    assert asked == [
        RunOptions(model="bank:model", workers=2, http="127.0.0.1:8080", reload=True, dev=True),
        RunOptions(model="bank:model", workers=3, http="127.0.0.1:9000", log_format="json", reload=True, dev=True),
    ]
    assert "No such option: --reload" in run("dev", "bank:model", "--reload").err


OPTIONS = [option for option in run_options() if not option.is_internal]
VALUES = {int: "3", float: "4.5", str: "json", Path: "d"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_both_command_lines_take_every_option_of_run_and_say_the_same_of_it(run: Run, option: RunOption) -> None:
    said = " ".join(run("run", "--help").out.split())
    assert option.help in said
    for flag in option.flags:
        typed = [flag] if option.is_switch else [flag, VALUES[option.type]]
        asked: list[RunOptions] = []
        run("run", "bank:model", *typed, run_pool=lambda options, asked=asked: asked.append(options) or 0)
        assert asked == [options_from(["bank:model", *typed])]
        assert asked != [RunOptions(model="bank:model")]


def test_an_internal_option_is_for_the_supervisor_only(run: Run) -> None:
    assert options_from(["bank:model", "--check"]).check
    assert "No such option: --check" in run("run", "bank:model", "--check").err


@pytest.mark.parametrize("name", ["run", "dev", "call", "state", "history", "ps"])
def test_every_help_has_an_example(run: Run, name: str) -> None:
    ran = run(name, "--help")

    assert ran.code == 0
    assert f"\n    aether {name}" in ran.out


def test_without_a_command_there_is_help(run: Run) -> None:
    assert run().out == run("--help").out
    assert run("--version").out.startswith("aether ")


def test_a_snapshot_is_shown_with_whether_a_model_can_use_it(run: Run) -> None:
    account = tests_model.actor_types["account"]
    snapshot = encode_snapshot(Fold(ActorId("account", "alice"), account)).replace(b'"version":0', b'"version":7')
    older = snapshot.replace(account.fingerprint.encode(), b"older")
    pool = Pool(snapshots={"alice": snapshot, "older": older, "bad": b"{}"})
    found = {"version": 7, "position": 0, "bytes": len(snapshot)}
    shown = json.loads(run("snapshots", "show", "account", "alice", pool=pool).out)
    assert shown == {"kind": "account", "key": "alice", "snapshot": found}
    for key, usable in (("alice", True), ("older", False)):
        shows = ("snapshots", "show", "account", key, "--model", "m:m")
        ran = run(*shows, pool=pool, load_model=lambda _: tests_model)
        assert json.loads(ran.out)["snapshot"]["usable"] is usable
    bad = json.loads(run("snapshots", "show", "account", "bad", pool=pool).out)["snapshot"]
    assert (bad["bytes"], "version" in bad["unreadable"]) == (2, True)
    none = run("snapshots", "show", "account", "bob", pool=pool)
    assert (none.code, none.out) == (1, '{"kind":"account","key":"bob","snapshot":null}\n')
    assert run("snapshots", "show", "Account", "bob", pool=pool).code == 2


def test_snapshots_of_a_kind_or_of_one_actor_are_dropped(run: Run) -> None:
    pool = Pool()
    assert run("snapshots", "drop", "account", pool=pool).out == '{"kind":"account","dropped":2}\n'
    assert run("snapshots", "drop", "account", "a b", pool=pool).out == '{"kind":"account","key":"a b","dropped":2}\n'
    assert run("snapshots", "drop", "Account", pool=pool).code == 2
    assert pool.asked == [("account", None), ("account", "a b")]


def test_ls_prints_keys_as_they_come(run: Run) -> None:
    pool = Pool(listed=["alice", "bob", "two\nlines"])
    ran = run("ls", "account", pool=pool)
    assert (ran.code, ran.out, ran.err) == (0, "alice\nbob\ntwo lines\n", "")
    assert pool.asked == [("keys", "account")]
    exact = run("ls", "account", "--json", pool=pool, terminal=True).out.splitlines()
    assert [json.loads(line) for line in exact] == [{"kind": "account", "key": key} for key in pool.listed]


def test_ls_of_an_unknown_kind_is_an_error_and_of_an_empty_one_is_not(run: Run) -> None:
    ran = run("ls", "acount")
    assert (ran.code, ran.out) == (2, "")
    assert "unknown actor" in ran.err
    assert run("ls", "account").code == 0
    assert run("ls", "Account!").code == 2


def test_ls_that_breaks_off_says_so(run: Run) -> None:
    ran = run("ls", "account", pool=Pool(listed=["alice"], error=DeadlineExceeded("too late", outcome_known=True)))
    assert (ran.code, ran.out) == (3, "alice\n")
    assert "too late" in ran.err


def test_tail_prints_events_until_it_is_interrupted(run: Run) -> None:
    pool = Pool()
    ran = run("tail", pool=pool)
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == ["1", "2", "3", "4"]
    shown = run("tail", "account", "alice", pool=pool, terminal=True)
    line = '1970-01-01 00:00:00.000 account/alice 1 Deposited {"amount":10.50}'
    assert (shown.code, shown.out.splitlines()[0]) == (0, line)
    assert pool.asked == [("tail", None, None), ("tail", "account", "alice")]


def test_tail_leaves_out_other_types(run: Run) -> None:
    lines = run("tail", "--type", "Withdrawn", "--type", "Closed", "--json", terminal=True).out.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["Withdrawn"]


def test_tail_that_cannot_go_on_is_an_error(run: Run) -> None:
    ran = run("tail", pool=Pool(error=Overloaded("the reader is 65536 commits behind", limit="STREAM_EVENTS_MAX")))
    assert ran.code == 3
    assert "behind" in ran.err


def test_a_model_is_checked_against_what_is_stored(run: Run) -> None:
    pool = Pool(listed=["alice", "bob"])

    ran = run("model", "check", "shop:model", "--all", pool=pool)

    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"kind": "account", "event": "(state)", "schema_version": 0, "read": 2, "failed": 0},
        {"kind": "account", "event": "Deposited", "schema_version": 1, "read": 6, "failed": 0},
    ]
    assert ran.err == "everything can be read: 6 events of 2 of 2 actors of namespace shop\n"
    assert (ran.code, pool.targets[0].namespace) == (0, "shop")


def test_a_model_that_cannot_read_what_is_stored_is_told_and_exits_with_1(run: Run) -> None:
    class Other(Pool):
        async def history(self, *_: Any, **__: Any) -> AsyncIterator[tuple[Event, Position]]:
            yield stored(1, "Withdrawn"), Position(1)

    ran = run("model", "check", "shop:model", pool=Other(listed=["alice", "bob"]))
    shown = run("model", "check", "shop:model", pool=Other(listed=["alice"]), terminal=True)

    (line,) = [json.loads(line) for line in ran.out.splitlines()]
    assert (line["event"], line["read"], line["failed"]) == ("Withdrawn", 2, 2)
    assert "no event type 'Withdrawn' in the model; its account takes: Deposited" in line["error"]
    assert ran.err == "not everything can be read: 2 events of 2 of 2 actors of namespace shop\n"
    assert ran.code == shown.code == 1
    assert "account Withdrawn: version 1 of account/alice at position 1 cannot be read" in shown.out
    assert "schema version" in shown.out


def test_a_sample_says_that_there_is_more_and_a_kind_can_be_left_out(run: Run) -> None:
    pool = Pool(listed=["a", "b", "c"])
    ran = run("model", "check", "shop:model", "--sample", "2", pool=pool)
    assert "6 events of 2 of 3 actors of namespace shop; --all reads all actors" in ran.err
    assert "0 events of 0 of 0 actors" in run("model", "check", "shop:model", "--without", "account", pool=pool).err
    assert run("model", "check", "shop:model", "--sample", "0", pool=pool).code == 2


def test_a_history_is_json_on_a_terminal_too_when_asked(run: Run) -> None:
    lines = run("history", "account", "alice", "--json", terminal=True).out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1", "2", "3"]


def test_a_server_that_is_not_there_is_told_with_what_was_looked_for(run: Run, tmp_path: Path) -> None:
    def told(*more: str, **variables: str) -> str:
        pool = Pool(refusal=Unavailable("NATS cannot be reached at nats://127.0.0.1:4222"))
        return run("ps", *more, pool=pool, variables=variables).err

    here = ("--data-dir", str(tmp_path))
    assert f"4222; there is no pool's data in {tmp_path} here: go to the pool's directory" in told(*here)
    (tmp_path / "nats.url").write_text("nats://127.0.0.1:7777\n")
    assert f"; the pool of {tmp_path} does not run now: start it with `aether run`" in told(*here)
    claim = claim_node(tmp_path, "bank", "mine")
    assert f"; the pool of {tmp_path}, bank (process {os.getpid()}), is still starting" in told(*here)
    other = told(*here, "--namespace", "other")
    assert f"; what runs with {tmp_path} is bank (process {os.getpid()})\n" in other
    assert "still starting" not in other
    assert claim.lock_fd is not None
    os.close(claim.lock_fd)
    for line in (told(*here, "--nats", "nats://h:1"), told(*here, AETHER_NATS_URL="nats://h:1")):
        assert line == "unavailable: NATS cannot be reached at nats://127.0.0.1:4222\n"

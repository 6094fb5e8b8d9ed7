"""Every mistake and fault over a stand-in for the pool: one line on stderr, nothing else, the right exit code."""

from typing import Any

import pytest

from aether.cli.context import LoadedModel
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
from tests.support.command_line import DEPOSIT, SCHEMA, Pool, Ran, Run, runner


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


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
    ((*DEPOSIT, "amount=1", "--command-id", "\udcff"), "--command-id: a command id cannot hold a lone surrogate"),
    (("trace", "\udcff"), "ID: a correlation id cannot hold a lone surrogate"),
    (("trace", ""), "ID: a correlation id is 1-128 characters"),
    (("schedules", "ls", "Account"), "kind: a kind is 1-64 characters of snake_case, not 'Account'"),
    (("schedules", "ls", "account", ""), "key: an actor's key cannot be empty"),
    (("state", "acount", "alice"), "the model has no actor 'acount'"),
    (("history", "acount", "alice"), "the model has no actor 'acount'"),
    (("state", "account", ""), "an actor's key cannot be empty"),
    (("state", "account", "alice", "--version", "-1"), "usage: Invalid value for '--version'"),
    (("state", "account", "alice", "--version", "x"), "usage: Invalid value for '--version'"),
    (("call", "account"), "usage: Missing argument"),
    (("call", "account", "alice", "deposit", "--bogus"), "usage: No such option"),
    (("bogus",), "usage: No such command 'bogus'"),
    (("check",), "usage: No such command 'check'; there is aether model check; see aether --help"),
    (("retry", "7"), "there is aether inbox retry, aether tasks retry; see"),
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


def test_a_query_without_an_answer_has_stored_nothing_to_look_for(run: Run) -> None:
    pool = Pool(error=DeadlineExceeded("too late"))
    ran = run("call", "account", "alice", "statement", pool=pool)
    assert (ran.code, ran.out, ran.err) == (3, "", "deadline exceeded: too late\n")


def test_an_unknown_outcome_says_how_to_find_it_out(run: Run) -> None:
    pool = Pool(error=DeadlineExceeded("too late"))

    ran = run("call", "account", "a b", "deposit", "amount=1", "--command-id", "c7", pool=pool)

    assert ran.code == 3
    assert "whether command id c7 was committed, `aether history account 'a b'` shows" in ran.err


@pytest.mark.parametrize(
    ("key", "shows"), [("-x", "`aether history -- account -x` shows"), ("a\nb", "the actor's history shows")]
)
def test_what_it_says_to_type_can_be_typed(run: Run, key: str, shows: str) -> None:
    ran = run("call", "--", "account", key, "deposit", "amount=1", pool=Pool(error=DeadlineExceeded("too late")))

    assert shows in ran.err
    assert ran.err.count("\n") == 1


HINTED = [
    (("state", "account", "-x"), "aether state [OPTIONS] -- KIND KEY"),
    (("state", "--version", "3", "account", "--x"), "aether state [OPTIONS] -- KIND KEY"),
    (("history", "account", "-5"), "aether history [OPTIONS] -- KIND KEY"),
    (("call", "account", "-x", "deposit", "amount=1"), "aether call [OPTIONS] -- KIND KEY COMMAND NAME=VALUE"),
]


@pytest.mark.parametrize(("arguments", "typed"), HINTED)
def test_a_key_that_looks_like_an_option_is_told_where_it_goes(
    run: Run, arguments: tuple[str, ...], typed: str
) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert f"a key or value that begins with - goes after --, as in {typed};" in ran.err
    assert ran.err.count("\n") == 1


def test_errors_about_a_kind_or_a_command_name_the_pool_unless_the_user_named_the_model(run: Run) -> None:
    where = "(asked: namespace bank at nats://h:1)"
    assert where in run("call", "acount", "alice", "deposit").err
    assert where in run("call", "account", "alice", "deposi").err
    assert where in run("state", "acount", "alice").err
    assert where not in run("call", "acount", "alice", "deposit", "--model", "shop:model").err


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

    assert (ran.code, ran.out, ran.err) == (
        3,
        "",
        "unavailable: no answer from the pool at nats://127.0.0.1:4222 within 7 s\n",
    )


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


def test_history_that_breaks_off_shows_what_came_before(run: Run) -> None:
    ran = run("history", "account", "alice", pool=Pool(error=UnreadableEvent("cannot be read", position=9)))

    assert len(ran.out.splitlines()) == 3
    assert ran.code == 1
    assert "cannot be read" in ran.err


@pytest.mark.parametrize(
    "arguments", [("run",), ("dev",), ("run", "bank:model", "--workers", "x"), ("run", "m:m", "--bogus")]
)
def test_a_misspelt_run_is_a_configuration_error(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("usage: ")


def test_an_interrupt_has_no_traceback(run: Run) -> None:
    class Interrupted(Pool):
        async def schema(self) -> dict[str, Any]:
            raise KeyboardInterrupt

    ran = run(*DEPOSIT, "amount=1", pool=Interrupted())

    assert (ran.code, ran.out, ran.err) == (130, "", "")

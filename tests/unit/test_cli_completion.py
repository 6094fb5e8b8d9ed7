"""What a shell completes, asked as a shell asks."""

import pytest

from aether.cli.completion import KEYS_MAX, TIMEOUT_S
from aether.errors import Unavailable
from tests.support.command_line import Pool, runner


def offered(line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], pool: Pool) -> list[str]:
    """What bash offers for the last word of a line."""
    monkeypatch.setenv("_AETHER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit):
        runner(capfd)(pool=pool)
    out, err = capfd.readouterr()
    assert err == ""
    return out.split()


LINES: dict[str, list[str]] = {
    "aether ta": ["tail", "tasks"],
    "aether call a": ["account"],
    "aether call x": [],
    "aether state acc": ["account"],
    "aether ls ": ["account"],
    "aether call account al": ["alice", "alfred"],
    "aether call account alice ": ["deposit", "statement"],
    "aether call account alice dep": ["deposit"],
    "aether call other alice dep": [],
    "aether call account alice deposit ": ["amount="],
    "aether call account alice deposit amount=1 ": [],
    "aether tail --type ": ["Deposited"],
    "aether tail account --type D": ["Deposited"],
}


@pytest.mark.parametrize("line", LINES)
def test_what_the_pool_has_is_offered(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = Pool(listed=["alice", "bob", "alfred", "al ice", "al\nice"])
    assert offered(line, monkeypatch, capfd, pool) == LINES[line]


@pytest.mark.parametrize("line", ["aether call a", "aether call account al", "aether tail --type "])
def test_without_a_pool_nothing_is_offered_and_nothing_is_said(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert offered(line, monkeypatch, capfd, Pool(refusal=Unavailable("there is no server"))) == []


def test_a_large_namespace_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = Pool(listed=[f"k{n}" for n in range(1_000)], error=Unavailable("read to the end"))
    assert len(offered("aether state account k", monkeypatch, capfd, pool)) == KEYS_MAX


def test_the_pool_that_the_line_names_is_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = Pool()
    offered("aether call --nats nats://h:7 --namespace n a", monkeypatch, capfd, pool)
    [target] = pool.targets
    assert (target.connection.url, target.namespace, target.timeout_s) == ("nats://h:7", "n", TIMEOUT_S)

"""What signals ask a supervisor for, and which of them its programs hear."""

import os
import signal
import sys

import pytest

from aether.supervisor.signals import HANGUP_AFTER_S, Terminal, requests_of
from aether.supervisor.state import Request
from aether.system.process import spawn, wait_exit

HANGUP = bytes([signal.SIGHUP])


def test_a_hangup_asks_for_fresh_code_while_the_terminal_is_there_and_for_the_end_with_it() -> None:
    assert requests_of(HANGUP, terminal_lost=False, nohup=False) == [Request.RELOAD]
    assert requests_of(HANGUP, terminal_lost=True, nohup=False) == [Request.DRAIN]


def test_a_pool_under_nohup_outlives_its_terminal_and_is_reloaded_later() -> None:
    assert requests_of(HANGUP + bytes([signal.SIGTERM]), terminal_lost=True, nohup=True) == [Request.DRAIN]
    assert requests_of(HANGUP, terminal_lost=True, nohup=True) == []
    assert requests_of(HANGUP, terminal_lost=False, nohup=True) == [Request.RELOAD]


def test_a_terminal_is_lost_for_as_long_as_its_hangup_may_take() -> None:
    there = [True, True, False, False, False]
    terminal = Terminal(lambda: there.pop(0) if there else False)
    assert not terminal.lost(1.0)
    assert terminal.lost(2.0)
    assert terminal.lost(2.0 + HANGUP_AFTER_S)
    assert not terminal.lost(2.1 + HANGUP_AFTER_S), "a later SIGHUP is sent by hand"


def test_a_process_without_a_terminal_has_none_to_lose() -> None:
    assert not Terminal(lambda: False).lost(1.0)


@pytest.mark.parametrize("ignores", [False, True])
def test_a_program_that_leaves_the_terminal_to_its_supervisor_never_hears_of_it(ignores: bool) -> None:
    said_fd, said_to_fd = os.pipe()
    text = (
        "import os, signal; os.write(1, b'%d' % sum(signal.getsignal(one) is signal.SIG_IGN for one in "
        "(signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)))"
    )
    pid = spawn([sys.executable, "-S", "-c", text], output_fd=said_to_fd, ignores_terminal=ignores)
    os.close(said_to_fd)
    with os.fdopen(said_fd, "rb") as said:
        assert said.read() == (b"4" if ignores else b"0")
    assert wait_exit(pid, 10.0) == 0

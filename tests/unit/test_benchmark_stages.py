"""Samples of stacks to stages: compiled functions and Python's are the same, the innermost one decides."""

from benchmarks.stages import COLLECTOR, REST, shares

STAGES = {
    "turn": ["Turn.run"],
    "commit": ["Committer.commit", "Committer.send"],
    "frames": ["NatsProtocol.data_received"],
}


def test_the_innermost_function_that_a_stage_names_has_the_sample() -> None:
    samples = [
        "main (run.py:1);NatsProtocol.data_received (protocol.py:118);Turn._run (turn.py:9);dict_get (libpy.so) 3",
        "main (run.py:1);CPyDef_protocol___NatsProtocol___data_received (x);CPyDef_committer___Committer____send (x) 4",
        "main (run.py:1);CPyPy_protocol___NatsProtocol___data_received (x.so);malloc (libc.so) 1",
        "main (run.py:1);CPyDef_turn___Turn___run (x.so);gc_collect_main (libpython.so) 1",
        "main (run.py:1);write (libc.so) 1",
    ]
    found = shares(samples, STAGES)
    assert found == {"turn": 0.3, "commit": 0.4, "frames": 0.1, COLLECTOR: 0.1, REST: 0.1}


def test_who_waits_does_not_count() -> None:
    samples = [
        "main (run.py:1);NatsProtocol.data_received (protocol.py:118) 2",
        "main (run.py:1);uv__io_poll (linux.c:1452);epoll_pwait (libc.so) 50",
        "Thread._bootstrap (threading.py:1002);lock (libc.so) 50",
    ]
    assert shares(samples, STAGES)["frames"] == 1.0

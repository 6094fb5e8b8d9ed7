"""Samples of stacks to stages: compiled functions and Python's are the same, the innermost one decides."""

import re
from importlib import import_module
from pathlib import Path

from benchmarks.stages import COLLECTOR, REST, WORKER, shares

ROOT = Path(__file__).parents[2]

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


def test_the_functions_of_the_worker_exist() -> None:
    functions = [name.partition(".")[::2] for names in WORKER.values() for name in names]
    classes: dict[str, type] = {}
    for source in (ROOT / "aether").rglob("*.py"):
        for found in re.findall(r"^class (\w+)", source.read_text(), re.MULTILINE):
            if any(found == class_ for class_, _ in functions):
                module = ".".join(source.relative_to(ROOT).with_suffix("").parts)
                classes[found] = getattr(import_module(module), found)
    for class_, method in functions:
        forms = (method, f"_{method}", f"__{method}__")
        assert class_ in classes, f"there is no class {class_}"
        assert method in ("", "dealloc") or any(hasattr(classes[class_], form) for form in forms), (class_, method)

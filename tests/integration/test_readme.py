"""The README's own code, run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

README = (Path(__file__).parents[2] / "README.md").read_text()
ACTOR, CLIENT, TEST = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def ran(script: str, directory: Path) -> str:
    """What a script prints that imports what stands beside it, whatever the tests are run with."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_actor_is_short() -> None:
    lines = [line for line in ACTOR.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20


def test_the_actor_runs_on_a_pool_and_the_client_talks_to_it(nats_server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(ACTOR)
    (tmp_path / "use.py").write_text(CLIENT.replace("nats://127.0.0.1:4222", nats_server.url))
    with Pool("bank:model", "--workers", "2", "--nats", nats_server.url, directory=tmp_path):
        printed = ran("use.py", tmp_path)
    first, *rest = printed.splitlines()
    assert first == "10"
    assert rest[-1] == "account/bob Deposited(amount=5)"


def test_the_actor_passes_the_test_that_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(ACTOR)
    run_it = "\n\nimport asyncio\nfrom bank import Account, model\n\nasyncio.run(test_deposit())\n"
    (tmp_path / "check.py").write_text(TEST + run_it)
    ran("check.py", tmp_path)

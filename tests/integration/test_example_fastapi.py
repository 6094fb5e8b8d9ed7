"""The example of a FastAPI application with the gateway mounted in it, against a pool, as uvicorn runs it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.support.nats_server import NatsServer, free_port
from tests.support.pool import Pool

CLONE = Path(__file__).parents[2]


def test_the_example_serves_actors_and_its_own_page(own_server: NatsServer) -> None:
    port = free_port()
    with Pool("examples.bank:model", "--workers", "1", "--nats", own_server.url) as pool:
        program = [sys.executable, "-m", "uvicorn", "examples.fastapi.app:app", "--port", str(port)]
        with subprocess.Popen(
            program, cwd=CLONE, env={"AETHER_NATS_URL": own_server.url, "PATH": ""}, stderr=subprocess.PIPE, text=True
        ) as web:
            assert web.stderr is not None
            try:
                while not re.search(r"running on", line := web.stderr.readline()):
                    assert line, "the application ended"
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                    paid = {"transfer": "t1", "cents": 500}
                    refused = http.post("/bank/actors/account/alice/receive", json=paid)
                    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
                    mine = {"X-User": "alice"}
                    answer = http.post("/bank/actors/account/alice/receive", json=paid, headers=mine)
                    assert answer.json()["value"] == 500, answer.text
                    assert (http.get("/bank/actors/account/alice/statement")).json()["value"] == 500
                    assert (http.get("/richest")).json() == {"account": "alice", "balance": 500}
                    assert "/actors/account/{key}/receive" in (http.get("/bank/openapi.json")).json()["paths"]
                    assert (http.get("/bank/docs")).status_code == 200
            finally:
                web.terminate()
                web.stderr.read()
        assert web.returncode == -signal.SIGTERM, "uvicorn ends so when it has drained"
        assert pool.process.poll() is None

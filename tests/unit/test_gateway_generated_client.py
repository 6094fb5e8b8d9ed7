"""A client that a generator of another project makes from `/openapi.json` calls actors."""

import asyncio
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.actors import model as plain
from tests.support.gateway import served
from tests.unit.test_gateway_documents import rich

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


async def generated(document: dict[str, Any], name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package `name` from a document, and let it be imported."""
    described, settings = directory / "openapi.json", directory / "settings.yml"
    described.write_text(json.dumps(document))
    settings.write_text("post_hooks: []\n")
    program = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning",
               "--path", str(described), "--config", str(settings), "--output-path", str(directory / name)]  # fmt: skip
    made = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(directory)


async def test_it_calls_an_actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(plain) as one:
        await generated((await one.http.get("/openapi.json")).json(), "made_plain", tmp_path, monkeypatch)
        client = importlib.import_module("made_plain.client").Client(base_url=one.url)
        operations = "made_plain.api.account"
        deposit = importlib.import_module(f"{operations}.account_deposit")
        body = importlib.import_module("made_plain.models").AccountDepositBody(amount=10)
        answer = await deposit.asyncio("al/ice", client=client, body=body, idempotency_key="once")
        again = await deposit.asyncio("al/ice", client=client, body=body, idempotency_key="once")
        assert (answer.value, answer.version) == (again.value, again.version) == (10, 1)
        statement = await importlib.import_module(f"{operations}.account_statement").asyncio("al/ice", client=client)
        assert statement.value == 10
        state = await importlib.import_module(f"{operations}.account_state").asyncio("al/ice", client=client)
        assert (state.version, state.state.balance) == (1, 10)
        events = await importlib.import_module(f"{operations}.account_history").asyncio("al/ice", client=client)
        assert [event.type_ for event in events] == ["Deposited"]
        withdraw = importlib.import_module(f"{operations}.account_withdraw")
        much = importlib.import_module("made_plain.models").AccountWithdrawBody(amount=99)
        refused = await withdraw.asyncio_detailed("al/ice", client=client, body=much)
        assert (refused.status_code, refused.parsed.code) == (409, "rejected")


async def test_it_sends_every_type_of_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(rich) as one:
        await generated((await one.http.get("/openapi.json")).json(), "made_rich", tmp_path, monkeypatch)
        client = importlib.import_module("made_rich.client").Client(base_url=one.url)
        total = importlib.import_module("made_rich.api.order.order_total")
        answer = await total.asyncio("o-1", client=client, tags=["a", "b"], ids=[1, 2])
        assert answer.value == {"tags": ["a", "b"], "ids": [1, 2], "only": None, "line": None}
        history = importlib.import_module("made_rich.api.order.order_history_post")
        assert (await history.asyncio("o-1", client=client)).value == 7

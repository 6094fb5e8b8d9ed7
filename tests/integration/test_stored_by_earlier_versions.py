"""Data directories of earlier versions open, and what is in them is what was told then.

`tests/data/stored-<version>.tar.xz` is what a pool of that version left: drained once, filled again and
then killed with its server. A new version adds one; none is ever removed.
"""

import tarfile
from decimal import Decimal
from pathlib import Path

import pytest

import aether
from aether.system.environment import recorded_url
from tests.data.bank import Account, Deposited, model
from tests.support.pool import Pool

STORED = sorted((Path(__file__).parents[1] / "data").glob("stored-*.tar.xz"))
BALANCES = ["100.85", "6.60", "11.60", "18.60", "24.60", "30.60", "36.60", "42.60"]
VERSIONS = [7, 6, 8, 6, 6, 6, 6, 6]


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
async def test_a_data_directory_of_an_earlier_version_opens(stored: Path, tmp_path: Path) -> None:
    with tarfile.open(stored) as archive:
        archive.extractall(tmp_path, filter="data")
    with Pool("tests.data.bank:model", "--workers=2", "--nats=embedded", "--data-dir", str(tmp_path)):
        async with aether.connect(recorded_url(tmp_path), model=model) as client:
            for number, (balance, version) in enumerate(zip(BALANCES, VERSIONS, strict=True)):
                key = f"key/{number} ü"
                state = await client.state(Account, key)
                assert (state.version, state.state.balance) == (version, Decimal(balance))
                assert state.state.notes == ["note 0", "note 1", "note 2"] * 2
                assert await client.actor(Account, key).deposit(Decimal("1.00")) == Decimal(balance) + 1
                history = await client.history(Account, key)
                assert [event.version for event in history] == list(range(1, version + 2))
                assert history[-1].event == Deposited(Decimal("1.00"))


def test_there_is_a_data_directory_of_each_earlier_version() -> None:
    assert [path.name for path in STORED][:1] == ["stored-0.1.0.tar.xz"]

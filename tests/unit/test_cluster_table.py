"""A table that was lost or restored: its revisions begin again, and what a member knew of it means nothing any more."""

import pytest

from aether import Unavailable
from aether.core.cluster.membership import LeaseRow, encode_lease
from aether.memory.server import InMemoryServer
from aether.ports import Row
from aether.table_keys import lease_key
from tests.support.members import RecordingProvider, member, soon


async def test_a_table_that_went_backwards_ends_the_member_and_nothing_more_is_answered() -> None:
    server = InMemoryServer()
    async with member(server, "a", provider=RecordingProvider()) as a:
        await soon(lambda: a.cluster.moves().held > 0)
        assert a.answering()
        a.cluster._row_changed(Row(lease_key(0), encode_lease(LeaseRow()), 1))
        assert a.answering() == set()
        with pytest.raises(Unavailable, match="went backwards"):
            await a.cluster.wait_balanced(10)


async def test_a_row_that_vanished_is_told_at_a_revision_that_was_read_and_ends_no_member() -> None:
    server = InMemoryServer()
    async with member(server, "a", provider=RecordingProvider()) as a:
        await soon(lambda: a.cluster.moves().held > 0)
        a.cluster._row_changed(Row("member.gone-0", None, 1))
        assert not a.cluster.failed.done()
        assert a.answering()

"""Laws of placement."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from aether.core.ring import assignment, owner_of, shards_of, slot_members

MEMBERS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True)


@given(MEMBERS, st.integers(1, 128))
def test_every_shard_has_one_owner_whatever_the_order_of_members(members: list[str], shards: int) -> None:
    owned = assignment(members, shards)
    assert sorted(shard for mine in owned.values() for shard in mine) == list(range(shards))
    assert owned == {member: shards_of(member, members[::-1], shards) for member in members}


@given(MEMBERS, st.text(min_size=13, max_size=14), st.integers(1, 128))
def test_a_join_moves_shards_only_to_the_joiner(members: list[str], joiner: str, shards: int) -> None:
    for shard in range(shards):
        before, after = owner_of(shard, members), owner_of(shard, [*members, joiner])
        assert after in (before, joiner)


def test_placement_is_the_same_under_any_hash_seed() -> None:
    program = "from aether.core.ring import *; print(assignment(slot_members(3), 64))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{assignment(slot_members(3), 64)}\n".encode()}

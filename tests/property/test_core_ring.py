"""Laws of placement: some for the weights that names give, some for any weights, also the unluckiest."""

import subprocess
import sys
from math import ceil
from zlib import crc32

from hypothesis import assume, given
from hypothesis import strategies as st

from aether.core.cluster.ring import (
    MEMBERS_REMEMBERED,
    Weights,
    assignment,
    bounded,
    first_choices,
    load_max,
    owners,
    weights_of,
)

MEMBERS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True)
SHARDS = st.integers(0, 128)


@st.composite
def any_weights(draw: st.DrawFn, members_min: int = 1) -> dict[str, list[int]]:
    """Weights with ties and with members that are the heaviest for everything."""
    shards = draw(st.integers(1, 30))
    one = st.lists(st.integers(0, draw(st.integers(1, 1_000))), min_size=shards, max_size=shards)
    return draw(st.dictionaries(st.text(max_size=3), one, min_size=members_min, max_size=8))


def without(weights: Weights, gone: str) -> Weights:
    return {member: mine for member, mine in weights.items() if member != gone}


def room_of(weights: Weights) -> int:
    return load_max(len(next(iter(weights.values()))), len(weights))


def overflow(weights: Weights) -> set[int]:
    """The shards that did not get their first choice."""
    first, given = owners(first_choices(weights)), owners(bounded(weights))
    return {shard for shard in first if first[shard] != given[shard]}


def overflow_max(weights: Weights) -> int:
    """The first choices that the members have no room for."""
    return sum(max(0, len(mine) - room_of(weights)) for mine in first_choices(weights).values())


def moved_otherwise(before: Weights, after: Weights) -> set[int]:
    """The shards that moved, but neither to a joiner nor from a leaver."""
    old, new = owners(bounded(before)), owners(bounded(after))
    return {shard for shard in old if old[shard] != new[shard] and new[shard] in before and old[shard] in after}


@given(MEMBERS, SHARDS)
def test_every_shard_is_given_to_one_member(members: list[str], shards: int) -> None:
    given = assignment(members, shards)
    assert given.keys() == set(members)
    assert sorted(shard for mine in given.values() for shard in mine) == list(range(shards))
    assert all(shard in given[member] for shard, member in owners(given).items())


def test_without_members_no_shard_is_wanted() -> None:
    assert assignment([], 256) == {}
    assert owners(assignment([], 256)) == {}


@given(MEMBERS, SHARDS, st.data())
def test_neither_order_nor_repetition_of_members_matters(members: list[str], shards: int, data: st.DataObject) -> None:
    other = data.draw(st.permutations(members)) + members[:1]
    assert list(assignment(other, shards).items()) == list(assignment(members, shards).items())


@given(any_weights())
def test_no_member_is_given_more_than_one_above_the_average(weights: Weights) -> None:
    shards = len(next(iter(weights.values())))
    given = bounded(weights)
    assert sum(map(len, given.values())) == shards
    assert max(map(len, given.values())) <= ceil(shards / len(weights)) + 1


@given(any_weights())
def test_every_member_heavier_for_a_shard_than_its_owner_is_full(weights: Weights) -> None:
    given = bounded(weights)
    for shard, owner in owners(given).items():
        heavier = [member for member, mine in weights.items() if mine[shard] > weights[owner][shard]]
        assert all(len(given[member]) == room_of(weights) for member in heavier)


@given(any_weights(members_min=2), st.data())
def test_first_choices_move_only_to_the_joiner(weights: Weights, data: st.DataObject) -> None:
    joiner = data.draw(st.sampled_from(sorted(weights)))
    before, after = owners(first_choices(without(weights, joiner))), owners(first_choices(weights))
    assert all(after[shard] in (before[shard], joiner) for shard in before)


@given(any_weights())
def test_overflow_is_only_what_the_first_choices_have_no_room_for(weights: Weights) -> None:
    assert len(overflow(weights)) == overflow_max(weights)


@given(any_weights(), st.data())
def test_whichever_member_comes_and_goes_only_overflow_moves_otherwise(weights: Weights, data: st.DataObject) -> None:
    some = st.sets(st.sampled_from(sorted(weights)), min_size=1)
    before, after = ({member: weights[member] for member in data.draw(some)} for _ in range(2))
    assert moved_otherwise(before, after) <= overflow(before) | overflow(after)


@given(MEMBERS, st.data(), SHARDS)
def test_a_join_and_a_leave_move_otherwise_at_most_the_overflows(
    members: list[str], data: st.DataObject, shards: int
) -> None:
    assume(len(members) > 1)
    more = {member: weights_of(member, shards) for member in members}
    fewer = without(more, data.draw(st.sampled_from(members)))
    at_most = overflow_max(more) + overflow_max(fewer)
    assert len(moved_otherwise(fewer, more)) <= at_most
    assert len(moved_otherwise(more, fewer)) <= at_most


@given(any_weights(members_min=2), st.data())
def test_while_the_bound_stays_a_join_makes_only_the_joiner_overflow(weights: Weights, data: st.DataObject) -> None:
    joiner = data.draw(st.sampled_from(sorted(weights)))
    fewer = without(weights, joiner)
    assume(room_of(fewer) == room_of(weights))
    assert overflow(weights) <= overflow(fewer) | set(first_choices(weights)[joiner])


@given(st.text(), SHARDS)
def test_a_member_gives_every_rank_once(member: str, shards: int) -> None:
    assert sorted(weight >> 32 for weight in weights_of(member, shards)) == list(range(shards))


@given(MEMBERS, SHARDS, SHARDS)
def test_what_is_remembered_changes_nothing(members: list[str], shards: int, others: int) -> None:
    weights_of.cache_clear()
    fresh = assignment(members, shards)
    assignment(members, others)
    assert assignment(members, shards) == fresh
    assert all(list(weights_of(m, shards)) == list(weights_of.__wrapped__(m, shards)) for m in members)


def test_more_members_than_are_remembered() -> None:
    members = [f"node-{number}" for number in range(MEMBERS_REMEMBERED + 9)]
    fresh = assignment(members, 256)
    assert assignment(members, 256) == fresh
    assert weights_of.cache_info().currsize == MEMBERS_REMEMBERED


def test_placement_is_the_same_under_any_hash_seed() -> None:
    program = "from aether.core.cluster.ring import *; print(assignment({f'node-{n}' for n in range(9)}, 64))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{assignment((f'node-{n}' for n in range(9)), 64)}\n".encode()}


def test_placement_is_part_of_the_protocol() -> None:
    """Workers of two versions serve side by side while a pool is renewed, so this changes with the layout only."""
    assert crc32(repr(assignment((f"node-{n}" for n in range(12)), 256)).encode()) == 3_031_242_536

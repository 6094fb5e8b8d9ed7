"""What a worker remembers of failures: bounded in number and bytes, counted, and none displaces another kind."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import Decoder, encode

from aether.core.metrics.failures import (
    ACTORS_MAX,
    BYTES_MAX,
    GROUPS_MAX,
    MESSAGE_CHARS_MAX,
    Failure,
    FailureGroup,
    RecentFailures,
    merged,
)

texts = st.text(max_size=400)
failures = st.builds(
    Failure,
    kind=st.sampled_from(["account", "order"]),
    key=texts,
    command=st.sampled_from(["deposit", "place"]),
    outcome=st.sampled_from(["failed", "timed_out"]),
    error=texts,
    message=texts | st.just("\x00" * 10_000) | st.just("\ud800"),
    place=texts,
    command_id=st.text(st.characters(codec="utf-8"), max_size=128),
    correlation_id=st.text(st.characters(codec="utf-8"), max_size=128),
    time_s=st.floats(0, 2e9),
)


def failure(key: str = "alice", error: str = "ValueError", time_s: float = 1.0, command: str = "deposit") -> Failure:
    return Failure("account", key, command, "failed", error, "no", "bank.py:3 in deposit", "c", "c", time_s)


def remembered(*found: Failure) -> tuple[FailureGroup, ...]:
    recent = RecentFailures()
    for one in found:
        recent.add(one)
    return recent.groups()


@given(st.lists(failures.map(lambda one: one._replace(key=one.key.encode("utf-8", "replace").decode()))))
def test_whatever_fails_it_can_be_sent_and_stays_within_its_bytes(found: list[Failure]) -> None:
    groups = remembered(*found)
    sent = encode(groups)
    assert Decoder(tuple[FailureGroup, ...]).decode(sent) == groups
    assert len(sent) <= BYTES_MAX or len(groups) == 1
    assert len(groups) <= GROUPS_MAX
    assert all(len(group.actors) <= ACTORS_MAX for group in groups)
    if found:
        last = groups[0]
        assert last.actors[0].key == found[-1].key, "the last one is always there"


def test_the_worst_there_can_be_takes_no_more_than_its_bytes() -> None:
    recent = RecentFailures()
    for number in range(2_000):
        worst = Failure(
            "k" * 64, f"{number}" + "\\" * 190, f"{number % 60}" + "c" * 60, "timed_out", "E" * 200, "\x01" * 10_000,
            "\x02" * 500, "\x03" * 128, "\x04" * 128, 1.7e9 + number,
        )  # fmt: skip
        recent.add(worst)
        assert len(encode(recent.groups())) <= BYTES_MAX
    assert recent.groups()[0].count >= 1


def test_an_actor_that_fails_without_end_displaces_no_other() -> None:
    (often, once) = remembered(failure("bob", "KeyError"), *[failure("alice")] * 10_000)
    assert (often.error, often.count, often.actors[0].count) == ("ValueError", 10_000, 10_000)
    assert (once.error, once.count, once.actors[0].key) == ("KeyError", 1, "bob")


def test_many_actors_that_fail_alike_are_one_group_that_names_the_last() -> None:
    (group,) = remembered(*[failure(f"a{number}", time_s=number) for number in range(1_000)])
    assert group.count == 1_000
    assert [actor.key for actor in group.actors] == [f"a{number}" for number in range(999, 999 - ACTORS_MAX, -1)]


def test_a_long_message_is_cut_and_says_so() -> None:
    (group,) = remembered(failure()._replace(message="x" * 5_000))
    assert len(group.actors[0].message) == MESSAGE_CHARS_MAX
    assert group.actors[0].message.endswith("…")


def test_workers_are_added_and_an_actor_that_moved_is_named_once() -> None:
    first = remembered(failure("alice", time_s=1), failure("bob", time_s=2))
    second = remembered(failure("alice", time_s=5), failure("carol", "KeyError", time_s=3))
    found = merged([first, second])
    assert [(one.error, one.count, one.time_s) for one in found] == [("ValueError", 3, 5), ("KeyError", 1, 3)]
    assert [(one.key, one.time_s) for one in found[0].actors] == [("alice", 5), ("bob", 2)]

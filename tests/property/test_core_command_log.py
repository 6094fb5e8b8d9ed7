"""The command-id command_log against a plain dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from aether.core.actor.command_log import FEW, CommandLog
from aether.ids import Position

ADDS = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 100), st.integers(0, 5)), max_size=60)


def answer(n: int) -> bytes:
    return b"%d" % n


@given(ADDS, st.floats(0, 120))
def test_a_command_is_remembered_until_its_time_and_at_most_a_second_longer(
    adds: list[tuple[int, float, int]], now_s: float
) -> None:
    command_log, model = CommandLog(), dict[str, float]()
    for n, (name, expires_s, _) in enumerate(adds):
        command_log.add(str(name), answer(n), expires_s, Position(n))
        model.setdefault(str(name), expires_s)
    command_log.forget_expired(now_s)
    for key, ends_s in model.items():
        if ends_s > now_s:
            assert command_log.get(key) is not None
        elif ends_s + 1 <= now_s:
            assert command_log.get(key) is None
    assert len(command_log) == sum(command_log.get(key) is not None for key in model)


@given(ADDS, st.floats(0, 120))
def test_history_after_the_rebuild_position_holds_every_remembered_command(
    adds: list[tuple[int, float, int]], now_s: float
) -> None:
    command_log, position = CommandLog(), 0
    at: dict[str, int] = {}
    for n, (_, expires_s, step) in enumerate(adds):
        command_log.add(str(n), answer(n), expires_s, Position(position))
        position += 1 + step
        at[str(n)] = position
    command_log.forget_expired(now_s)
    after, until_s = command_log.rebuild_from(Position(position))
    for name, its_position in at.items():
        if command_log.get(name) is not None:
            assert its_position > after
            assert until_s > now_s
    if not len(command_log):
        assert (after, until_s) == (position, 0.0)


@given(ADDS)
def test_the_first_answer_of_a_command_stays(adds: list[tuple[int, float, int]]) -> None:
    command_log, first = CommandLog(), dict[str, bytes]()
    for n, (name, expires_s, _) in enumerate(adds):
        command_log.add(str(name), answer(n), expires_s, Position(n))
        assert command_log.get(str(name)) == first.setdefault(str(name), answer(n))


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 3 * FEW)), max_size=120), st.integers(1, 6))
def test_few_or_many_it_remembers_what_a_dictionary_does(adds: list[tuple[float, int]], ttl_s: int) -> None:
    """Commands come and expire, so that few become many, none, and few again."""
    command_log, model = CommandLog(), dict[str, tuple[bytes, float, int]]()
    for n, (later_s, name) in enumerate(adds):
        now_s = n / 4 + later_s * (n % 7 == 0)
        command_log.forget_expired(now_s)
        model = {key: value for key, value in model.items() if int(value[1]) + 1 > now_s}
        expires_s = now_s + ttl_s + later_s
        command_log.add(str(name), answer(n), expires_s, Position(n))
        model.setdefault(str(name), (answer(n), expires_s, n))
        assert len(command_log) == len(model)
        assert {key: command_log.get(key) for key in map(str, range(3 * FEW + 1))} == {
            key: model[key][0] if key in model else None for key in map(str, range(3 * FEW + 1))
        }
        least, last_s = min(value[2] for value in model.values()), max(int(value[1]) + 1 for value in model.values())
        assert command_log.rebuild_from(Position(-1)) == (least, last_s)


@given(ADDS)
def test_what_a_given_id_was_given_to_is_kept_and_nothing_for_others(adds: list[tuple[int, float, int]]) -> None:
    command_log, first = CommandLog(), dict[str, str]()
    for name, expires_s, given_to in adds:
        digest = f"digest {given_to}" if given_to else ""
        command_log.add(str(name), b"", expires_s, Position(0), digest)
        first.setdefault(str(name), digest)
    assert {name: command_log.digest(name) for name in first} == first

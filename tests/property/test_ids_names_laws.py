"""Laws of names: any Unicode key is one safe token, and comes back."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aether.errors import InvalidCommand
from aether.ids import KEY_BYTES_MAX, ActorId
from aether.names import Names, decode_token, encode_token, shard_of, snapshot_key

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda key: len(key.encode()) <= KEY_BYTES_MAX
)
kinds = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
actors = st.builds(ActorId, kinds, keys)
NAMES = Names("shop", shards=16)


@given(keys)
def test_a_token_comes_back_and_holds_nothing_that_nats_reads(key: str) -> None:
    token = encode_token(key)
    assert decode_token(token) == key
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", token)


@given(keys, keys)
def test_two_keys_never_share_a_token(one: str, other: str) -> None:
    assert (encode_token(one) == encode_token(other)) == (one == other)


@given(st.text(st.sampled_from("=aA2FE.é09"), max_size=8) | st.text(max_size=8))
def test_a_token_has_one_spelling_and_the_rest_is_refused(token: str) -> None:
    try:
        key = decode_token(token)
    except InvalidCommand:
        return
    assert encode_token(key) == token


@given(actors)
def test_subjects_and_keys_say_which_actor_they_are_of(actor_id: ActorId) -> None:
    for subject in (NAMES.event(actor_id), NAMES.stored(NAMES.event(actor_id))):
        assert NAMES.parse_event(subject) == actor_id
    assert NAMES.parse_command(NAMES.command(actor_id)) == actor_id
    assert 0 <= shard_of(actor_id, 16) < 16
    kind, key = snapshot_key(actor_id).split(".")
    assert ActorId(decode_token(kind), decode_token(key)) == actor_id


@given(st.text(max_size=60))
def test_any_text_is_a_subject_of_ours_or_refused(subject: str) -> None:
    try:
        actor_id = NAMES.parse_event(f"aether.shop.evt.{subject}")
    except InvalidCommand:
        return
    assert NAMES.event(actor_id) == f"aether.shop.evt.{subject}"

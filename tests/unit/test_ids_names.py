"""Names as they are written, and what is no name."""

import pytest

from aether.errors import ConfigError, InvalidCommand
from aether.ids import ActorId
from aether.names import (
    Names,
    check_namespace,
    decode_token,
    encode_token,
    event_source,
    namespace_of_stream,
    shard_of,
    snapshot_key,
)
from aether.recent import Recent
from aether.table_keys import lease_key, member_key

NAMES = Names("shop")
ALICE = ActorId("account", "alice")


@pytest.mark.parametrize(
    ("key", "token"),
    [("alice", "alice"), ("a.b", "a=2Eb"), ("*", "=2A"), (">", "=3E"), ("=", "=3D"), ("é", "=C3=A9"), (" ", "=20"),
     ("a/b", "a=2Fb"), ("\x00", "=00"), ("🙂", "=F0=9F=99=82"), ("A-_9", "A-_9")],
)  # fmt: skip
def test_a_key_is_written_as_one_token(key: str, token: str) -> None:
    assert encode_token(key) == token
    assert decode_token(token) == key


@pytest.mark.parametrize("token", ["", "=", "=2", "=2e", "=41", "=FF", "=C3", "a.b", "a b", "=GG", "é", "a\n"])
def test_what_no_key_is_written_as_is_refused(token: str) -> None:
    with pytest.raises(InvalidCommand):
        decode_token(token)


@pytest.mark.parametrize(
    ("kind", "key", "path"),
    [("account", "", "key"), ("account", "é" * 101, "key"), ("account", "a" * 201, "key"), ("account", "\ud800", "key"),
     ("Account", "a", "kind"), ("", "a", "kind"), ("a" * 65, "a", "kind"), ("1a", "a", "kind"), ("a\n", "a", "kind")],
)  # fmt: skip
def test_what_is_no_actor_is_invalid_at_its_field(kind: str, key: str, path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        ActorId(kind, key)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("kind", "key", "path"),
    [
        ("account", 5, "key"),
        ("account", None, "key"),
        ("account", b"alice", "key"),
        (5, "a", "kind"),
        ([], "a", "kind"),
    ],
)
def test_what_is_no_text_is_invalid_at_its_field(kind: object, key: object, path: str) -> None:
    with pytest.raises(InvalidCommand, match=f"an actor's {path} is a text, not") as refused:
        ActorId(kind, key)  # type: ignore[arg-type]  # what is tested
    assert refused.value.path == path


def test_the_longest_key_is_200_bytes() -> None:
    assert ActorId("account", "é" * 100).key == "é" * 100


@pytest.mark.parametrize("namespace", ["", "Shop", "a" * 33, "a.b", "a_b", "a\n"])
def test_what_is_no_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_namespace(namespace)
    assert refused.value.setting == "namespace"


def test_the_layout_is_as_documented() -> None:
    shard = shard_of(ALICE, 256)
    assert (NAMES.stream, NAMES.table) == ("AETHER_shop", "AETHER_shop_TABLE")
    assert (NAMES.snapshots, NAMES.checkpoints) == ("AETHER_shop_SNAPSHOTS", "AETHER_shop_CHECKPOINTS")
    assert NAMES.event(ALICE) == f"aether.shop.evt.{shard}.account.alice"
    assert NAMES.command(ALICE) == f"aether.shop.cmd.{shard}.account.alice"
    assert NAMES.commands_of_shard(7) == "aether.shop.cmd.7.>"
    assert NAMES.events_of_shard(7) == "aether.shop.evt.7.>"
    assert event_source("shop", ActorId("account", "a/é")) == "/shop/account/a%2F%C3%A9"
    assert snapshot_key(ActorId("account", "a.b")) == "account.a=2Eb"
    assert (member_key("host.1", 2), lease_key(9)) == ("member.host=2E1-2", "lease.9")
    assert namespace_of_stream("AETHER_shop") == "shop"
    assert namespace_of_stream("AETHER_shop_TABLE") is namespace_of_stream("ORDERS") is None


def test_placement_never_changes() -> None:
    assert [shard_of(ActorId("account", key), 256) for key in ("alice", "bob", "é")] == [247, 130, 132]


@pytest.mark.parametrize(
    "subject",
    ["", "aether.shop.evt", "aether.other.evt.1.account.alice", "aether.shop.evt.300.account.alice",
     "aether.shop.evt.1.account", "aether.shop.evt.1.account.a.b", "aether.shop.evt.x.account.alice"],
)  # fmt: skip
def test_other_subjects_are_refused(subject: str) -> None:
    with pytest.raises(InvalidCommand):
        NAMES.parse_event(subject)


def test_what_is_known_of_a_subject_is_not_believed_below_another_prefix() -> None:
    names, alice = Names("shop"), ActorId("account", "alice")
    assert names.parse_event(names.event(alice)) == names.parse_command(names.command(alice)) == alice
    for other in (names.command(alice), Names("shoe").event(alice)):  # as long as its own
        with pytest.raises(InvalidCommand):
            names.parse_event(other)


def test_what_was_used_lately_is_kept_and_the_rest_is_bounded() -> None:
    recent: Recent[str, int] = Recent(3)
    for number, key in enumerate("abc"):
        recent.put(key, number)
    recent.put("d", 3)  # the others are old now
    assert recent.get("a") == 0  # and this one is new again
    for number, key in enumerate("efg", 4):
        recent.put(key, number)
    assert [recent.get(key) for key in "bc"] == [None, None]
    assert [recent.get(key) for key in "efg"] == [4, 5, 6]


def test_names_beyond_what_is_kept_are_made_again() -> None:
    names = Names("shop")
    names._tails, names._actors = Recent(4), Recent(4)
    actors = [ActorId("cart", f"k{number}") for number in range(50)]
    for _ in range(2):
        assert [names.parse_command(names.command(actor)) for actor in actors] == actors


def test_the_names_of_as_many_actors_as_a_worker_may_have_are_kept() -> None:
    names = Names("shop")
    names._tails, names._actors = Recent(4), Recent(4)
    subjects = [names.command(ActorId("cart", f"k{number}")) for number in range(50)]
    names.keep(50)
    found = [names.parse_command(subject) for subject in subjects]
    assert all(names.parse_command(subject) is actor for subject, actor in zip(subjects, found, strict=True))

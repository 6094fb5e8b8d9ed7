"""What is needed of a stream and what is not: each setting that matters is refused by name, all else is let be."""

from typing import Any

import pytest

from aether.jetstream.stream_configs import bucket_config, stream_config
from aether.jetstream.stream_settings import FIXED, bucket_needs, covers, differences, stream_needs
from aether.names import Names

NAMES = Names("bank", 8)
STREAM = stream_config(NAMES, 1)
TABLE = bucket_config(NAMES.table, 1, expiring=True)
SNAPSHOTS = bucket_config(NAMES.snapshots, 1, expiring=False)

WRONG_ANYWHERE: list[tuple[str, Any]] = [
    ("storage", "memory"),
    ("retention", "workqueue"),
    ("retention", "interest"),
    ("max_msgs", 1_000),
    ("max_bytes", 1_000_000),
    ("max_age", 3_600_000_000_000),
    ("max_msg_size", 1_000),
    ("max_consumers", 1),
    ("allow_direct", False),
    ("sealed", True),
    ("deny_purge", True),
    ("no_ack", True),
    ("allow_msg_counter", True),
    ("persist_mode", "async"),
    ("mirror", {"name": "OTHER"}),
    ("sources", [{"name": "OTHER"}]),
    ("subject_transform", {"src": ">", "dest": "x.>"}),
    ("subjects", ["other.>"]),
]
WRONG_STREAM: list[tuple[str, Any]] = [
    *WRONG_ANYWHERE,
    ("max_msgs_per_subject", 1),
    ("allow_atomic", False),
    ("republish", None),
    ("republish", {"src": "aether.bank.>", "dest": "elsewhere.aether.bank.>"}),
    ("republish", {"src": "aether.bank.>", "dest": "stored.aether.bank.>", "headers_only": True}),
    ("republish", {"src": "aether.bank.inbox.>", "dest": "stored.aether.bank.inbox.>"}),
]
WRONG_TABLE: list[tuple[str, Any]] = [
    *WRONG_ANYWHERE,
    ("max_msgs_per_subject", 5),
    ("allow_msg_ttl", False),
    ("subject_delete_marker_ttl", 0),
    ("consumer_limits", {"inactive_threshold": 1}),
]
HARMLESS: dict[str, Any] = {
    "compression": "s2",
    "description": "ours",
    "placement": {"tags": ["ssd"]},
    "deny_delete": True,
    "duplicate_window": 120_000_000_000,
    "allow_rollup_hdrs": False,
    "allow_msg_schedules": False,
    "num_replicas": 3,
    "discard": "old",
    "mirror_direct": False,
    "first_seq": 7,
    "metadata": {"owner": "us"},
}


def wrong(config: dict[str, Any], replicas: int = 1) -> list[str]:
    name = config["name"]
    if name == NAMES.stream:
        needs = stream_needs(NAMES, replicas)
    else:
        bucket = name.removeprefix("KV_")
        needs = bucket_needs(bucket, replicas, expiring=bucket == NAMES.table)
    return [one.setting for one in differences(name, config, needs)]


@pytest.mark.parametrize("config", [STREAM, TABLE, SNAPSHOTS], ids=["stream", "table", "snapshots"])
def test_what_this_version_makes_is_as_needed_and_what_does_no_harm_is_let_be(config: dict[str, Any]) -> None:
    assert wrong(config) == []
    assert wrong({**config, **HARMLESS}) == []
    assert wrong({**config, "subjects": [*config["subjects"], "aether.bank.later.>"]}) == []


@pytest.mark.parametrize(
    ("config", "setting", "value"),
    [
        *((STREAM, setting, value) for setting, value in WRONG_STREAM),
        *((TABLE, setting, value) for setting, value in WRONG_TABLE),
        *((SNAPSHOTS, setting, value) for setting, value in WRONG_ANYWHERE),
    ],
    ids=str,
)
def test_a_setting_that_matters_is_named(config: dict[str, Any], setting: str, value: Any) -> None:
    assert wrong({**config, setting: value}) == [setting]


@pytest.mark.parametrize("setting", ["allow_direct", "allow_atomic", "republish", "storage", "subjects"])
def test_a_setting_that_is_not_said_counts_as_its_default(setting: str) -> None:
    config = {key: value for key, value in STREAM.items() if key != setting}
    assert wrong(config) == ([] if setting == "storage" else [setting])


def test_all_differences_are_named_at_once_with_what_is_and_what_is_needed() -> None:
    found = differences(
        "KV_X",
        {**TABLE, "allow_direct": False, "subject_delete_marker_ttl": 0, "storage": "memory"},
        bucket_needs(NAMES.table, 1, expiring=True),
    )
    assert [(one.setting, one.can_be_changed) for one in found] == [
        ("storage", False),
        ("allow_direct", True),
        ("subject_delete_marker_ttl", True),
    ]
    assert str(found[1]) == "KV_X: allow_direct is False, needed is True"
    assert {"storage", "retention", "sealed", "mirror"} <= FIXED


def test_fewer_replicas_than_asked_for_are_refused_and_more_are_welcome() -> None:
    assert wrong({**STREAM, "num_replicas": 1}, replicas=3) == ["num_replicas"]
    assert wrong({**STREAM, "num_replicas": 5}, replicas=3) == []


def test_a_republish_that_covers_the_commits_will_do() -> None:
    for source in (">", "aether.>", "aether.bank.evt.>", "aether.*.evt.>"):
        assert wrong({**STREAM, "republish": {"src": source, "dest": f"stored.{source}"}}) == []


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a.b.>", True),
        ("a.>", "a", False),
        (">", "a.>", True),
        ("a.*", "a.b", True),
        ("a.*", "a.>", False),
        ("a.*.>", "a.b.>", True),
        ("a.b", "a.*", False),
        ("a.b.c", "a.b", False),
        ("a.b", "a.b.c", False),
    ],
)
def test_a_pattern_covers_what_it_matches(pattern: str, subject: str, covered: bool) -> None:
    assert covers(pattern, subject) is covered

"""What Aether needs of each stream and bucket of a namespace, setting by setting, and what of it can be changed later.

Only what matters is compared: what the server may add, what a later version may ask for besides and what does no harm
(more subjects, compression, placement, a description, delete protection) is left alone. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aether.names import STORED_PREFIX, TOLD_PREFIX, Names

Config: TypeAlias = Mapping[str, Any]
"""A stream's configuration as the server gives it; a setting at its default may be missing."""

FIXED = frozenset(
    {
        "storage",
        "retention",
        "sealed",
        "deny_purge",
        "max_consumers",
        "no_ack",
        "allow_msg_counter",
        "persist_mode",
        "mirror",
    }
)
"""Settings that the server changes in no stream that exists, or not back."""


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One setting that is not as needed. `needed` is in words, `value` what to set it to."""

    stream: str
    setting: str
    found: Any
    needed: str
    value: Any

    @property
    def can_be_changed(self) -> bool:
        """Whether an update of the stream can set it."""
        return self.setting not in FIXED

    def __str__(self) -> str:
        return f"{self.stream}: {self.setting} is {self.found!r}, needed is {self.needed}"


@dataclass(frozen=True, slots=True)
class NeededSetting:
    """One setting: its default, what it must be in words and as a value, and the test."""

    setting: str
    default: Any
    needed: str
    value: Any
    holds: Callable[[Any], bool]


def _exactly(setting: str, value: Any, default: Any) -> NeededSetting:
    return NeededSetting(setting, default, repr(value), value, lambda found: bool(found == value))


def _unlimited(setting: str) -> NeededSetting:
    return NeededSetting(setting, -1, "no limit (-1)", -1, lambda found: found in (-1, 0))


def _none(setting: str, default: Any = None) -> NeededSetting:
    return NeededSetting(setting, default, "none", default, lambda found: not found)


COMMON = (
    _exactly("storage", "file", "file"),
    _exactly("retention", "limits", "limits"),
    _unlimited("max_msgs"),
    _unlimited("max_bytes"),
    _unlimited("max_msg_size"),
    _unlimited("max_consumers"),
    _exactly("max_age", 0, 0),
    _exactly("allow_direct", True, False),
    _exactly("sealed", False, False),
    _exactly("deny_purge", False, False),
    _exactly("no_ack", False, False),
    _exactly("allow_msg_counter", False, False),
    NeededSetting("persist_mode", "default", "'default'", "default", lambda found: found in ("", "default")),
    _none("mirror"),
    _none("sources"),
    _none("subject_transform"),
)
"""Of every stream: it keeps what it acknowledged, takes what is sent and can be read from each replica."""


def stream_needs(names: Names, replicas: int) -> tuple[NeededSetting, ...]:
    """Of the stream of commits."""
    return (
        *COMMON,
        _unlimited("max_msgs_per_subject"),
        _exactly("allow_atomic", True, False),
        _subjects([names.events_all]),
        _republish(names),
        _replicas(replicas),
    )


def inbox_needs(names: Names, replicas: int) -> tuple[NeededSetting, ...]:
    """Of the stream of tells."""
    return (
        *COMMON,
        _unlimited("max_msgs_per_subject"),
        _exactly("allow_atomic", True, False),
        _exactly("allow_msg_schedules", True, False),
        _exactly("allow_msg_ttl", True, False),
        NeededSetting("duplicate_window", 0, "at least 120 s", 120_000_000_000, lambda found: found >= 120_000_000_000),
        _subjects([names.tells_all]),
        _replicas(replicas),
    )


def timers_needs(names: Names, replicas: int) -> tuple[NeededSetting, ...]:
    """Of the stream of timers."""
    return (
        *COMMON,
        _unlimited("max_msgs_per_subject"),
        _exactly("allow_msg_schedules", True, False),
        _exactly("allow_msg_ttl", True, False),
        _exactly("allow_rollup_hdrs", True, False),
        _subjects(names.timers_subjects()),
        _repeats(names.fired_all(), TOLD_PREFIX),
        _replicas(replicas),
    )


def bucket_needs(bucket: str, replicas: int, *, expiring: bool) -> tuple[NeededSetting, ...]:
    """Of a bucket; the rows of an `expiring` one have a time to live, and watches see their end."""
    ttl = (
        _exactly("allow_msg_ttl", True, False),
        NeededSetting(
            "subject_delete_marker_ttl", 0, "at least 1 s", 60_000_000_000, lambda found: found >= 1_000_000_000
        ),
        _none("consumer_limits", {}),
    )
    return (
        *COMMON,
        _exactly("max_msgs_per_subject", 1, -1),
        _subjects([f"$KV.{bucket}.>"]),
        _replicas(replicas),
        *(ttl if expiring else ()),
    )


def differences(stream: str, config: Config, needs: tuple[NeededSetting, ...]) -> list[SettingDifference]:
    """What in a stream's configuration is not as needed."""
    found = ((need, _found(config, need)) for need in needs)
    return [
        SettingDifference(stream, need.setting, value, need.needed, _wanted(value, need))
        for need, value in found
        if not need.holds(value)
    ]


def covers(pattern: str, subject: str) -> bool:
    """Whether every subject that matches `subject`, a pattern too, matches `pattern`."""
    ours, theirs = pattern.split("."), subject.split(".")
    for place, token in enumerate(ours):
        if token == ">":
            return len(theirs) > place
        if place >= len(theirs) or theirs[place] == ">" or (token not in ("*", theirs[place])):
            return False
    return len(ours) == len(theirs)


def _found(config: Config, need: NeededSetting) -> Any:
    value = config.get(need.setting)
    return need.default if value is None else value


def _wanted(found: Any, need: NeededSetting) -> Any:
    if need.setting == "subjects":
        return [*found, *(subject for subject in need.value if not any(covers(one, subject) for one in found))]
    return need.value


def _subjects(subjects: list[str]) -> NeededSetting:
    def holds(found: Any) -> bool:
        return all(any(covers(pattern, subject) for pattern in found) for subject in subjects)

    return NeededSetting("subjects", [], f"with {', '.join(subjects)}", subjects, holds)


def _republish(names: Names) -> NeededSetting:
    return _repeats(f"aether.{names.namespace}.>", STORED_PREFIX, names.events_all)


def _repeats(source: str, prefix: str, needed: str = "") -> NeededSetting:
    """The server repeats at least the `needed` subjects (default: all of `source`) under a prefix."""
    value = {"src": source, "dest": f"{prefix}{source}"}

    def holds(found: Any) -> bool:
        if not isinstance(found, Mapping) or found.get("headers_only"):
            return False
        repeats = str(found.get("src", ""))
        return covers(repeats or ">", needed or source) and found.get("dest") == f"{prefix}{repeats or '>'}"

    return NeededSetting("republish", None, f"{source} to {prefix}{source}", value, holds)


def _replicas(replicas: int) -> NeededSetting:
    return NeededSetting("num_replicas", 1, f"at least {replicas}", replicas, lambda found: bool(found >= replicas))

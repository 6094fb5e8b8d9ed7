"""Whether workers of several versions of the model serve side by side, as a deployment has it. Pure.

A member's row says which version of the model its process runs, and that it is about to be replaced. What this worker's
model does not know another one may know then, or this one's successor.
"""

from collections.abc import Iterable

from aether.core.cluster.membership import MemberRow

MODEL_VERSION = "model_version"
"""In a row's `about`: the fingerprint of the model."""

OUTDATED = "outdated"
"""In a row's `about`: fresh code has been loaded, and this process is about to be replaced."""

SHOWN_MAX = 8
"""So many members of each version are named."""


def versions_apart(own: str, own_version: str, outdated: bool, rows: Iterable[tuple[str, MemberRow]]) -> str:
    """Which members have which version, as a text, while not all have the same one or one is to be replaced; else "".

    `own` is this member, with its version and whether it is to be replaced. Members that drain do not count.
    """
    versions: dict[str, list[str]] = {own_version: [f"{own} (this one)"]}
    leaving = [own] if outdated else []
    for name, row in sorted(rows, key=lambda one: one[0]):
        version = row.about.get(MODEL_VERSION)
        if name == own or not row.active or not isinstance(version, str):
            continue
        versions.setdefault(version, []).append(name)
        if row.about.get(OUTDATED):
            leaving.append(name)
    if len(versions) == 1 and not leaving:
        return ""
    parts = [f"model version {version}: {_named(names)}" for version, names in versions.items()]
    if leaving:
        parts.append(f"to be replaced: {_named(leaving)}")
    return "; ".join(parts)


def is_under_way(rows: Iterable[MemberRow]) -> bool:
    """Whether active members have several versions, or one of them is to be replaced."""
    active = [row for row in rows if row.active]
    versions = {row.about.get(MODEL_VERSION) for row in active} - {None}
    return len(versions) > 1 or any(row.about.get(OUTDATED) for row in active)


def _named(names: list[str]) -> str:
    more = len(names) - SHOWN_MAX
    return ", ".join(names[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")

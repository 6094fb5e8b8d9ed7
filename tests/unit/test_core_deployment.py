"""Which versions of the model run side by side, as the members' rows say."""

from aether.core.cluster.deployment import SHOWN_MAX, versions_apart
from aether.core.cluster.membership import MemberRow


def row(version: str | None, *, active: bool = True, outdated: bool = False) -> MemberRow:
    about = {} if version is None else {"model_version": version}
    return MemberRow(node="n", slot=0, incarnation="i", active=active, about={**about, "outdated": outdated})


def test_alone_or_among_equals_nothing_is_under_way() -> None:
    assert versions_apart("a-0", "v1", False, []) == ""
    assert versions_apart("a-0", "v1", False, [("a-0", row("v1")), ("b-0", row("v1"))]) == ""


def test_every_other_version_is_named_with_its_members() -> None:
    told = versions_apart("a-0", "v1", False, [("a-0", row("v1")), ("c-0", row("v2")), ("b-0", row("v2"))])
    assert told == "model version v1: a-0 (this one); model version v2: b-0, c-0"


def test_a_member_that_is_to_be_replaced_is_a_deployment_before_any_fresh_code_has_joined() -> None:
    assert "to be replaced: a-0" in versions_apart("a-0", "v1", True, [("b-0", row("v1"))])
    assert "to be replaced: b-0" in versions_apart("a-0", "v1", False, [("b-0", row("v1", outdated=True))])


def test_members_that_drain_or_say_no_version_do_not_count() -> None:
    assert versions_apart("a-0", "v1", False, [("b-0", row("v2", active=False)), ("c-0", row(None))]) == ""


def test_our_own_row_may_be_of_an_earlier_process_in_our_place() -> None:
    assert versions_apart("a-0", "v2", False, [("a-0", row("v1"))]) == ""


def test_many_members_are_counted() -> None:
    rows = [(f"b-{n:03}", row("v2")) for n in range(SHOWN_MAX + 3)]
    assert "and 3 more" in versions_apart("a-0", "v1", False, rows)

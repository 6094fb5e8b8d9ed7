"""What one turn makes of its commands."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from aether.core.actor.commit_draft import CommitDraft, EmittedEvent, committed_commands
from aether.ids import ActorId, Position, Version
from aether.wire import Command, decode_commit, encode_answer

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ALICE = ActorId("account", "alice")


def command(name: str) -> Command:
    return Command(id=name, command="deposit", args=Raw(b"{}"), deadline=NOW)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12), st.integers(0, 1000))
def test_a_turn_stores_what_succeeded_once_and_contiguous(runs: list[tuple[int, bool]], start: int) -> None:
    draft: CommitDraft[str] = CommitDraft("/bank/account/alice", Version(start))
    wanted = []
    for n, (emits, succeeds) in enumerate(runs):
        for e in range(emits):
            draft.emit(EmittedEvent("Deposited", 1, b'{"amount":%d}' % e))
        if succeeds:
            chunk = draft.encode(command(str(n)), b"%d" % n, NOW) if emits else b""
            draft.accept(f"waiting {n}", b"%d" % n, chunk)
            wanted += [(str(n), e) for e in range(emits)]
        else:
            assert draft.discard() == emits
            draft.refuse(f"waiting {n}", b"{}")
    assert draft.version == start + len(wanted)
    assert [reply.pending for reply in draft.replies] == [f"waiting {n}" for n in range(len(runs))]
    assert draft.has_events == bool(wanted)
    if wanted:
        payload = draft.payload()
        assert len(payload) == draft.bytes
        events = decode_commit(payload, ALICE, Position(9))
        assert [(e.commandid, bytes(e.data)) for e in events] == [(c, b'{"amount":%d}' % e) for c, e in wanted]
        assert [e.version for e in events] == list(range(start + 1, start + 1 + len(wanted)))
        remembered = {known.command_id: known.answer for known in committed_commands(events, Position(9), 0.0, 5.0)}
        for reply in draft.replies:
            if reply.stored and reply.reply is not None:
                said = encode_answer(reply.reply, reply.version, 9)
                assert remembered.pop(reply.reply.decode()) == said
        assert not remembered


def test_an_event_names_what_caused_its_command_or_else_the_command() -> None:
    for cause, shown in (("", "c-1"), ("c-0", "c-0")):
        draft: CommitDraft[str] = CommitDraft("/bank/account/alice", Version(0))
        draft.emit(EmittedEvent("Deposited", 1, b"{}"))
        sent = Command(id="c-1", command="deposit", deadline=NOW, causationid=cause)
        draft.accept("waiting", b"1", draft.encode(sent, b"1", NOW))
        [event] = decode_commit(draft.payload(), ALICE, Position(1))
        assert (event.commandid, event.causationid) == ("c-1", shown)

"""The law of the fold: however a state came about, it is the fold of its history."""

from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from aether.ids import ActorId
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorType, State
from aether.model.handlers import event
from aether.model.model import Model


@dataclass(frozen=True)
class Added:
    """Money of someone."""

    who: str
    amount: Decimal


@dataclass(frozen=True)
class Cleared:
    """Someone went."""

    who: str


class Scalars(Actor):
    """State that a checkpoint can undo."""

    total: Decimal = Decimal(0)
    last: str | None = None

    @event
    def added(self, e: Added) -> None:
        """Apply."""
        self.total += e.amount
        self.last = e.who

    @event
    def cleared(self, e: Cleared) -> None:
        """Apply."""
        self.last = e.who


class Containers(Actor):
    """State that only a replay can undo."""

    by_who: dict[str, list[Decimal]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @event
    def anything(self, e: Added | Cleared) -> None:
        """Apply."""
        if isinstance(e, Added):
            self.by_who.setdefault(e.who, []).append(e.amount)
        else:
            self.by_who.pop(e.who, None)
            self.gone.add(e.who)


def decide(state: tuple[str, ...], command: Added) -> list[Added]:
    """Not used."""
    return [command]


def evolve(state: tuple[str, ...], event: Added | Cleared) -> tuple[str, ...]:
    """Who was there, in order."""
    return (*state, event.who) if isinstance(event, Added) else tuple(who for who in state if who != event.who)


MODEL = Model("laws", actors=[Scalars, Containers, Decider((), decide, evolve, kind="names")])

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
amounts = st.decimals(min_value=-1000, max_value=1000, places=2)
histories = st.lists(st.builds(Added, names, amounts) | st.builds(Cleared, names), max_size=12)
kinds = st.sampled_from(list(MODEL.actor_types.values()))


def fold(kind: ActorType, state: State, events: list[tuple[str, bytes]]) -> State:
    """The state after stored events."""
    for name, raw in events:
        state = kind.evolve(state, kind.events[name].decode(raw))
    return state


@given(kinds, histories, st.integers(0, 12))
def test_live_replayed_and_restored_states_are_equal(kind: ActorType, history: list[object], cut: int) -> None:
    actor_id = ActorId(kind.kind, "x")
    live, stored = kind.initial(actor_id), []
    for happened in history:
        event_type = kind.event_type_of(happened)
        raw, same = event_type.encode_checked(happened)
        live = kind.evolve(live, same)
        stored.append((event_type.name, raw))
    wanted = kind.state_values(live)

    replayed = fold(kind, kind.initial(actor_id), stored)
    assert kind.state_values(replayed) == wanted

    snapshot = kind.encode_state(fold(kind, kind.initial(actor_id), stored[:cut]))
    from_snapshot = fold(kind, kind.decode_state(snapshot, actor_id), stored[cut:])
    assert kind.state_values(from_snapshot) == wanted


@given(kinds, histories, histories)
def test_a_checkpoint_undoes_whatever_came_after_it(kind: ActorType, before: list[object], after: list[object]) -> None:
    state = kind.initial(ActorId(kind.kind, "x"))
    for happened in before:
        state = kind.evolve(state, happened)
    wanted, checkpoint = kind.encode_state(state), kind.checkpoint(state)
    assert (checkpoint is None) == (kind.kind == "containers")
    for happened in after:
        state = kind.evolve(state, happened)
    if checkpoint is not None:
        assert kind.encode_state(kind.restore(state, checkpoint)) == wanted

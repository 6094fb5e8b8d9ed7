"""One step of the supervisor under way: the state and the effects so far, and the changes that many decisions make."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aether.supervisor.messages import status
from aether.supervisor.state import Effect, Notify, Say, Slot, State, SupervisorConfig, Terminate


@dataclass(slots=True)
class Step:
    """The state as it is now in this step, and what is to be done, in order. `now_s` is the time of the whole step."""

    state: State
    config: SupervisorConfig
    now_s: float
    effects: list[Effect] = field(default_factory=list)

    def stop(self, slot: Slot) -> None:
        """Ask the slot's worker to end."""
        assert slot.pid is not None
        self.put(replace(slot, stopping_at_s=self.now_s))
        self.effects.append(Terminate(slot.pid))

    def slot_of(self, pid: int) -> Slot | None:
        """The slot whose worker has this process id."""
        return next((slot for slot in self.state.slots if slot.pid == pid), None)

    def retire(self, slot: Slot) -> None:
        """Retire the slot, and its worker when there is one."""
        if slot.alive:
            self.put(replace(slot, retired=True, temporary=False))
        else:
            self.remove(slot)

    def add(self, slot: Slot) -> None:
        """Have one slot more."""
        slots = (*self.state.slots, slot)
        self.state = replace(self.state, slots=tuple(sorted(slots, key=lambda each: each.number)))

    def remove(self, slot: Slot) -> None:
        """Have this slot no more."""
        self.state = replace(self.state, slots=tuple(s for s in self.state.slots if s.number != slot.number))

    def put(self, slot: Slot) -> None:
        """Have this slot in place of the one of its number."""
        self.each_slot(lambda old: slot if old.number == slot.number else old)

    def each_slot(self, change: Callable[[Slot], Slot]) -> None:
        """Change every slot."""
        self.state = replace(self.state, slots=tuple(change(slot) for slot in self.state.slots))

    def say(self, text: str, level: str = "INFO") -> None:
        """Say something to the operator."""
        self.effects.append(Say(text, level))

    def notify(self, *lines: str) -> None:
        """Send systemd these lines and the pool's status."""
        self.state = replace(self.state, status=status(self.state))
        self.effects.append(Notify("\n".join((*lines, f"STATUS={self.state.status}"))))

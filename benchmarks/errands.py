"""An actor that has things done later, by tasks and schedules, and counts what came of each in its history."""

from dataclasses import dataclass
from datetime import datetime

from aether import Actor, At, Model, command, event, task

MODEL = "benchmarks.errands:model"


@dataclass(frozen=True, slots=True)
class Asked:
    """Something is to be done."""

    number: int


@dataclass(frozen=True, slots=True)
class Done:
    """It was done."""

    number: int


@task()
async def same(number: int) -> int:
    """The number itself."""
    return number


@task()
def same_in_a_thread(number: int) -> int:
    """The number itself, from a thread of the worker."""
    return number


class Errand(Actor):
    """Has something done, and is told when it was."""

    open: int = 0

    @command
    def note(self, number: int) -> None:
        """Do nothing but note it."""
        self.emit(Asked(number))

    @command
    def start(self, number: int) -> None:
        """By a task whose function is a coroutine."""
        self.emit(Asked(number))
        self.start_task(same(number), then=Errand.finish)

    @command
    def start_in_a_thread(self, number: int) -> None:
        """By a task whose function is a plain one."""
        self.emit(Asked(number))
        self.start_task(same_in_a_thread(number), then=Errand.finish)

    @command
    def set_at(self, due: datetime, number: int) -> None:
        """By a schedule."""
        self.emit(Asked(number))
        self.schedule(f"n{number}", At(due), Errand.finish, self.id.key, number)

    @command
    def finish(self, number: int) -> None:
        """It was done."""
        self.emit(Done(number))

    @event
    def asked(self, e: Asked) -> None:
        """One more."""
        self.open += 1

    @event
    def done(self, e: Done) -> None:
        """One less."""
        self.open -= 1


model = Model("errands", actors=[Errand], tasks=[same, same_in_a_thread])

"""Schedules, as type checkers see them: the arguments are those of the command."""

from datetime import UTC, datetime

from aether import Actor, After, At, Cron, Every, command


class Lamp(Actor):
    """Is switched later."""

    @command
    def switch(self, on: bool, level: int = 10) -> None:
        """Nothing."""

    @command
    def later(self) -> None:
        """All that a schedule takes."""
        self.schedule("a", After(minutes=15), Lamp.switch, self.id.key, True)
        self.schedule("b", At(datetime(2030, 1, 1, tzinfo=UTC)), Lamp.switch, "hall", on=False, level=3)
        self.schedule("c", Every(hours=1, catch_up="all"), Lamp.switch, "hall", True, 5)
        self.schedule("d", Cron("0 0 9 * * *", "Europe/Berlin", "skip"), Lamp.switch, "hall", True)
        self.cancel_schedule("a")

    @command
    def wrong(self) -> None:
        """What it does not."""
        self.schedule("a", After(minutes=15), Lamp.switch, "hall")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        self.schedule("a", After(minutes=15), Lamp.switch, "hall", "yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.schedule("a", 15, Lamp.switch, "hall", True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.schedule("a", Every(hours=1, catch_up="none"), Lamp.switch, "hall", True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.cancel_schedule(name="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

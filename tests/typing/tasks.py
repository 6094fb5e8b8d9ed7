"""Tasks: calls and what becomes of their results are typed in both checkers."""

from typing import assert_type

from aether import Actor, Model, Retry, TaskCall, TaskContext, TaskFailed, command, query, task


@task
async def charge(context: TaskContext, account: str, amount: int = 1) -> str:
    """An asynchronous one that takes its context."""
    assert_type(context.attempt, int)
    return f"{account} {amount}"


@task(retry=Retry(first_s=1, cap_s=60, attempts=8), timeout_s=30, max_running=4)
def resize(picture: bytes, *, width: int) -> bytes:
    """A plain one with options."""
    return picture[:width]


@task(timeout_s=5)
async def mail(to: str) -> None:
    """One that gives nothing."""


@task
def ping(context: TaskContext) -> int:
    """A plain one that takes its context and nothing else."""
    return context.attempt


class Booking(Actor):
    """Starts them."""

    @command
    def pay(self) -> str:
        """Every form."""
        assert_type(charge("alice", amount=2), TaskCall[str])
        assert_type(resize(b"", width=3), TaskCall[bytes])
        assert_type(mail("alice"), TaskCall[None])
        assert_type(ping(), TaskCall[int])
        assert_type(self.start_task(charge("alice"), then=Booking.paid, failed=Booking.failed), str)
        self.start_task(mail("alice"))
        self.start_task(mail("alice"), then=Booking.mailed)
        self.start_task(resize(b"", width=3), then=Booking.resized)
        self.cancel_task("one")
        return self.start_task(ping(), failed=Booking.failed)

    @command
    def pay_wrong(self) -> None:
        """What both refuse."""
        charge(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        charge()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        resize(b"", height=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        self.start_task(charge)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.start_task(charge("alice"), then=Booking.resized)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.start_task(charge("alice"), failed=Booking.paid)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.start_task(charge("alice"), then=Other.paid)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.cancel_task(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    @command
    def paid(self, receipt: str) -> None: ...

    @command
    def resized(self, picture: bytes, note: str = "") -> None: ...

    @command
    def mailed(self, nothing: None) -> None: ...

    @command
    async def failed(self, failed: TaskFailed) -> None:
        """What it failed with."""
        assert_type((failed.message, failed.error_type, failed.attempts), tuple[str, str, int])

    @query
    def nothing(self) -> None: ...


class Other(Actor):
    """Another actor."""

    @command
    def paid(self, receipt: str) -> None: ...


model = Model("typed-tasks", actors=[Booking, Other], tasks=[charge, resize, mail, ping])

"""What is read of a trace: calls below the root, when they began and ended, and refusal of what is not known."""

from pathlib import Path

import pytest

from tests.powercut.trace import (
    AllSynced,
    Call,
    DirectoryMade,
    NotUnderstood,
    Opened,
    Removed,
    Renamed,
    Resized,
    Synced,
    Written,
    read_trace,
)

ROOT = Path("/pool")


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def quoted(text: str) -> str:
    return f'"{hexed(text)}"'


def fd(number: int, path: str) -> str:
    return f"{number}<{hexed(path)}>"


def read(*lines: str) -> list[Call]:
    return read_trace([f"{line}\n" for line in lines], ROOT)


def opened(number: int, path: str, flags: str, process: int = 7) -> str:
    return f"{process} openat(AT_FDCWD<{hexed('/')}>, {quoted(path)}, {flags}, 0640) = {fd(number, path)}"


def test_every_kind_of_call() -> None:
    assert read(
        f"7 mkdirat(AT_FDCWD<{hexed('/')}>, {quoted('/pool/d')}, 0750) = 0",
        opened(3, "/pool/d/a", "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC"),
        f"7 write({fd(3, '/pool/d/a')}, {quoted('héllo')}, 6) = 6",
        f"7 write({fd(3, '/pool/d/a')}, {quoted('more')}, 4) = 2",
        f"7 pwrite64({fd(3, '/pool/d/a')}, {quoted('x')}, 1, 4096) = 1",
        f"7 writev({fd(3, '/pool/d/a')}, [{{iov_base={quoted('y')}, iov_len=1}}, {{iov_base={quoted('z')}, "
        "iov_len=1}], 2) = 2",
        f"7 ftruncate({fd(3, '/pool/d/a')}, 5) = 0",
        f"7 fdatasync({fd(3, '/pool/d/a')}) = 0",
        f"7 rename({quoted('/pool/d/a')}, {quoted('/pool/d/b')}) = 0",
        f"7 fsync({fd(5, '/pool/d')}) = 0",
        f"7 unlinkat(AT_FDCWD<{hexed('/')}>, {quoted('/pool/d/b')}, 0) = 0",
        f"7 syncfs({fd(5, '/pool/d')}) = 0",
        "7 sync() = 0",
    ) == [
        DirectoryMade(begin=0, end=0, path="d"),
        Opened(begin=1, end=1, path="d/a", creates=True, truncates=True),
        Written(begin=2, end=2, path="d/a", offset=0, content="héllo".encode()),
        Written(begin=3, end=3, path="d/a", offset=6, content=b"mo"),
        Written(begin=4, end=4, path="d/a", offset=4096, content=b"x"),
        Written(begin=5, end=5, path="d/a", offset=8, content=b"yz"),
        Resized(begin=6, end=6, path="d/a", size=5),
        Synced(begin=7, end=7, path="d/a"),
        Renamed(begin=8, end=8, path="d/a", to="d/b"),
        Synced(begin=9, end=9, path="d"),
        Removed(begin=10, end=10, path="d/b"),
        AllSynced(begin=11, end=11),
        AllSynced(begin=12, end=12),
    ]


def test_calls_of_several_threads_are_put_together_again() -> None:
    assert read(
        opened(3, "/pool/a", "O_RDWR|O_CREAT"),
        f"8 fsync({fd(3, '/pool/a')} <unfinished ...>",
        f"7 pwrite64({fd(3, '/pool/a')}, {quoted('x')}, 1, 0 <unfinished ...>",
        "7 <... pwrite64 resumed>) = 1",
        "9 <... futex resumed>) = 0",
        "8 <... fsync resumed>) = 0",
    )[1:] == [
        Synced(begin=1, end=5, path="a"),
        Written(begin=2, end=3, path="a", offset=0, content=b"x"),
    ]


def test_append_is_at_the_end_and_o_sync_is_known() -> None:
    assert read(
        opened(3, "/pool/log", "O_WRONLY|O_CREAT|O_APPEND"),
        opened(4, "/pool/meta.tmp", "O_WRONLY|O_CREAT|O_TRUNC|O_SYNC"),
        f"9 write({fd(2, '/pool/log')}, {quoted('x')}, 1) = 1",
        f"7 write({fd(4, '/pool/meta.tmp')}, {quoted('y')}, 1) = 1",
    )[2:] == [
        Written(begin=2, end=2, path="log", offset=None, content=b"x"),
        Written(begin=3, end=3, path="meta.tmp", offset=0, content=b"y", synced=True),
    ]


def test_what_failed_is_elsewhere_or_removed_does_not_count() -> None:
    assert (
        read(
            f"7 mkdir({quoted('/pool/d')}, 0777) = -1 EEXIST (File exists)",
            opened(3, "/elsewhere/a", "O_WRONLY|O_CREAT"),
            opened(3, "/pool/a", "O_RDONLY"),
            f"7 fsync({fd(3, '/pool/gone')}(deleted)) = 0",
            "7 +++ exited with 0 +++",
        )
        == []
    )


def test_a_sync_in_which_its_process_was_killed_is_none() -> None:
    assert (
        read(
            opened(3, "/pool/a", "O_RDONLY"),
            f"7 fdatasync({fd(3, '/pool/a')} <unfinished ...>",
            "7 +++ killed by SIGKILL +++",
        )
        == []
    )


def test_a_change_in_which_its_process_was_killed_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="killed"):
        read(
            opened(3, "/pool/a", "O_RDWR|O_CREAT"),
            f"7 pwrite64({fd(3, '/pool/a')}, {quoted('xy')}, 2, 0 <unfinished ...>",
            "7 +++ killed by SIGKILL +++",
        )


@pytest.mark.parametrize(
    "line",
    [
        f"7 link({quoted('/pool/a')}, {quoted('/pool/b')}) = 0",
        f"7 fallocate({fd(3, '/pool/a')}, 0, 0, 4096) = 0",
        f"7 rename({quoted('/elsewhere/a')}, {quoted('/pool/a')}) = 0",
        f"7 renameat2(AT_FDCWD, {quoted('/pool/a')}, AT_FDCWD, {quoted('/pool/b')}, RENAME_EXCHANGE) = 0",
        f"7 unlinkat({fd(4, '/pool/')}, {quoted('a')}, 0) = 0",
        f"7 write({fd(3, '/pool/never-opened')}, {quoted('x')}, 1) = 1",
        f"7 write({fd(3, '/pool/a')}, {quoted('x')}..., 100) = 100",
    ],
)
def test_changes_that_are_not_known_are_refused(line: str) -> None:
    with pytest.raises(NotUnderstood):
        read(opened(3, "/pool/a", "O_WRONLY|O_CREAT"), line)

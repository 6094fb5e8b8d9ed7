"""The page of exit codes."""

from aether.cli import exits
from aether.config import EXIT_CANNOT_BOOT, EXIT_CONFIGURATION, EXIT_DRAINED, EXIT_NOT_DRAINED, EXIT_SYNC_FAILED
from scripts.reference.text import document, table

RUN = (
    (EXIT_DRAINED, "drained: everything that was taken was answered, and everything handed over"),
    (EXIT_NOT_DRAINED, "ended before it had drained, or interrupted while it started"),
    (EXIT_CANNOT_BOOT, "cannot boot: no server, or workers that end again and again. Trying again later may help"),
    (EXIT_CONFIGURATION, "the configuration cannot work, or the model does not import. Trying again does not help"),
    (
        EXIT_SYNC_FAILED,
        "the disk has failed a sync, or another server is in the place of the one whose files are synced",
    ),
)

OTHERS = (
    (exits.EXIT_DONE, "done, or answered"),
    (exits.EXIT_REFUSED, "rejected, or failed in the actor"),
    (exits.EXIT_BAD_INPUT, "bad input: unknown kind or command, wrong arguments or options"),
    (exits.EXIT_NO_ANSWER, "unavailable, overloaded, or past the deadline"),
    (EXIT_CONFIGURATION, "configuration: a model that does not import, a setting that cannot work"),
    (exits.EXIT_NOT_WRITTEN, "done, and the output cannot be written: a full disk"),
    (exits.EXIT_INTERRUPTED, "interrupted"),
    (exits.EXIT_PIPE_CLOSED, "the reader of stdout has gone"),
)


def page() -> str:
    """The page."""
    return document(
        "Exit codes",
        "## `aether run`",
        table(("code", "means"), [(str(code), text) for code, text in RUN]),
        "Under systemd, restart on 1 and 3, and not on 4; on 5 with the embedded server only: see "
        "[systemd](../systemd.md).",
        "## Other commands",
        table(("code", "means"), [(str(code), text) for code, text in OTHERS]),
        "Which error gives which code is in [errors](errors.md). `aether repair` exits with 1 when something is left "
        "that cannot be changed.",
    )

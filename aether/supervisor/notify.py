"""systemd's notification protocol (sd_notify(3)): one datagram a message, best effort, never an error.

Stateless; the supervisor is its one caller.
"""

import os
import socket


def notify(address: str, text: str) -> bool:
    """Send `text` to the socket named by NOTIFY_SOCKET (`@` for the abstract namespace); whether it was sent."""
    if not address:
        return False
    path = "\0" + address[1:] if address.startswith("@") else os.fspath(address)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(text.encode(), path)
    except OSError:
        return False
    return True


def watchdog_s(microseconds: str, watched_pid: str, own_pid: int) -> float | None:
    """How often to send WATCHDOG=1, from WATCHDOG_USEC and WATCHDOG_PID: half the time systemd allows."""
    if not microseconds.isdigit() or int(microseconds) == 0 or watched_pid not in ("", str(own_pid)):
        return None
    return int(microseconds) / 2_000_000

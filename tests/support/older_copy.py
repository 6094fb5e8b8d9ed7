"""An older copy of one stream's files, as a backup of a volume has them, for a server that a test may kill."""

import shutil
import tempfile
from pathlib import Path

from tests.support.nats_server import NatsServer


class OlderCopy:
    """Takes a copy of a stream, and puts it back; the server is killed for it and started again. Close it."""

    def __init__(self, server: NatsServer, stream: str) -> None:
        self._server = server
        self._stream = server.store / "jetstream" / "$G" / "streams" / stream
        self._directory = tempfile.TemporaryDirectory(prefix="aether-copy-")
        self._copy = Path(self._directory.name) / stream

    def take(self) -> None:
        """Have a copy of the stream as it is now."""
        self._server.kill()
        shutil.copytree(self._stream, self._copy)
        self._server.start()

    def put_back(self) -> None:
        """Have the stream as it was."""
        self._server.kill()
        self.replace()
        self._server.start()

    def replace(self) -> None:
        """Put it back while the server is down."""
        shutil.rmtree(self._stream)
        shutil.copytree(self._copy, self._stream)

    def close(self) -> None:
        """Remove the copy."""
        self._directory.cleanup()

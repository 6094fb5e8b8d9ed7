"""What a server may ask of who connects: an operator's account and user as signed tokens, and a certificate."""

import base64
import json
import os
import subprocess
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

LIMITS = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}


class _Key:
    def __init__(self, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def token(self, subject: "_Key", name: str, claims: dict[str, object]) -> str:
        """A JSON web token in which this key says something of another."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        nats = {**claims, "version": 2}
        body = {"jti": name, "iat": 1, "iss": self.public, "sub": subject.public, "name": name, "nats": nats}
        signed = f"{_url64(json.dumps(head).encode())}.{_url64(json.dumps(body).encode())}"
        return f"{signed}.{_url64(self._pair.sign(signed.encode()))}"


def operator_config_and_user(credentials: Path) -> str:
    """A server's configuration of one operator and one account; writes the file of a user of it."""
    operator, account, user = (
        _Key(prefix) for prefix in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    )
    of_operator = operator.token(operator, "operator", {"type": "operator"})
    of_account = operator.token(account, "account", {"type": "account", "limits": LIMITS})
    of_user = account.token(user, "user", {"type": "user", "subs": -1, "data": -1, "payload": -1})
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return f'operator: "{of_operator}"\nresolver: MEMORY\nresolver_preload: {{ {account.public}: "{of_account}" }}\n'


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for loopback that is its own authority, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=aether",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""What the tests of the systemd units run: the install script into a directory, and systemd-analyze, which needs no
running systemd."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]


def systemd_analyze(units: Path, *arguments: str, files: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """Run it where `units` come before those of the system. Where it is missing the test fails in continuous
    integration and is skipped elsewhere."""
    program = shutil.which("systemd-analyze")
    if program is None:
        missing = "systemd-analyze is missing: install the package `systemd` (on Debian: apt-get install systemd)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
    return subprocess.run([program, *arguments, *files], env=environment, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, timeout=60, check=False)  # fmt: skip


def verify(units: Path) -> tuple[int, str]:
    """Exit status and words of `systemd-analyze verify` about all units of a directory."""
    files = sorted(path for path in units.iterdir() if path.suffix in (".service", ".target"))
    assert files
    verified = systemd_analyze(units, "verify", "--man=no", files=files)
    return verified.returncode, verified.stdout


def install(destination: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the install script with everything below `destination`."""
    command = [str(CLONE / "scripts/systemd/install"), *arguments]
    environment = {**os.environ, "DESTDIR": str(destination)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each setting of a unit, in order; sections do not matter to us."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found

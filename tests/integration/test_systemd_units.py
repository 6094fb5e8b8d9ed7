"""The systemd units as they are installed for this clone: systemd accepts them, and they say what the programs do."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from aether.config import EXIT_CONFIGURATION, EXIT_SYNC_FAILED
from tests.support.nats_server import nats_server_binary
from tests.support.systemd import CLONE, install, settings, systemd_analyze, verify

EXPOSURE_MAX = 2.0
"""Of 10, by `systemd-analyze security`; it calls everything below 3 OK."""

SERVICES = ["aether.service", "aether-nats.service"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the install script put everything."""
    destination = tmp_path_factory.mktemp("installed")
    installed = install(destination)
    assert installed.returncode == 0, installed.stderr
    return destination


@pytest.fixture(scope="module")
def units(root: Path) -> Path:
    return root / "etc/systemd/system"


def test_systemd_accepts_the_units_without_a_word(units: Path) -> None:
    assert verify(units) == (0, "")


@pytest.mark.parametrize(
    ("setting", "mistaken"),
    [("WatchdogSec=", "WatchDogSec="), ("Type=notify", "Type=notified"), ("/.venv/bin/aether run", "/no/such run")],
)
def test_the_check_does_find_mistakes(root: Path, units: Path, tmp_path: Path, setting: str, mistaken: str) -> None:
    text = (units / "aether.service").read_text()
    assert setting in text
    (tmp_path / "aether.service").write_text(text.replace(setting, mistaken))
    assert verify(tmp_path) != (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_the_services_are_exposed_to_little(units: Path, service: str) -> None:
    judged = systemd_analyze(units, "security", "--offline=true", "--no-pager", files=[units / service])
    overall = re.search(rf"Overall exposure level for {re.escape(service)}: (\d+\.\d+)", judged.stdout)
    assert overall, judged.stdout
    assert float(overall[1]) < EXPOSURE_MAX, judged.stdout


def test_a_service_without_hardening_would_be_found(units: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.service").write_text("[Service]\nExecStart=/bin/true\n")
    judged = systemd_analyze(units, "security", "--offline=true", "--threshold=20", files=[tmp_path / "plain.service"])
    assert judged.returncode != 0


def test_the_command_of_the_unit_is_one_that_aether_takes(root: Path, units: Path, tmp_path: Path) -> None:
    command = settings(units / "aether.service")["ExecStart"][0].replace("%S", str(tmp_path))
    for name, value in {
        "${AETHER_MODEL}": "no_such_model:model",
        "${AETHER_WORKERS}": "2",
        "$AETHER_OPTIONS": "",
    }.items():
        assert name in command
        command = command.replace(name, value)
    ended = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "no_such_model" in ended.stderr) == (EXIT_CONFIGURATION, True), ended.stderr


def test_the_environment_file_names_a_model_that_loads_and_settings_that_exist(root: Path, units: Path) -> None:
    lines = (root / "etc/aether/aether.env").read_text().splitlines()
    given = dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))
    command = [str(CLONE / ".venv/bin/python"), "-P", "-m", "aether.supervisor", given["AETHER_MODEL"], "--check"]
    checked = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    commented = {line[1:].partition("=")[0] for line in lines if re.match(r"#AETHER_\w+=", line)}
    read = "".join(path.read_text() for path in (CLONE / "aether/config.py", CLONE / "aether/supervisor/run.py"))
    read += (units / "aether.service").read_text()
    assert [name for name in sorted({*given, *commented}) if name not in read] == []


def test_the_unit_waits_for_a_drain_and_gives_up_where_trying_again_cannot_help(units: Path) -> None:
    unit = settings(units / "aether.service")
    drain = re.search(r"--timeout (\d+)", unit["ExecStart"][0])
    assert drain
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) >= int(drain[1]) + 10
    assert unit["RestartPreventExitStatus"] == [f"{EXIT_CONFIGURATION} {EXIT_SYNC_FAILED}"]
    assert (unit["Type"], unit["NotifyAccess"], unit["KillMode"]) == (["notify"], ["main"], ["mixed"])


def test_nats_server_accepts_its_configuration_and_keeps_its_data_where_the_unit_lets_it(
    root: Path, units: Path, tmp_path: Path
) -> None:
    configuration = (root / "etc/aether/nats-server.conf").read_text()
    directory = f"/var/lib/{settings(units / 'aether-nats.service')['StateDirectory'][0]}"
    assert f'store_dir: "{directory}"' in configuration
    variables = (root / "etc/aether/aether.env").read_text().splitlines()
    assert {f"AETHER_NATS_STORE={directory}", "AETHER_SYNC=barrier"} <= set(variables), "else the server has to sync"
    (tmp_path / "nats.conf").write_text(configuration.replace(directory, str(tmp_path)))
    tried = subprocess.run([nats_server_binary(), "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True,
                           timeout=60, check=False)  # fmt: skip
    assert tried.returncode == 0, tried.stderr
    port = re.search(r'listen: "127\.0\.0\.1:(\d+)"', configuration)
    assert port
    for unit in SERVICES:
        assert re.search(rf"127\.0\.0\.1[:/]{port[1]}\b", (units / unit).read_text())


def test_the_server_begins_with_what_the_disk_has_and_not_with_what_the_kernel_keeps_of_it(
    units: Path, tmp_path: Path
) -> None:
    """After a sync that failed the two may differ."""
    (before,) = settings(units / "aether-nats.service")["ExecStartPre"]
    store, programs, told = tmp_path / "store", tmp_path / "programs", tmp_path / "told"
    block = store / "jetstream/$G/streams/A/msgs/1.blk"
    block.parent.mkdir(parents=True)
    block.touch()
    programs.mkdir()
    (programs / "dd").write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    (programs / "dd").chmod(0o755)
    command = shlex.split(before.removeprefix("-").replace("/var/lib/aether-nats", str(store)))
    subprocess.run(command, env={"PATH": f"{programs}:/usr/bin:/bin"}, timeout=60, check=True)
    assert told.read_text().split() == [f"if={block}", "iflag=nocache", "count=0", "status=none"]


def test_the_services_run_as_the_user_that_the_installation_makes_and_a_model_cannot_write_to_the_store(
    root: Path, units: Path
) -> None:
    made = re.findall(r"^u (\S+) ", (root / "etc/sysusers.d/aether.conf").read_text(), re.MULTILINE)
    workers, server = (settings(units / service) for service in SERVICES)
    assert [*workers["User"], *server["User"]] == made * 2, "workers open the files of the server"
    assert workers["ProtectSystem"] == ["strict"]
    assert set(workers["StateDirectory"]).isdisjoint(server["StateDirectory"])
    assert "ReadWritePaths" not in workers


def test_everything_names_this_clone_and_secrets_are_for_root_alone(root: Path, units: Path) -> None:
    for unit in SERVICES:
        assert "/opt/aether" not in (units / unit).read_text()
        assert f"={CLONE}/.venv/bin/" in (units / unit).read_text()
    assert settings(units / "aether.service")["WorkingDirectory"] == [str(CLONE)]
    assert (root / "etc/aether/aether.env").stat().st_mode & 0o777 == 0o600


def test_an_application_of_its_own_is_run_from_its_directory_with_its_own_programs(tmp_path: Path) -> None:
    programs = tmp_path / "bank" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("aether", "nats-server"):
        (programs / name).symlink_to(CLONE / ".venv/bin" / name)
    assert install(tmp_path / "root", str(tmp_path / "bank")).returncode == 0
    units = tmp_path / "root/etc/systemd/system"
    assert verify(units) == (0, "")
    assert settings(units / "aether.service")["WorkingDirectory"] == [str(tmp_path / "bank")]
    for unit in SERVICES:
        assert settings(units / unit)["ExecStart"][0].startswith(f"{programs}/")


def test_a_second_installation_keeps_what_was_edited(tmp_path: Path) -> None:
    assert install(tmp_path).returncode == 0
    edited = [tmp_path / "etc/aether/aether.env", tmp_path / "etc/aether/nats-server.conf"]
    for path in edited:
        path.write_text("# edited\n")
    (tmp_path / "etc/systemd/system/aether.service").write_text("")
    assert install(tmp_path).returncode == 0
    assert [path.read_text() for path in edited] == ["# edited\n"] * 2
    assert "ExecStart" in settings(tmp_path / "etc/systemd/system/aether.service")


def test_an_application_that_cannot_work_is_refused_and_nothing_is_installed(tmp_path: Path) -> None:
    without_aether, with_space = tmp_path / "application", tmp_path / "an application"
    without_aether.mkdir()
    with_space.symlink_to(CLONE)
    for application, reason in ((without_aether, "install 'aether"), (with_space, "cannot name the path")):
        refused = install(tmp_path / "root", str(application))
        assert refused.returncode == 1
        assert reason in refused.stderr
    assert not (tmp_path / "root").exists()
    assert install(tmp_path / "root", "--help").returncode == 2

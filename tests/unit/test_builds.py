"""How Aether is built for others: workflows, wheels and hooks name what there is, and agree with one another."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

CLONE = Path(__file__).parents[2]
WORKFLOWS = sorted((CLONE / ".github" / "workflows").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((CLONE / "pyproject.toml").read_text())
SCRIPT = re.compile(r"(?<![\w/.])((?:scripts|\.ci)/[\w./-]+)")


def loaded(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((CLONE / name).read_text())
    assert isinstance(found, dict)
    return found


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}: {name}", job)
        for path in WORKFLOWS
        for name, job in loaded(str(path.relative_to(CLONE)))["jobs"].items()
    ]


JOBS = jobs()
STEPS = [(name, job, step) for name, job in JOBS for step in job["steps"]]
RUNS = [(name, step["run"]) for name, _, step in STEPS if "run" in step]


def test_there_are_three_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["gate.yml", "nightly.yml", "wheels.yml"]


def test_the_nightly_workflow_runs_every_directory_of_tests() -> None:
    directories = {path.parent.relative_to(CLONE / "tests").parts[0] for path in (CLONE / "tests").rglob("test_*.py")}
    nightly = loaded(".github/workflows/nightly.yml")["jobs"]
    assert set(nightly["tests"]["strategy"]["matrix"]["directory"]) == directories
    commands = [shlex.split(one["command"]) for one in nightly["faults"]["strategy"]["matrix"]["include"]]
    assert {command[0] for command in commands} == {"chaos", "powercut"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_what_every_workflow_needs(path: Path) -> None:
    workflow = loaded(str(path.relative_to(CLONE)))
    assert set(workflow) <= {"name", True, "permissions", "concurrency", "jobs"}  # YAML reads `on` as a truth value
    assert workflow[True]
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(("name", "job"), JOBS, ids=[name for name, _ in JOBS])
def test_a_job_has_a_machine_a_limit_and_steps_that_do_one_thing(name: str, job: dict[str, Any]) -> None:
    assert job["runs-on"]
    assert job["timeout-minutes"] > 0
    for step in job["steps"]:
        assert ("run" in step) != ("uses" in step), step
        assert "@" in step.get("uses", "@"), step


@pytest.mark.parametrize(("name", "job"), JOBS, ids=[name for name, _ in JOBS])
def test_expressions_name_what_there_is(name: str, job: dict[str, Any]) -> None:
    text = yaml.safe_dump(job)
    matrix = job.get("strategy", {}).get("matrix", {})
    names = {name for one in matrix.get("include", []) for name in one} | set(matrix) - {"include"}
    assert set(re.findall(r"\$\{\{ matrix\.(\w+)", text)) == names
    ids = {step["id"] for step in job["steps"] if "id" in step}
    assert set(re.findall(r"\$\{\{ steps\.(\w+)", text)) == ids


@pytest.mark.parametrize(("name", "run"), RUNS, ids=[name for name, _ in RUNS])
def test_what_a_step_runs_is_bash_and_its_scripts_are_there(name: str, run: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=run, text=True, capture_output=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr
    for script in SCRIPT.findall(run):
        assert (CLONE / script).is_file(), script
        assert script.endswith(".py") or os.access(CLONE / script, os.X_OK), script


def test_gate_wheels_and_classifiers_agree_on_the_versions_of_python() -> None:
    gate = loaded(".github/workflows/gate.yml")["jobs"]["gate"]["strategy"]["matrix"]["python"]
    wheels = PROJECT["tool"]["cibuildwheel"]["build"]
    assert PROJECT["project"]["requires-python"] == f">={gate[0]}"
    assert wheels == [f"cp{version.replace('.', '')}-*" for version in gate]
    prefix = "Programming Language :: Python :: "
    classified = {one.removeprefix(prefix) for one in PROJECT["project"]["classifiers"] if one.startswith(prefix)}
    assert classified <= set(gate)


def test_wheels_are_compiled_and_tried() -> None:
    settings = PROJECT["tool"]["cibuildwheel"]
    assert settings["environment"] == {"HATCH_BUILD_HOOKS_ENABLE": "1"}
    (script,) = SCRIPT.findall(settings["test-command"].replace("{project}/", ""))
    assert (CLONE / script).is_file()


def test_the_smoke_test_knows_which_build_it_tries() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    codes = {}
    for wanted in ("plain", "compiled", "other"):
        command = [sys.executable, str(CLONE / "scripts" / "smoke.py"), wanted]
        codes[wanted] = subprocess.run(
            command, env=environment, capture_output=True, timeout=60, check=False
        ).returncode  # fmt: skip
    assert codes == {"plain": 0, "compiled": 1, "other": 1}


def test_the_hooks_of_pre_commit_run_programs_of_the_clone() -> None:
    hooks = [hook for repo in loaded(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert len(hooks) > 3
    for hook in hooks:
        program = Path(shlex.split(hook["entry"])[0])
        assert program.parts[:2] == (".venv", "bin"), hook["entry"]
        assert (Path(sys.executable).parent / program.name).exists(), hook["entry"]
        if "files" in hook:
            re.compile(hook["files"])

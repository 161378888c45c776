"""The recipes of docs/ci.md run as they stand there: the pipeline, the steps of the workflow, the hooks."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

CI = Path(__file__).parents[1] / "docs" / "ci"
PAGE = CI.with_suffix(".md")
WORKFLOW = yaml.safe_load((CI / "github-actions.yaml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["learn"]["steps"]
# small images are learned at once, and a strength that is given is not searched for
SMALL = {"EPOCHS": "6", "LR": "0.05", "LAMBDA": "1", "MAX_FORGETTING": "5"}
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which `mascli`, `python` and `pip` are those of the tests; pip only notes what it is told."""
    tools = tmp_path_factory.mktemp("tools")
    here = shlex.quote(sys.executable)
    for name, does in {
        "python": f'exec {here} "$@"',
        "mascli": f'echo "$@" >> {tools}/mascli.log; exec {here} -m mascli "$@"',
        "pip": f'echo "$@" >> {tools}/pip.log',
    }.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tools / name).chmod(0o755)
    git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    git |= {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **git, "PATH": f"{tools}:{os.environ['PATH']}", "TOOLS": str(tools)}


def bash(script: str | Path, *words: str | Path, folder: Path, environment: dict[str, str]) -> Done:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """What the pipeline leaves where the new task is learned with importance."""
    folder = tmp_path_factory.mktemp("pipeline")
    done = bash(CI / "pipeline.sh", "kept", folder=folder, environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("kept: new.safetensors can take the place of released.safetensors")
    return folder / "kept"


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """The same but without importance: a limit stops it."""
    folder = tmp_path_factory.mktemp("pipeline")
    done = bash(CI / "pipeline.sh", "forgotten", "--lambda", "0", folder=folder, environment=environment)
    assert done.returncode == 7, done.stderr
    assert "--max-forgetting 5" in done.stderr
    assert done.stderr.rstrip().endswith("stopped: a limit is not met, see summary.md")
    return folder / "forgotten"


@pytest.mark.parametrize(("which", "failed"), [("kept", False), ("forgotten", True)])
def test_the_pipeline_leaves_its_reports(which: str, failed: bool, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    result = json.loads((folder / "result.json").read_text())
    assert [row["task"] for row in result["tasks"]] == ["fruit", "sky"]
    unmet = sum(not gate["passed"] for gate in result["gates"])
    assert bool(unmet) is failed
    suites = ElementTree.parse(folder / "junit.xml").getroot()
    assert suites.get("failures") == str(unmet) and len(list(suites.iter("failure"))) == unmet
    assert ("FAILED" in (folder / "summary.md").read_text()) is failed


def test_the_pipeline_gives_the_code_of_what_stopped_it(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "start.safetensors").write_text("mine")
    done = bash(CI / "pipeline.sh", "old", folder=tmp_path, environment=environment)
    assert done.returncode == 2 and "--overwrite" in done.stderr
    assert (tmp_path / "old" / "start.safetensors").read_text() == "mine"


def test_the_workflow_uses_few_actions_at_major_versions_and_writes_nothing() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert [use.split("@")[0] for use in used] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/cache",
        "actions/upload-artifact",
    ]
    assert [use for use in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", use)] == []
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert set(WORKFLOW[True]) == {"pull_request", "workflow_dispatch"}  # YAML 1.1 reads `on` as true
    assert all(set(step) <= {"name", "id", "if", "uses", "with", "run"} for step in STEPS)
    assert [step["run"] for step in STEPS if "${{" in step.get("run", "")] == []  # nothing is put into a script
    assert all(isinstance(value, str) for value in WORKFLOW["env"].values())
    ids = {step["id"] for step in STEPS if "id" in step}
    conditions = [step["if"] for step in STEPS if "if" in step]
    assert set(re.findall(r"steps\.(\w+)\.", " ".join(conditions))) == ids
    assert conditions.count("always()") == 2


def step_named(start: str) -> dict[str, Any]:
    (step,) = [step for step in STEPS if step.get("name", "").startswith(start)]
    return step


def workplace(folder: Path, kept: Path, environment: dict[str, str]) -> dict[str, str]:
    """A repository as the workflow expects it in `folder`; the variables of its steps."""
    (folder / "models").mkdir()
    shutil.copy(kept / "released.safetensors", folder / "models")
    (folder / "data").symlink_to(kept / "data")
    (folder / "photos").symlink_to(kept / "data" / "fruit" / "train")
    return {**environment, **WORKFLOW["env"], **SMALL, "GITHUB_STEP_SUMMARY": str(folder / "summary")}


def execute(step: dict[str, Any], folder: Path, variables: dict[str, str]) -> Done:
    script = folder / "step.sh"
    script.write_text(step["run"])
    return bash(script, folder=folder, environment=variables)


def test_the_steps_of_the_workflow_run_in_order(kept: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    variables = workplace(tmp_path, kept, environment)
    for step in STEPS:
        if "run" in step:
            done = execute(step, tmp_path, variables)
            assert done.returncode == 0, (step["name"], done.stderr)
    assert (Path(environment["TOOLS"]) / "pip.log").read_text() == "install mascli\n"
    uploaded = step_named("Keep")["with"]["path"].split()
    assert [path for path in uploaded if not (tmp_path / path).exists()] == []
    assert (tmp_path / step_named("Omega")["with"]["path"]).exists()
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "training.md",
        "accuracy.md",
        "accuracy.json",
        "junit.xml",
    }
    summary = (tmp_path / "summary").read_text()
    assert summary.index("# mascli evaluate") < summary.index("# mascli train-task")
    assert "| sky |" in summary


def test_the_workflow_stops_where_a_limit_is_not_met_and_still_shows_it(
    kept: Path, forgotten: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    variables = workplace(tmp_path, kept, environment)
    (tmp_path / "reports").mkdir()
    assert execute(step_named("Show"), tmp_path, variables).returncode == 0  # nothing is there yet
    assert not (tmp_path / "summary").exists()
    shutil.copy(forgotten / "new.safetensors", tmp_path)
    done = execute(step_named("Compare"), tmp_path, variables)
    assert done.returncode == 7 and "task fruit" in done.stderr
    assert execute(step_named("Show"), tmp_path, variables).returncode == 0
    assert "FAILED" in (tmp_path / "summary").read_text()


class Repository:
    """A git repository with the hook, the remote that it pushes to, and the commands that the hook ran."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.remote = folder / "work", folder / "remote"
        self.log = Path(environment["TOOLS"]) / "mascli.log"
        self.environment = environment
        self._seen = self._calls()
        (self.folder / "models").mkdir(parents=True)
        self.git("init", "--quiet", "--bare", str(self.remote))
        self.git("init", "--quiet", "-b", "main")
        self.git("remote", "add", "origin", str(self.remote))
        shutil.copy(CI / "pre-push", self.folder / ".git" / "hooks" / "pre-push")

    def git(self, *words: str) -> Done:
        command = ["git", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert words[0] == "push" or done.returncode == 0, done.stderr
        return done

    def commit(self, checkpoint: Path | None, name: str) -> None:
        if checkpoint is not None:
            shutil.copy(checkpoint, self.folder / "models" / "current.safetensors")
        (self.folder / "notes").write_text(name)
        self.git("add", "models", "notes")
        self.git("commit", "--quiet", "-m", name)

    def evaluations(self) -> int:
        """How many there were since this was asked last."""
        before, self._seen = self._seen, self._calls()
        return self._seen - before

    def _calls(self) -> int:
        return self.log.read_text().count("evaluate ") if self.log.exists() else 0

    def remote_has(self) -> str:
        return self.git("ls-remote", "origin", "refs/heads/main").stdout.split()[0]


@pytest.fixture
def repository(tmp_path: Path, kept: Path, environment: dict[str, str]) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path, {**environment, "MASCLI_DATA": str(kept / "data")})


def test_a_push_is_stopped_where_the_checkpoint_forgets(
    repository: Repository, kept: Path, forgotten: Path, tmp_path: Path
) -> None:
    released, push = kept / "released.safetensors", ("push", "--quiet", "origin")
    repository.commit(released, "released")
    assert repository.git(*push, "main").returncode == 0
    repository.commit(None, "a note")
    assert repository.git(*push, "main").returncode == 0
    assert repository.evaluations() == 0  # there was nothing to compare

    repository.commit(kept / "new.safetensors", "one more task")
    done = repository.git(*push, "main")
    assert done.returncode == 0 and repository.evaluations() == 1, done.stderr
    good = repository.remote_has()

    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit(forgotten / "new.safetensors", "forgetful")
    repository.commit(None, "another note")
    for where in ("topic", "topic:main"):  # a new branch is compared with what the remote knows of its history
        done = repository.git(*push, where)
        assert done.returncode != 0 and repository.evaluations() == 1
        assert "task fruit: forgetting" in done.stderr and "--max-forgetting 1" in done.stderr
        assert "pre-push: stopped: models/current.safetensors does not meet its limits" in done.stderr
    assert repository.remote_has() == good
    assert repository.git("ls-remote", "origin", "refs/heads/topic").stdout == ""

    broken = tmp_path / "broken"
    broken.write_text("not a checkpoint")
    repository.commit(broken, "broken")
    done = repository.git(*push, "topic")
    assert done.returncode != 0 and "could not be evaluated (exit code 4)" in done.stderr
    assert repository.git(*push, "--no-verify", "topic").returncode == 0  # the user's own way out
    assert repository.git(*push, "--delete", "topic").returncode == 0


def test_the_hook_of_pre_commit_is_a_gate(
    kept: Path, forgotten: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (repository,) = yaml.safe_load((CI / "pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local" and hook["language"] == "system" and hook["pass_filenames"] is False
    assert re.search(hook["files"], "models/current.safetensors") and not re.search(hook["files"], "models/released.st")
    variables = workplace(tmp_path, kept, environment)
    shutil.copy(forgotten / "new.safetensors", tmp_path / "models" / "current.safetensors")
    entry = shlex.split(hook["entry"])
    done = subprocess.run(entry, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 7 and "task fruit: forgetting" in done.stderr


def test_the_page_names_every_recipe() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\(ci/([\w.-]+)\)", page)) == {path.name for path in CI.iterdir()}


def test_recipes_name_no_host() -> None:
    for path in (PAGE, *CI.iterdir()):
        assert "://" not in path.read_text(encoding="utf-8"), path.name

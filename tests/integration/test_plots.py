"""`--plot` of whole commands: the file is there, is what its name says, and is the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Run
from PIL import Image

from mascli.workflows.pictures import plot_checks

SVG = "{http://www.w3.org/2000/svg}"
SEQUENCE: dict[str, Any] = {
    "model": "mascli:mlp",
    "model-arg": {"hidden": "8"},
    "image-size": 8,
    "channels": 1,
    "samples": "digits",
    "tasks": ["digits-12", "digits-34"],
    "methods": ["finetune", {"method": "mas", "lambda": [0.1, 1]}],
    "seeds": [0, 1],
    "training": {"epochs": 1, "lr": 0.05, "val-split": 0, "workers": 0},
    "estimating": {"workers": 0, "limit": 32},
}


def texts(path: Path) -> list[str]:
    """Every text of an SVG."""
    return ["".join(text.itertext()).strip() for text in ElementTree.parse(path).iter(f"{SVG}text")]


def description(path: Path) -> str:
    return ElementTree.parse(path).findtext(f"{SVG}desc") or ""


def test_an_omega_is_drawn(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    words = ("inspect", checkpoints / "birds.omega", "--format", "json", "--plot")
    for name in ("one.svg", "two.svg", "one.pdf", "one.png"):
        code, out, err = run(*words, tmp_path / name)
        assert (code, err) == (0, "")
    result = json.loads(out)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    Image.open(tmp_path / "one.png").load()
    assert {layer["name"] for layer in result["layers"]} <= set(texts(tmp_path / "one.svg"))
    assert f"Exactly 0: {result['histogram']['zeros']:,} parameters" in description(tmp_path / "one.svg")
    assert str(tmp_path) not in (tmp_path / "one.svg").read_text()


def test_the_filters_of_a_layer_are_drawn_beneath(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    omega, plot = checkpoints / "birds.omega", tmp_path / "map.svg"
    layers = json.loads(run("inspect", omega, "--format", "json")[1])["layers"]
    layer = next(layer["name"] for layer in layers if layer["parameters"] > 100)
    code, _, err = run("inspect", omega, "--map", layer, "--plot", plot)
    assert code == 0, err
    assert f"Map of the filters of {layer}." in description(plot)


def test_two_omegas_are_drawn_against_each_other(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    pair = (checkpoints / "flowers.omega", checkpoints / "birds.omega")
    code, out, err = run("inspect", *pair, "--plot", tmp_path / "s.svg", "--format", "json")
    assert code == 0, err
    assert {"importance in flowers.omega", "importance in birds.omega"} <= set(texts(tmp_path / "s.svg"))
    assert f"{json.loads(out)['overall']['compared']:,}" in description(tmp_path / "s.svg")


def test_the_change_between_two_checkpoints_is_drawn_by_layer(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    pair = (checkpoints / "flowers.st", checkpoints / "birds.st")
    assert run("inspect", *pair, "--plot", tmp_path / "plain.svg")[0] == 0
    assert run("inspect", *pair, "--omega", checkpoints / "flowers.omega", "--plot", tmp_path / "weighed.svg")[0] == 0
    assert "change of each layer" in texts(tmp_path / "plain.svg")
    assert "change weighed by importance" not in texts(tmp_path / "plain.svg")
    assert {"change of each layer", "change weighed by importance"} <= set(texts(tmp_path / "weighed.svg"))


def test_a_file_without_importance_is_refused(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("inspect", checkpoints / "birds.st", "--plot", tmp_path / "no.png")
    assert (code, out) == (2, "") and "--plot" in err and "omega" in err
    assert not list(tmp_path.iterdir())


def test_accuracies_and_confusion_are_drawn(checkpoints: Path, world: Path, tmp_path: Path, run: Run) -> None:
    plot = tmp_path / "accuracy.svg"
    words = ("evaluate", checkpoints / "birds.st", "--data-root", world / "data", "--format", "json")
    code, out, err = run(*words, "--per-class", "--min-accuracy", "100", "--plot", plot)
    assert code in (0, 7), err
    result = json.loads(out)
    assert {f"{row['accuracy']:.2f} %" for row in result["tasks"]} <= set(texts(plot))
    assert {"rose", "[bold]", "swan"} <= set(texts(plot))
    assert all(row["feature_drift"] is None for row in result["tasks"])
    assert run(*words, "--plot", tmp_path / "plain.svg")[0] == 0
    assert "[bold]" not in texts(tmp_path / "plain.svg")


def test_a_picture_is_there_where_a_limit_is_not_met(checkpoints: Path, world: Path, tmp_path: Path, run: Run) -> None:
    data = ("--data", world / "data/flowers/test", "--task", "birds")
    assert run("evaluate", checkpoints / "birds.st", *data, "--plot", tmp_path / "a.png")[0] == 3
    assert not (tmp_path / "a.png").exists()
    start = ("--baseline", checkpoints / "flowers.st", "--max-forgetting", "-100", "--plot", tmp_path / "a.png")
    assert run("evaluate", checkpoints / "birds.st", "--data-root", world / "data", *start)[0] == 7
    Image.open(tmp_path / "a.png").load()


def test_features_before_and_after_are_drawn_and_their_drift_is_told(
    checkpoints: Path, world: Path, tmp_path: Path, run: Run
) -> None:
    words = ("evaluate", checkpoints / "birds.st", "--data-root", world / "data")
    baseline = ("--baseline", checkpoints / "flowers.st")
    code, out, err = run(*words, *baseline, "--plot", tmp_path / "drift.svg", "--format", "json")
    assert code == 0, err
    drift = {row["task"]: row["feature_drift"] for row in json.loads(out)["tasks"]}
    assert drift["flowers"] > 0 and drift["birds"] is None  # the baseline has no birds
    assert {"before", "after", "rose", "tulip"} <= set(texts(tmp_path / "drift.svg"))
    code, out, _ = run(*words, *baseline, "--plot", tmp_path / "again.svg", "--batch-size", "3")
    assert f"flowers: features moved by {drift['flowers']:.4g} times their length" in out
    code, out, _ = run(*words, *baseline, "--format", "json")
    assert all(row["feature_drift"] is None for row in json.loads(out)["tasks"])


def test_features_of_the_same_checkpoint_have_not_moved(
    checkpoints: Path, world: Path, tmp_path: Path, run: Run
) -> None:
    both = (checkpoints / "birds.st", "--data-root", world / "data", "--baseline", checkpoints / "birds.st")
    for name in ("one.png", "two.png"):
        code, out, err = run("evaluate", *both, "--plot", tmp_path / name, "--format", "json")
        assert code == 0, err
    assert [row["feature_drift"] for row in json.loads(out)["tasks"]] == [0.0, 0.0]
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_run_is_drawn_and_again_when_all_is_done(tmp_path: Path, run: Run) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SEQUENCE))
    out = tmp_path / "out"
    code, _, err = run("run", tmp_path / "s.yaml", "-o", out, "--plot", out / "plot.svg", "-q")
    assert code == 0, err
    result = json.loads((out / "result.json").read_text())
    assert result["tasks"] == [text for text in dict.fromkeys(texts(out / "plot.svg")) if text.startswith("digits")]
    chosen = [method for method in result["methods"] if method["chosen"]]
    assert len(chosen) == 2 < len(result["methods"])
    for method in chosen:
        numbers = {f"{value:.1f}" for row in method["accuracy_matrix"] for value in row}
        assert numbers <= set(texts(out / "plot.svg"))
        assert f"{method['average_accuracy']['mean']:.2f} %" in description(out / "plot.svg")
    assert run("run", tmp_path / "s.yaml", "-o", out, "--plot", tmp_path / "again.svg", "-q")[0] == 0
    assert (tmp_path / "again.svg").read_bytes() == (out / "plot.svg").read_bytes()


@pytest.mark.parametrize("command", ["inspect", "evaluate", "run"])
def test_another_ending_is_refused_at_once_with_one_line(command: str, tmp_path: Path, run: Run) -> None:
    words = {"inspect": ["no.omega"], "evaluate": ["no.st", "--data", "no"], "run": ["no.yaml", "-o", tmp_path / "o"]}
    code, out, err = run(command, *words[command], "--plot", "[/]/plot.jpeg")
    assert (code, out) == (2, "")
    assert "mascli: --plot [/]/plot.jpeg: the name must end in .png, .svg, .pdf\n" in err


def test_without_matplotlib_one_line_says_what_to_install(
    checkpoints: Path, world: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot_checks, "find_spec", lambda name: None)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SEQUENCE))
    before = set(tmp_path.iterdir())
    for words in (
        ("inspect", checkpoints / "birds.omega"),
        ("inspect", checkpoints / "birds.omega", checkpoints / "flowers.omega"),
        ("evaluate", checkpoints / "birds.st", "--data-root", world / "data"),
        ("run", tmp_path / "s.yaml", "-o", tmp_path / "out"),
    ):
        code, out, err = run(*words, "--plot", tmp_path / "plot.png")
        assert (code, out) == (2, "")
        assert err == f"mascli: {plot_checks.INSTALL}\n" and "pip install 'mascli[plot]'" in err
    assert set(tmp_path.iterdir()) == before


def test_a_picture_that_exists_is_kept_unless_it_may_be_replaced(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    plot, omega = tmp_path / "plot.png", checkpoints / "birds.omega"
    plot.write_text("mine")
    code, out, err = run("inspect", omega, "--plot", plot)
    assert (code, out, plot.read_text()) == (2, "", "mine") and "exists already" in err
    assert run("inspect", omega, "--plot", tmp_path / "none/plot.png")[0] == 2
    assert run("inspect", omega, "--plot", plot, "--overwrite")[0] == 0
    Image.open(plot).load()


def test_an_input_is_never_drawn_over(checkpoints: Path, tmp_path: Path, run: Run) -> None:
    omega = tmp_path / "omega.png"
    omega.write_bytes((checkpoints / "birds.omega").read_bytes())
    code, _, err = run("inspect", omega, "--plot", omega, "--overwrite")
    assert code == 2 and "is an input of this command" in err
    assert omega.read_bytes() == (checkpoints / "birds.omega").read_bytes()


def test_matplotlib_is_not_loaded_before_it_is_needed() -> None:
    modules = "mascli.cli.app, mascli.workflows.inspect_file, mascli.workflows.pictures.of_run, mascli.workflows.run"
    code = f"import sys, {modules}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0

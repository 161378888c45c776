"""`mascli report`: the page tells what the folder holds, and a folder that is damaged or not finished gets none."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import stored
from commands import Run
from finished_runs import LAYERS, METHODS, finished_run
from html_page import ReadPage, ReadTable

from mascli.config import ReportConfig
from mascli.config.sequence import MethodEntry
from mascli.evaluation.metrics import mean_interval
from mascli.files.tensor_file import file_sha256, read_header
from mascli.importance.statistics import layer_summaries
from mascli.observer import Observer
from mascli.reports.numbers import percent
from mascli.reports.run import Figure, MethodRun, SeedResult
from mascli.workflows.report import report
from mascli.workflows.reporting import importance
from mascli.workflows.reporting.stored_result import StoredResult
from mascli.workflows.reporting.story import lead

ODD = "\"'><svg onload><b>&amp;"  # what may be the name of a file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "out")


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def page(run: Run, folder: Path, to: Path, *flags: str) -> ReadPage:
    code, _, err = run("report", folder, "--html", to, *flags)
    assert code == 0, err
    read = ReadPage(to.read_text(encoding="utf-8"))
    assert read.problems == []
    return read


@pytest.fixture(scope="module")
def read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ReadPage:
    to = tmp_path_factory.mktemp("page") / "page.html"
    report(ReportConfig(folder=folder, html=to), Observer())
    return ReadPage(to.read_text(encoding="utf-8"))


def column(table: ReadTable, name: str) -> list[tuple[str, str | None]]:
    return [row[table.head.index(name)] for row in table.rows]


def label(method: dict[str, Any]) -> str:
    strength = method["lambda"]
    return str(method["name"]) + (
        "" if strength is None else f", lambda {strength if strength == 'auto' else f'{strength:g}'}"
    )


def rehash(folder: Path, before: str, place: Path) -> None:
    """Let the records hold the hash of a file that was changed, as if its step had written it."""
    for path in (folder / "steps").rglob("*.json"):
        path.write_text(path.read_text().replace(before, file_sha256(place)))


def test_the_figures_of_each_method_are_those_of_the_result(read: ReadPage, result: dict[str, Any]) -> None:
    table = read.table("After all tasks")
    assert [text for text, _ in column(table, "method")] == [method["name"] for method in result["methods"]]
    for key, name in {
        "average_accuracy": "average accuracy, %",
        "learning_accuracy": "right after learning, %",
        "forgetting": "forgetting, points",
        "backward_transfer": "backward transfer, points",
        "forgetting_max": "forgetting from max, points",
    }.items():
        for (text, exact), method in zip(column(table, name), result["methods"], strict=True):
            figure = method[key]
            assert float(exact or "nan") == figure["mean"]
            assert text == f"{percent(figure['mean'])} ± {percent((figure['high'] - figure['low']) / 2)}"
    assert "forward transfer, points" not in table.head  # no method `alone`
    assert [text for text, _ in column(table, "chosen")].count("in hindsight") == 1


def test_every_matrix_is_that_of_the_result(read: ReadPage, result: dict[str, Any]) -> None:
    for method in result["methods"]:
        matrices = {f"{label(method)}, mean over 2 seeds: accuracy": method["accuracy_matrix"]}
        matrices |= {f"{label(method)}, seed {s['seed']}: accuracy": s["accuracy_matrix"] for s in method["seeds"]}
        for caption, rows in matrices.items():
            table = read.table(caption)
            for shown, row in zip(table.rows, rows, strict=False):
                assert [text for text, _ in shown[1 : len(row) + 1]] == [percent(value) for value in row]
                assert [float(exact or "nan") for _, exact in shown[1 : len(row) + 1]] == row
                assert float(shown[-1][1] or "nan") == pytest.approx(fmean(row))
            lost = [float(exact or "nan") for _, exact in table.rows[-1][1:-1]]
            assert lost == pytest.approx([rows[at][at] - rows[-1][at] for at in range(len(rows))])


def test_differences_are_taken_seed_by_seed(read: ReadPage, result: dict[str, Any]) -> None:
    base, *others = result["methods"]
    table = read.table("Difference from finetune")
    for row, method in zip(table.rows, others, strict=True):
        assert row[0][0] == label(method)
        for key, (text, exact) in zip(("average_accuracy", "learning_accuracy", "forgetting"), row[1:], strict=True):
            values = [a - b for a, b in zip(method[key]["values"], base[key]["values"], strict=True)]
            low, high = mean_interval(values) or (math.nan, math.nan)
            assert float(exact or "nan") == fmean(values)
            shown = [float(part.strip("+[],")) for part in text.split()]
            assert shown == pytest.approx([fmean(values), low, high], abs=0.0051)


def test_the_curves_are_those_of_the_result_and_of_the_records(read: ReadPage, result: dict[str, Any]) -> None:
    chosen = [method for method in result["methods"] if method["chosen"]]
    table = read.table("Average accuracy over the tasks so far")
    for method in chosen:
        expected = [percent(fmean(row)) for row in method["accuracy_matrix"]]
        assert [text for text, _ in column(table, label(method))] == expected
    first = read.table("Accuracy on the first task, cats")
    assert [t for t, _ in column(first, "finetune")] == [percent(row[0]) for row in chosen[0]["accuracy_matrix"]]
    assert [text for text, _ in column(read.table("dogs: training loss"), "finetune")] == ["1", "0.5", "0.3333"]
    assert [t for t, _ in column(read.table("cats: validation accuracy"), "all methods")] == ["81.00", "82.00", "83.00"]


def test_importance_by_layer_is_that_of_the_omega_of_the_last_task(read: ReadPage, folder: Path) -> None:
    for place in ("seed-0/mas/lambda-0.1/dogs.omega", "seed-0/ewc/dogs.omega"):
        (table,) = [table for table in read.tables if table.caption.endswith(place)]
        layers = layer_summaries(read_header(folder / place))
        assert [layer.name for layer in layers] == ["body.1", "body.2"]
        for row, layer in zip(table.rows, layers, strict=True):
            assert row[0][0] == layer.name
            exact = [float(value or "nan") for _, value in row[1:]]
            assert exact == [
                layer.parameters,
                layer.share,
                layer.mean,
                layer.median,
                layer.p99,
                layer.maximum,
                layer.zeros,
                layer.not_finite,
            ]


def test_the_lineage_names_what_each_file_came_from(read: ReadPage, folder: Path) -> None:
    table = read.table("Files, and what they came from")
    rows = {row[0][0]: [text for text, _ in row[1:]] for row in table.rows}
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".safetensors", ".omega")}
    assert rows.keys() == written
    assert rows["seed-1/finetune/birds.safetensors"][:3] == ["train-task", "seed-1/finetune/dogs.safetensors", ""]
    assert rows["seed-0/mas/lambda-1/dogs.omega"][:3] == [
        "estimate",
        "seed-0/mas/lambda-1/dogs.safetensors",
        "seed-0/mas/cats.omega",
    ]
    assert rows["seed-0/ewc/birds.safetensors"][2] == "seed-0/ewc/cats.omega, seed-0/ewc/dogs.omega"
    record = json.loads((folder / "steps/seed-0/cats.train-task.json").read_text())
    assert rows["seed-0/cats.safetensors"][3] == record["outputs"]["cats.safetensors"]


def test_settings_tell_where_they_differ(read: ReadPage) -> None:
    table = read.table("Settings of all")
    settings = {row[0][0]: row[1][0] for row in table.rows}
    assert settings["lr"] == "0.05" and settings["epochs"] == "3"
    assert " in 1 (" in settings["lambda"] and settings["lambda"].endswith("other values")
    tasks = read.table("Tasks, in the order learned")
    assert [row[0][0] for row in tasks.rows] == ["cats", "dogs", "birds"]
    assert [row[2][0] for row in tasks.rows] == ["one, two"] * 3


def test_the_summary_is_in_plain_language(read: ReadPage, result: dict[str, Any]) -> None:
    finetune = result["methods"][0]
    text = read.text.replace("\xa0", " ")
    assert "A model learned 3 tasks one after the other (cats, dogs, birds), by 3 methods (4 with each lambda)" in text
    assert f"Plain fine-tuning (finetune) answered {percent(finetune['average_accuracy']['mean'])} %" in text
    assert "which nobody can do beforehand" in text or "The method ewc" in text


def test_the_page_is_the_same_each_time_wherever_the_folder_lies(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page(run, folder, tmp_path / "a.html")
    shutil.copytree(folder, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    page(run, Path("elsewhere"), Path("b.html"))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert str(tmp_path) not in (tmp_path / "a.html").read_text()


def test_names_that_look_like_markup_are_text(tmp_path: Path, run: Run) -> None:
    methods = (MethodEntry(f"m{ODD}", "finetune"), MethodEntry(f"n{ODD}", "mas", (0.5,)))
    odd = finished_run(
        tmp_path / f"out{ODD}",
        tasks=("a", f"b{ODD}"),
        methods=methods,
        classes=(f"{ODD}</script><script>alert(1)</script>", "\x07\u202e"),
        warning=f"{ODD}\n\x1b[31m\udcff",
    )
    (odd / "sequence.yaml").write_bytes(b"# </code></pre><script>alert(1)</script> \xff\x00 & ' \"\n\tkey: [")
    place = odd / "seed-0" / f"n{ODD}" / "a.omega"
    before = file_sha256(place)
    stored.write(place, {f"<script>alert(1)</script>.{name}": value for name, value in LAYERS.items()})
    rehash(odd, before, place)
    read = page(run, odd, tmp_path / "odd.html")
    assert len(read.scripts) == 1 and "alert" not in read.scripts[0]
    for shown in (
        f"b{ODD}",
        f"m{ODD}",
        f"{ODD}</script>",
        "<script>alert(1)</script>.body.1",
        r"\x07\u202e",
        r"\x1b[31m\udcff",
    ):
        assert shown in read.text, shown
    assert "# </code></pre><script>alert(1)</script> \\xff\\x00 & ' \"\n\tkey: [" in read.text


def test_a_demo_has_no_seeds_in_its_places(tmp_path: Path, run: Run) -> None:
    demo = finished_run(
        tmp_path / "demo", seeds=(3,), methods=(METHODS[0], MethodEntry("mas", "mas", (0.1,))), demo=True
    )
    read = page(run, demo, tmp_path / "x.html")
    files = [row[0][0] for row in read.table("Files, and what they came from").rows]
    assert "mas/dogs.omega" in files and "cats.safetensors" in files
    assert "there are no intervals" in read.text and "±" not in read.table("After all tasks").rows[0][2][0]


def test_one_method_is_compared_with_nothing(tmp_path: Path, run: Run) -> None:
    alone = finished_run(tmp_path / "out", methods=(MethodEntry("l2", "l2", (math.inf,)),), seeds=(0,), epochs=False)
    read = page(run, alone, tmp_path / "x.html")
    assert not [table for table in read.tables if table.caption.startswith("Difference")]
    assert column(read.table("After all tasks"), "lambda") == [("inf", "Infinity")]
    rows = {row[0][0]: row for row in read.table("Files, and what they came from").rows}
    assert rows["seed-0/l2/dogs.safetensors"][3][0] == "uniform"


def test_many_layers_show_the_most_important_ones_first(
    tmp_path: Path, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "FEW", 1)
    read = page(run, folder, tmp_path / "x.html")
    tables = [table for table in read.tables if "mas/lambda-" in table.caption]
    assert [len(table.rows) for table in tables] == [1, 2]
    assert "All 2 layers" in read.text


def test_values_that_are_not_finite_are_told(tmp_path: Path, run: Run) -> None:
    odd = finished_run(tmp_path / "out", seeds=(0,), methods=(MethodEntry("mas", "mas", (0.1,)),))
    place = odd / "seed-0/mas/dogs.omega"
    old = file_sha256(place)
    stored.write(place, {"a.weight": [math.nan, 1.0], "b.weight": [math.inf], "c.weight": np.zeros(0)})
    rehash(odd, old, place)
    read = page(run, odd, tmp_path / "x.html")
    assert "Some values are not finite" in read.text
    (table,) = [table for table in read.tables if table.caption.endswith("dogs.omega")]
    assert [row[-1][0] for row in table.rows] == ["1", "1", "0"]


def test_files_that_were_removed_are_named_and_left_out(tmp_path: Path, run: Run, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    for path in (tmp_path / "out" / "seed-0").rglob("*"):
        if path.is_file():
            path.unlink()
    code, _, err = run("report", tmp_path / "out", "--html", tmp_path / "x.html")
    assert code == 0 and "note: not in" in err and "seed-0/start.safetensors" in err
    read = ReadPage((tmp_path / "x.html").read_text())
    assert read.problems == [] and "dogs.omega is not in the folder any more" in read.text
    assert "seed-0/start.safetensors (not there any more)" in read.text


def test_what_is_printed(folder: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("report", folder, "-o", tmp_path / "x.html", "--format", "json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["html"] == str(tmp_path / "x.html") and told["kind"] == "run"
    assert told["methods"] == ["finetune", "mas, lambda 0.1", "mas, lambda 1", "ewc, lambda auto"]
    assert told["steps"] == len(list((folder / "steps").rglob("*.json")))


def test_overwrite_replaces_a_page(folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "x.html").write_text("old")
    page(run, folder, tmp_path / "x.html", "--overwrite")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (2.5, "had forgotten 2.50 points of what it knew"),
        (0.0, "had forgotten nothing"),
        (-0.001, "had forgotten nothing"),
        (-1.25, "knew 1.25 points more of the earlier ones"),
    ],
)
def test_forgetting_in_words(lost: float, said: str) -> None:
    figures = {"average_accuracy": Figure(90.0, None, None, (90.0,)), "forgetting": Figure(lost, None, None, (lost,))}
    method = MethodRun("mas", "mas", 0.5, "only", ((90.0,),), figures, (SeedResult(0, ((90.0,),), (None,)),))
    plain = replace(method, name="ft", method="finetune", lambda_=None, figures=figures)
    told = lead(StoredResult(("a",), (10,), (plain, method), ()))
    assert said in told[1] and said in told[2]
    assert told[2].endswith("; that is as much forgetting as by plain fine-tuning.")


def test_passes_of_the_head_alone_are_no_main_passes(tmp_path: Path, run: Run) -> None:
    folder = finished_run(tmp_path / "out", seeds=(0,))
    for path in (folder / "steps").rglob("*.train-task.json"):
        record = json.loads(path.read_text())
        if "mas" in str(path):
            record["found"]["epochs"].insert(0, {"phase": "head", "epoch": 1, "loss": 7.5})
        path.write_text(json.dumps(record))
    table = page(run, folder, tmp_path / "page.html").table("dogs: training loss")
    assert [text for text, _ in column(table, "pass")] == ["h1", "1", "2", "3"]
    finetune, mas = (next(name for name in table.head if name.startswith(start)) for start in ("finetune", "mas"))
    assert [text for text, _ in column(table, finetune)] == ["", "1", "0.5", "0.3333"]
    assert [text for text, _ in column(table, mas)] == ["7.5", "1", "0.5", "0.3333"]
    assert "Passes h1, h2, ... come first, and teach the new head alone." in (tmp_path / "page.html").read_text()

"""docs/json.md names every key that the commands print, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sample_comparisons as pairs
import sample_results as sample

from mascli.reports.average import average_report
from mascli.reports.change import change_report
from mascli.reports.comparison import comparison_report
from mascli.reports.demo import demo_report
from mascli.reports.estimate import estimate_report
from mascli.reports.evaluate import evaluate_report
from mascli.reports.export import to_json
from mascli.reports.export_task import export_report
from mascli.reports.init import init_report
from mascli.reports.inspect_file import inspect_report
from mascli.reports.merge import merge_report
from mascli.reports.page import PageResult, page_report
from mascli.reports.run import run_report, steps_report
from mascli.reports.train_task import train_task_report

TEXT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
JSON: dict[str, Any] = {
    "init": init_report(sample.INIT),
    "estimate": estimate_report(sample.ESTIMATE),
    "train-task": train_task_report(sample.TRAIN),
    "evaluate": evaluate_report(sample.EVALUATE),
    "merge": merge_report(sample.MERGE),
    "average": average_report(sample.AVERAGE),
    "export": export_report(sample.EXPORT),
    "inspect": inspect_report(sample.INSPECT_OMEGA),
    "inspect OMEGA OMEGA": comparison_report(pairs.INSPECT_OMEGAS),
    "inspect CHECKPOINT CHECKPOINT": change_report(pairs.INSPECT_CHECKPOINTS),
    "run": run_report(sample.RUN),
    "run --dry-run": steps_report(sample.STEPS),
    "demo": demo_report(sample.DEMO),
    "report": page_report(PageResult("page.html", "out", "run", ("a", "b"), ("mas",), (0, 1), 12)),
}
PARTS = {
    "`statistics`": ("estimate", lambda d: d["statistics"]),
    "`reliability`": ("estimate", lambda d: d["reliability"]),
    "`layers` of `estimate`": ("estimate", lambda d: d["layers"][0]),
    "`layers` of `inspect`": ("inspect", lambda d: d["layers"][0]),
    "`epochs`": ("train-task", lambda d: d["epochs"][0]),
    "`drift`": ("train-task", lambda d: d["drift"]),
    "`lambda_search`": ("train-task", lambda d: d["lambda_search"]),
    "`trials`": ("train-task", lambda d: d["lambda_search"]["trials"][0]),
    "`tasks` of `evaluate`": ("evaluate", lambda d: d["tasks"][0]),
    "`per_class` of `evaluate`": ("evaluate", lambda d: d["tasks"][0]["per_class"][0]),
    "`confusion` of `evaluate`": ("evaluate", lambda d: d["tasks"][0]["confusion"][0]),
    "`logits`": ("export", lambda d: d["logits"]),
    "`gates`": ("evaluate", lambda d: d["gates"][0]),
    "`histogram`": ("inspect", lambda d: d["histogram"]),
    "`top`": ("inspect", lambda d: d["top"][0]),
    "`map`": ("inspect", lambda d: d["map"]),
    "layers of `inspect OMEGA OMEGA`": ("inspect OMEGA OMEGA", lambda d: d["layers"][0]),
    "`images` of `inspect OMEGA OMEGA`": ("inspect OMEGA OMEGA", lambda d: d["images"]),
    "`scatter`": ("inspect OMEGA OMEGA", lambda d: d["scatter"]),
    "`first_left_out`": ("inspect OMEGA OMEGA", lambda d: d["first_left_out"]),
    "layers of `inspect CHECKPOINT CHECKPOINT`": ("inspect CHECKPOINT CHECKPOINT", lambda d: d["layers"][0]),
    "`weighed`": ("inspect CHECKPOINT CHECKPOINT", lambda d: d["overall"]["weighed"]),
    "`heads` of `inspect CHECKPOINT CHECKPOINT`": ("inspect CHECKPOINT CHECKPOINT", lambda d: d["heads"]),
    "`buffers`": ("inspect CHECKPOINT CHECKPOINT", lambda d: d["buffers"][0]),
    "`methods` of `run`": ("run", lambda d: d["methods"][0]),
    "figures of `methods` of `run`": ("run", lambda d: d["methods"][0]["forgetting"]),
    "`seeds` of `run`": ("run", lambda d: d["methods"][0]["seeds"][0]),
    "`methods`": ("demo", lambda d: {**d["methods"], **d["methods"]["mas"]}),
}


def documented(row: str) -> set[str]:
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row} |")]
    cell = re.sub(r"\([^)]*\)", "", line.split("|")[2])  # what stands in brackets explains
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize("command", JSON)
def test_every_key_of_a_command_is_documented(command: str) -> None:
    assert documented(f"`{command}`") == set(json.loads(to_json(JSON[command])))


@pytest.mark.parametrize("part", PARTS)
def test_every_key_of_a_part_is_documented(part: str) -> None:
    command, find = PARTS[part]
    assert documented(part) == set(find(json.loads(to_json(JSON[command]))))

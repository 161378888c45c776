"""What `mascli inspect` says of an omega in words: doubts first, then trust, then commands that work as typed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stored

from mascli.config import InspectConfig
from mascli.records import ModelSpec, OmegaRecord, Reliability, Step
from mascli.reports.export import to_json
from mascli.reports.inspect_checkpoint import _result_text
from mascli.reports.inspect_file import inspect_report
from mascli.reports.inspect_result import InspectResult
from mascli.reports.render import text
from mascli.reports.report import Lines
from mascli.workflows.inspect_file import inspect_file

VALUES: dict[str, Any] = {"a.weight": [[1.0, 3.0], [0.0, 2.0]], "b.weight": [[5.0]]}
SURE = Reliability(0.95, 0.93, "a", 0.1, 500)
NAN = math.nan


def looked(folder: Path, values: dict[str, Any], record: OmegaRecord | None = None, **settings: Any) -> InspectResult:
    known = record or stored.omega(reliability=SURE)
    return inspect_file(InspectConfig(file=stored.write(folder / "x.omega", values, known), **settings))


def said(result: InspectResult, title: str) -> str:
    """The lines of a section, one after the other."""
    (found,) = (s for s in inspect_report(result).sections if isinstance(s, Lines) and s.title == title)
    return "\n".join(found.lines)


def trust(result: InspectResult) -> str:
    return said(result, "how far to trust it")


def steps(result: InspectResult) -> str:
    return said(result, "what to do next")


def test_one_estimate_of_unknown_reliability_wants_more_images_first(tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, stored.omega(stored.contribution("one")))
    assert trust(result).startswith("unknown: one estimate of 1 image, which has no two halves")
    assert "combined" not in inspect_report(result).sections[0].rows[4][1]  # type: ignore[union-attr]
    first, second, then, *_ = steps(result).splitlines()
    assert first == "first measure more images, such as 64 in place of 1:"
    assert second == "  mascli estimate CHECKPOINT --data FOLDER -o MORE.omega"
    assert then.startswith("then learn something new") and "--omega MORE.omega" in steps(result)


def test_one_estimate_of_many_images_without_halves_is_measured_in_one(tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, stored.omega(stored.contribution(*map(str, range(70)))))
    assert trust(result).startswith("unknown: one estimate of 70 images, of which no two halves were compared")
    assert "fewer than" not in trust(result)
    assert steps(result).startswith("first measure all 70 images in one estimate")


def test_what_was_collected_while_learning_needs_no_estimate(tmp_path: Path) -> None:
    record = replace(stored.omega(), method="si", objective="loss", reduction="path-integral")
    result = looked(tmp_path, VALUES, record)
    assert trust(result).startswith("unknown: collected while learning from 2 images")
    assert steps(result).startswith("learn something new")


@pytest.mark.parametrize("level", [0.925, 0.999])
def test_a_figure_of_few_images_is_called_uncertain_however_high(level: float, tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, stored.omega(reliability=replace(SURE, overall=level, images=63)))
    assert trust(result).startswith(f"uncertain: {level:.3f} from 63 images; a figure from fewer than 64 images")
    assert "good" not in trust(result) and "very high" not in trust(result)
    assert steps(result).startswith("first measure more images, such as 252 in place of 63:")
    enough = looked(tmp_path, VALUES, stored.omega(reliability=replace(SURE, overall=level, images=64)))
    assert "uncertain" not in trust(enough) and steps(enough).startswith("learn something new")


def test_low_reliability_measures_before_it_learns(tmp_path: Path) -> None:
    lines = steps(looked(tmp_path, VALUES, stored.omega(reliability=replace(SURE, overall=0.5)))).splitlines()
    places = [next(i for i, line in enumerate(lines) if word in line) for word in ("mascli estimate", "train-task")]
    assert places == sorted(places) and lines[0] == "first measure more images, such as 2,000 in place of 500:"


def combined(*levels: float | None, images: int = 500) -> OmegaRecord:
    parts = (
        stored.contribution(
            f"image {number}",
            heads=(f"task{number}",),
            shared_sha256=f"{number}" * 64,
            reliability=None if level is None else replace(SURE, overall=level, images=images),
        )
        for number, level in enumerate(levels)
    )
    return stored.omega(*parts)


def test_of_several_estimates_the_lowest_is_named(tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, combined(0.95, 0.91, 0.97))
    assert "unknown of the whole; the lowest of its 3 parts is 0.910 (answers of task1, 1 image)" in trust(result)
    assert steps(result).startswith("learn something new")
    shown = text(inspect_report(result), 80).plain
    assert "unknown (3 estimates combined: see each)" in shown
    rows = [line.split()[:3] for line in shown.splitlines() if line.startswith("task")]
    assert rows == [["task0", "1", "0.950"], ["task1", "1", "0.910"], ["task2", "1", "0.970"]]
    assert '"reliability": null' in to_json(inspect_report(result))


def test_a_noisy_part_is_measured_again_first(tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, combined(0.95, None, 0.5))
    assert "of its 3 parts 2 say theirs\nthe lowest that is known is 0.500 (answers of task2" in trust(result)
    assert steps(result).startswith("first measure more images for the answers of task2, such as 2,000 in place of 500")
    assert "begins with 22222222, and combine that" in steps(result)
    few = trust(looked(tmp_path, VALUES, combined(0.95, 0.96, images=10)))
    assert "fewer than 64 images is itself too uncertain" in few


def test_files_of_earlier_versions_do_not_tell_of_their_parts(tmp_path: Path) -> None:
    result = looked(tmp_path, VALUES, combined(None, None))
    assert "unknown: 2 estimates combined, and the file does not say how reliable each is" in trust(result)
    assert steps(result).startswith("learn something new")


@pytest.mark.parametrize(
    ("values", "doubt"),
    [
        ({"a.weight": [1.0, NAN]}, "warning: 1 value not finite"),
        ({"a.weight": [NAN, NAN]}, "warning: 2 values not finite"),
        ({"a.weight": [1.0, math.inf]}, "warning: 1 value not finite"),
        ({"a.weight": [1.0, -1.0]}, "warning: 1 value below 0"),
        ({"a.weight": [0.0, 0.0]}, "warning: all values are exactly 0"),
        ({}, "warning: there are no values"),
    ],
)
def test_a_broken_omega_is_doubted_and_no_training_is_advised(
    values: dict[str, Any], doubt: str, tmp_path: Path
) -> None:
    result = looked(tmp_path, values, stored.omega(reliability=replace(SURE, overall=0.999)))
    assert trust(result).startswith(doubt) and "very high" not in trust(result)
    assert "train-task" not in steps(result) and "estimate it anew" in steps(result)
    if not values:
        whole = text(inspect_report(result), 80).plain
        assert "mean nan" not in whole and "nan" not in whole


def test_filters_that_are_not_finite_are_counted_and_not_ranked(tmp_path: Path) -> None:
    values = {"a.weight": [[1.0, 1.0], [NAN, 9.0], [0.0, 0.0]]}
    result = looked(tmp_path, values, top=5, by="filters", map_="a")
    assert [one.name for one in result.top or ()] == ["a.weight[0]", "a.weight[2]"]
    assert result.top_left_out == 1 and result.map_ is not None
    assert result.map_.importance == (2.0, None, 0.0)
    shown = text(inspect_report(result), 80).plain
    assert "0 @@!!00" in shown and "!! not finite" in shown
    assert "1 filter with values that are not finite: not ranked" in shown
    single = looked(tmp_path, values, top=9)
    assert single.top_left_out == 1 and "1 value not finite: not ranked" in text(inspect_report(single), 80).plain


def test_code_of_somebody_is_trusted_on_the_command_line_with_a_remark(tmp_path: Path) -> None:
    own = ModelSpec("python", "nets:make", {}, "fc")
    result = looked(tmp_path, VALUES, stored.omega(model=own, reliability=replace(SURE, overall=0.5)))
    commands = [line for line in steps(result).splitlines() if line.startswith("  mascli")]
    assert len(commands) == 2 and all("CHECKPOINT --trust-model-code " in line for line in commands)
    assert "runs the model's own code (python:nets:make)" in steps(result)
    assert "--trust-model-code" not in steps(looked(tmp_path, VALUES))
    checkpoint = InspectResult("c.st", "checkpoint", 1, 0, checkpoint=stored.checkpoint(model=own))
    commands = [line for line in steps(checkpoint).splitlines() if line.startswith("  mascli")]
    assert len(commands) == 3 and all("c.st --trust-model-code" in line for line in commands)


def test_a_file_that_begins_with_a_dash_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = stored.write(Path("./-b.omega"), VALUES, stored.omega(reliability=SURE))
    assert "--omega ./-b.omega -o" in steps(inspect_file(InspectConfig(file=path)))


def test_layers_that_matter_alike_and_layers_named_by_digits(tmp_path: Path) -> None:
    alike = said(looked(tmp_path, {"a.weight": [2.0, 2.0], "b.weight": [2.0]}), "what matters")
    assert "parameter for parameter all layers matter alike" in alike and "1 times" not in alike
    numbered = said(looked(tmp_path, {"0.weight": [1.0, 1.0], "1.weight": [9.0]}), "what matters")
    assert "parameter for parameter layer 1 matters most" in numbered and ": layer 1 (81.82 %)" in numbered


def test_a_step_without_validation_says_so() -> None:
    def told(**result: Any) -> str:
        return _result_text(Step("train-task", "a" * 64, "t", result=result))

    assert told(best_epoch=20, val_accuracy=None) == "last epoch (20), no validation"
    assert told(best_epoch=20, val_accuracy=95.0) == "best epoch 20, val accuracy 95.00"
    assert told(**{"lambda": 1.0}) == "lambda 1.0"

"""`mascli evaluate` on a network whose answers can be read off the images: it predicts their grey value / 10."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import Run
from line_checkpoints import LONG, SHORT, Place, make_place, row
from scipy.stats import binomtest

from mascli.config import EvaluateConfig
from mascli.evaluation.paired import paired_interval
from mascli.observer import Observer
from mascli.workflows.evaluate import evaluate


@pytest.fixture
def place(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Place:
    return make_place(tmp_path, run, monkeypatch)


def test_every_number_of_a_task_is_the_one_worked_out_by_hand(place: Place) -> None:
    result = place.json("before.st", "--data-root", "data")
    short, long = row(result, "short"), row(result, "long")
    assert (short["images"], short["correct"], short["accuracy"]) == (6, 5, 100 * 5 / 6)
    assert short["top5"] is None and (short["classes"], short["known_classes"]) == (3, 3)
    assert (long["images"], long["correct"], long["accuracy"]) == (7, 5, 100 * 5 / 7)  # a: 1 -> b, c: 6 -> g
    assert long["top5"] == 100 * 6 / 7  # for the image c of 6, the classes 6, 5, 7, 4 and 3 are nearer than 2
    assert (long["classes"], long["known_classes"]) == (3, 8)
    assert long["without_images"] == list("bdefg") and short["without_images"] == []
    for found in (short, long):
        expected = binomtest(found["correct"], found["images"]).proportion_ci(method="wilson")
        assert (found["low"], found["high"]) == pytest.approx([100 * limit for limit in expected], abs=1e-9)
        assert [found[key] for key in ("baseline", "forgetting", "lost", "gained", "p_value", "per_class")] == [
            None
        ] * 6
    assert result["average_accuracy"] == pytest.approx((500 / 6 + 500 / 7) / 2)


def test_a_pair_of_checkpoints_is_compared_image_by_image(place: Place) -> None:
    short = row(place.json("after.st", "--data", "short=data/short", "--baseline", "before.st"), "short")
    assert (short["baseline_accuracy"], short["accuracy"]) == (100 * 5 / 6, 100 * 5 / 6)
    assert (short["lost"], short["gained"], short["forgetting"]) == (1, 1, 0)
    assert (short["forgetting_low"], short["forgetting_high"]) == paired_interval(1, 1, 6)
    assert short["p_value"] == 1.0


def test_what_was_lost_is_told_with_its_interval_and_p(place: Place) -> None:
    place.images("many", {"one": [1.3] * 9 + [1.0] * 11, "two": [1.4] * 2 + [2.0] * 8})
    long = row(place.json("after.st", "--task", "short", "--data", "many", "--baseline", "before.st"), "short")
    assert (long["lost"], long["gained"], long["images"]) == (9, 2, 30)
    assert long["forgetting"] == pytest.approx(100 * 7 / 30)
    assert (long["forgetting_low"], long["forgetting_high"]) == pytest.approx(paired_interval(9, 2, 30))
    assert long["p_value"] == pytest.approx(binomtest(2, 11).pvalue, rel=1e-9)


def test_each_task_is_compared_with_the_first_baseline_that_has_it(place: Place) -> None:
    words = ["--data-root", "data", "--baseline", "before.st", "--baseline", "after.st"]
    result = place.json("after.st", *words)
    assert [found["baseline"] for found in result["tasks"]] == ["before.st", "before.st"]
    result = place.json("after.st", "--data-root", "data", "--baseline", "after.st", "--baseline", "before.st")
    assert [(found["baseline"], found["lost"], found["gained"]) for found in result["tasks"]] == [
        ("after.st", 0, 0)
    ] * 2
    low, high = paired_interval(0, 0, 6)
    assert row(result, "short")["forgetting_low"] == low == -high < 0


def test_a_baseline_that_is_no_ancestor_is_a_note(place: Place) -> None:
    code, _, err = place.evaluate(
        "before.st", "--data-root", "data", "--baseline", "after.st", "--max-forgetting", "50"
    )
    assert code == 0, err
    told = (
        "no ancestor of before.st: the difference is not forgetting in short, long, and counts as such in the average"
    )
    assert told in " ".join(err.split())


def test_each_row_says_which_baseline_it_is_compared_with(place: Place) -> None:
    def table(*baselines: str) -> list[list[str]]:
        words = [word for name in baselines for word in ("--baseline", name)]
        code, out, err = place.evaluate("after.st", "--data-root", "data", *words)
        assert code == 0, err
        lines = out.split("forgetting since the baseline\n")[1].splitlines()
        return [re.split(r" {2,}", line) for line in lines[:3]]

    place.checkpoint("other.st", shift=0.1)
    place.checkpoint("first.st", shift=0.2, tasks=("short",))
    place.checkpoint("after.st", shift=0.3, after=("before.st", "first.st"))
    assert "since" not in table("before.st")[0]
    header, short, long = table("first.st", "before.st")
    assert header[:2] == ["task", "since"]
    assert (short[:2], long[:2]) == (["short", "first.st"], ["long", "before.st"])
    header, short, long = table("first.st", "other.st")
    assert (short[:2], long[:2]) == (["short", "first.st"], ["long", "other.st (no ancestor)"])
    assert table("other.st")[1][1] == "other.st (no ancestor)"
    words = ["--data-root", "data", "--baseline", "first.st", "--baseline", "other.st", "--baseline", "before.st"]
    result = place.json("after.st", *words)
    assert [found["baseline_is_ancestor"] for found in result["tasks"]] == [True, False]
    first, second = result["notes"]
    assert "other.st is no ancestor of after.st: the difference is not forgetting in long, and" in first
    assert second == "--baseline before.st is left out: an earlier --baseline has its tasks"


def test_classes_are_told_one_by_one(place: Place) -> None:
    result = place.json("before.st", "--data-root", "data", "--per-class")
    assert [found["class"] for found in row(result, "long")["per_class"]] == list(LONG)
    by_class = {found["class"]: found for found in row(result, "long")["per_class"]}
    assert {name: (f["images"], f["correct"], f["predicted"]) for name, f in by_class.items()} == {
        **{"a": (2, 1, 1), "b": (0, 0, 1), "c": (4, 3, 3), "d": (0, 0, 0)},
        **{"e": (0, 0, 0), "f": (0, 0, 0), "g": (0, 0, 1), "h": (1, 1, 1)},
    }
    assert by_class["c"]["accuracy"] == 75 and by_class["b"]["accuracy"] is by_class["b"]["low"] is None
    assert by_class["c"]["lost"] is by_class["c"]["forgetting"] is None
    low, high = binomtest(3, 4).proportion_ci(method="wilson")
    assert (by_class["c"]["low"], by_class["c"]["high"]) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    cells = {(cell["class"], cell["taken_for"]): cell["images"] for cell in row(result, "long")["confusion"]}
    assert cells == {("a", "a"): 1, ("a", "b"): 1, ("c", "c"): 3, ("c", "g"): 1, ("h", "h"): 1}


def test_classes_are_compared_one_by_one(place: Place) -> None:
    result = place.json("after.st", "--data-root", "data", "--per-class", "--baseline", "before.st")
    found = {f["class"]: (f["lost"], f["gained"], f["forgetting"]) for f in row(result, "short")["per_class"]}
    assert found == {"nought": (0, 0, 0), "one": (1, 0, 50), "two": (0, 1, -100)}
    without = {f["class"]: f["forgetting"] for f in row(result, "long")["per_class"]}
    assert without["b"] is None and without["h"] == 0


def test_classes_are_rows_of_the_csv_too(place: Place) -> None:
    _, out, _ = place.evaluate(
        "after.st", "--data-root", "data", "--per-class", "--format", "csv", "--baseline", "before.st"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["task"], r["class"]) for r in rows] == [
        *(("short", name) for name in ("", *SHORT)),
        *(("long", name) for name in ("", *LONG)),
    ]
    assert rows[2]["forgetting"] == "50.0" and rows[2]["images"] == "2" and rows[2]["folder"] == "data/short"
    assert rows[0]["images"] == "6" and rows[0]["p_value"] == "1.0" and rows[2]["p_value"] == ""
    plain_rows = list(
        csv.DictReader(io.StringIO(place.evaluate("after.st", "--data-root", "data", "--format", "csv")[1]))
    )
    assert [r["task"] for r in plain_rows] == ["short", "long"] and "class" not in plain_rows[0]


def test_accuracy_by_class_adds_up_to_that_of_the_task_and_changes_nothing(place: Place) -> None:
    words = ["after.st", "--data-root", "data", "--baseline", "before.st"]
    without, told = place.json(*words), place.json(*words, "--per-class", "--batch-size", "1")
    for task in ("short", "long"):
        whole, classes = row(told, task), row(told, task)["per_class"]
        for key in ("images", "correct", "lost", "gained"):
            assert sum(found[key] for found in classes) == whole[key]
        assert {**whole, "per_class": None, "confusion": None} == row(without, task)


def test_outputs_that_hold_nan_are_no_answer(place: Place) -> None:
    place.checkpoint("broken.st", scale=3e38, after=("before.st",))  # beyond float32 from 1.2 on: 0 · inf is nan
    result = place.json("broken.st", "--data", "short=data/short", "--baseline", "before.st", "--per-class")
    short = row(result, "short")
    assert (short["no_answer"], short["correct"], short["lost"], short["gained"]) == (2, 2, 3, 0)
    assert sum(cell["images"] for cell in short["confusion"]) == short["images"] - short["no_answer"]
    (note,) = [note for note in result["notes"] if "nan" in note]
    assert note.startswith("broken.st: the outputs for 2 images of task short hold nan") and "counted as wrong" in note
    other = place.json("before.st", "--data", "short=data/short", "--baseline", "broken.st")
    assert row(other, "short")["gained"] == 3 and any(
        note.startswith("broken.st: the outputs") for note in other["notes"]
    )


def test_an_image_that_cannot_be_read_counts_for_neither_checkpoint(place: Place) -> None:
    Path("data/short/one/broken.png").write_bytes(b"nothing")
    short = row(place.json("after.st", "--data-root", "data", "--baseline", "before.st"), "short")
    assert (short["images"], short["unreadable"], short["lost"]) == (6, 1, 1)
    Path("data/short/two/000.png").write_bytes(b"nothing")
    short = row(place.json("after.st", "--data-root", "data", "--per-class"), "short")
    assert short["without_images"] == ["two"] and short["per_class"][2]["accuracy"] is None


# before.st: 83.33 on short, 71.43 on long; after.st forgets 0 and 0
GATES = [
    ((), 0, []),
    (("--min-accuracy", "71.43"), 0, []),  # 71.428... is shown as 71.43, and what is shown decides
    (("--min-accuracy", "71.431"), 7, ["task long: accuracy 71.43 %, less than --min-accuracy 71.431"]),
    (("--min-accuracy", "short=83.33"), 0, []),
    (("--min-accuracy", "short=83.34"), 7, ["task short: accuracy 83.33 %, less than --min-accuracy 83.34"]),
    (("--min-accuracy", "80", "--min-accuracy", "long=70"), 0, []),
    (("--min-accuracy", "70", "--min-accuracy", "short=90"), 7, ["task short: accuracy 83.33 %, less than"]),
    (
        ("--min-accuracy", "99", "--min-accuracy", "short=80", "--min-accuracy", "long=80"),
        7,
        ["task long: accuracy 71.43 %"],
    ),
]


@pytest.mark.parametrize(("limits", "code", "lines"), GATES)
def test_gates_on_accuracy(place: Place, limits: tuple[str, ...], code: int, lines: list[str]) -> None:
    got, out, err = place.evaluate("before.st", "--data-root", "data", *limits)
    told = [line.removeprefix("mascli: ") for line in err.splitlines() if line.startswith("mascli: ")]
    assert got == code, err
    assert len(told) == len(lines) and all(line.startswith(start) for line, start in zip(told, lines, strict=True))
    assert ("FAILED" in out) == (code == 7) and "accuracy by task" in out


def test_gates_on_forgetting(place: Place) -> None:
    place.images("data/short", {"two": [1.4, 2.4, 2.4, 2.4]})
    place.images("data/short", {"one": [1.3] * 4})
    words = ["after.st", "--data-root", "data", "--baseline", "before.st"]
    assert place.json(*words)["tasks"][0]["forgetting"] == pytest.approx(100 * 3 / 11)
    for limits, code in (
        (["27.27"], 0),
        (["27.26"], 7),
        (["10", "short=30"], 0),
        (["30", "short=10"], 7),
        (["long=-0.01"], 7),
        (["long=0"], 0),
    ):
        flags = [word for limit in limits for word in ("--max-forgetting", limit)]
        got, _, err = place.evaluate(*words, *flags)
        assert got == code, (limits, err)


def test_a_report_of_every_kind_says_what_failed(place: Place) -> None:
    words = ["after.st", "--data-root", "data", "--baseline", "before.st", "--per-class", "--max-forgetting", "0"]
    words += ["--min-accuracy", "60", "--min-accuracy", "short=90"]
    code, out, _ = place.evaluate(
        *words, *(word for end in ("json", "csv", "md", "xml") for word in ("--report", f"r.{end}"))
    )
    assert code == 7
    gates = json.loads(Path("r.json").read_text())["gates"]
    assert [(gate["name"], gate["task"], gate["limit"], gate["passed"]) for gate in gates] == [
        ("min-accuracy", "short", 90, False),
        ("min-accuracy", "long", 60, True),
        ("max-forgetting", "short", 0, True),
        ("max-forgetting", "long", 0, True),
    ]
    suite = ElementTree.parse("r.xml").getroot()
    names = [case.attrib["name"] for case in suite.iter("testcase")]
    assert names == ["short: evaluated", "long: evaluated", "short: min-accuracy", "long: min-accuracy"] + [
        "short: max-forgetting",
        "long: max-forgetting",
    ]
    (failure,) = suite.iter("failure")
    assert failure.text == failure.attrib["message"] == "task short: accuracy 83.33 %, less than --min-accuracy 90"
    document = Path("r.md").read_text()
    assert "- limits: ❌ FAILED: 1 of 4 not met" in document
    assert "| ❌ FAILED | --min-accuracy 90 | short | 83.33 |" in document
    assert "| ✅ passed | --max-forgetting 0 | long | 0.00 |" in document
    assert "❌" not in out and "FAILED  --min-accuracy 90" in " ".join(out.split("\n")).replace("   ", "  ")


def test_an_accuracy_that_looks_like_a_share_is_noted(place: Place) -> None:
    def noted(*limits: str) -> str:
        code, _, err = place.evaluate("before.st", "--data-root", "data", *limits)
        assert code == 0, err
        return " ".join(err.split())

    assert "note: --min-accuracy 0.9 is percent, not a share: write --min-accuracy 90 for 90 %" in noted(
        "--min-accuracy", "0.9"
    )
    assert "write --min-accuracy long=57.5 for 57.5 %" in noted("--min-accuracy", "long=0.575")
    assert "write --min-accuracy 100 for 100 %" in noted("--min-accuracy", "1")
    assert noted("--min-accuracy", "0") == noted("--min-accuracy", "1.5") == ""
    result = place.json("before.st", "--data-root", "data", "--min-accuracy", "0.9")
    assert any("not a share" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            "--min-accuracy shirt=9",
            2,
            "--min-accuracy shirt: before.st has no such task; it has short, long; did you mean 'short'?",
        ),
        ("--max-forgetting x=9 --baseline after.st", 2, "--max-forgetting x: before.st has no such task"),
        ("--max-forgetting short=9", 2, "--max-forgetting needs --baseline"),
        ("--max-forgetting 1", 2, "--max-forgetting needs --baseline"),
        ("--min-accuracy 10 --min-accuracy 20", 2, "--min-accuracy is given twice"),
    ],
)
def test_a_limit_that_cannot_be_decided_is_an_error(place: Place, words: str, code: int, message: str) -> None:
    got, out, err = place.evaluate("before.st", "--data-root", "data", *words.split())
    assert got == code and not out and message in err, err


def test_a_limit_on_a_task_that_is_not_evaluated_is_an_error(place: Place) -> None:
    code, out, err = place.evaluate("before.st", "--data", "short=data/short", "--min-accuracy", "long=10")
    assert code == 2 and not out and "--min-accuracy long: the task is not evaluated; give its images with" in err
    code, out, err = place.evaluate("before.st", "--data-root", "data", "--task", "short", "--min-accuracy", "long=10")
    assert code == 2 and not out and "the task is not evaluated" in err
    Path("data/long").rename("elsewhere")
    for limit in ("10", "long=10"):
        code, out, err = place.evaluate("before.st", "--data-root", "data", "--min-accuracy", limit)
        assert code == 3 and not out and "has no folder for long, which the limit is for" in err
    assert place.evaluate("before.st", "--data-root", "data", "--min-accuracy", "short=10")[0] == 0


def test_a_class_that_is_missing_is_mentioned(place: Place) -> None:
    _, out, _ = place.evaluate("before.st", "--data-root", "data")
    assert "long: no image of 5 of its 8 classes: b, d, e, f, g" in out


def test_a_configuration_may_be_made_by_other_code(place: Place) -> None:
    config = EvaluateConfig(checkpoint=Path("before.st"), data=("short=data/short",), trust_model_code=True)
    result = evaluate(config, Observer())
    assert [found.correct for found in result.tasks] == [5] and result.gates == ()

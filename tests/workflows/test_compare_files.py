"""`mascli inspect` with two files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored
from commands import Run
from compared import checkpoints, compare, omegas

from mascli.config import InspectConfig
from mascli.errors import CheckpointError, UsageError
from mascli.files.partial_file import partial_path, write_partial
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import array_source, write_tensor_file
from mascli.observer import Observer
from mascli.records import CheckpointRecord, ModelSpec, Preprocessing, Step, Task, head_tensor
from mascli.reports.change import change_report
from mascli.reports.comparison import PairImages, comparison_report
from mascli.reports.export import to_csv, to_markdown
from mascli.reports.render import text
from mascli.workflows import compare_checks
from mascli.workflows.compare_checks import check_compare
from mascli.workflows.compare_files import compare_files

A, B, C = "a" * 64, "b" * 64, "c" * 64
NAN = math.nan
BODY = {"body.weight": [[1.0, 2.0], [3.0, 4.0]], "body.bias": [0.5, 0.5], "body.mean": [1.0]}


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def write(path: Path, body: Mapping[str, Any], record: CheckpointRecord | None = None, head: float = 0.0) -> Path:
    """A checkpoint of these shared tensors; what it lists besides is filled with `head`."""
    record = record or stored.checkpoint()
    tables = [*record.heads.values(), *record.owned.values()]
    rest = {name: np.full((2, 2), head, np.float32) for table in tables for name in table.values()}
    arrays = {name: np.asarray(value, getattr(value, "dtype", np.float32)) for name, value in {**body, **rest}.items()}
    sources = {name: array_source(array) for name, array in arrays.items()}
    write_tensor_file(path, sources, checkpoint_metadata(record, {}), overwrite=True)
    return path


def plain_weights(path: Path, values: Mapping[str, Any]) -> Path:
    sources = {name: array_source(np.asarray(value, np.float32)) for name, value in values.items()}
    write_tensor_file(path, sources, {}, overwrite=True)
    return path


def descendant(*names: str, sha: str = B, **changes: Any) -> CheckpointRecord:
    """The record of a checkpoint that `stored.checkpoint()` became by learning the last of `names`."""
    parent = stored.checkpoint()
    lineage = (*parent.lineage, Step("train-task", sha, task=names[-1]))
    return replace(stored.checkpoint(("base", *names)), lineage=lineage, **changes)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint, and what became of it: one weight 4 -> 5, the buffer 1 -> 3, and another task."""
    after = {**BODY, "body.weight": [[1.0, 2.0], [3.0, 5.0]], "body.mean": [3.0]}
    return write(tmp_path / "a.st", BODY), write(tmp_path / "b.st", after, descendant("new"))


def test_two_omegas(tmp_path: Path) -> None:
    one = stored.write(tmp_path / "a.omega", {"a.w": [1.0, 2.0, 3.0], "a.b": [NAN]})
    record = stored.omega(
        stored.contribution("two", "three", "four", shared_sha256=B), method="ewc", reduction="square"
    )
    other = stored.write(tmp_path / "b.omega", {"a.w": [2.0, 4.0, 6.0], "a.b": [1.0]}, record)
    found = omegas(one, other)
    assert (found.kind, found.files, found.model) == ("omegas", (str(one), str(other)), "mascli:mlp")
    assert found.images == PairImages(2, 3, 1)
    overall = found.comparison.overall
    assert (overall.pearson, overall.spearman, overall.scale, overall.relative_l1) == (1.0, 1.0, 2.0, 1.0)
    assert (overall.parameters, overall.compared) == (4, 3)
    assert found.differences == (
        "methods differ: mas (squared-l2, abs) in the first, ewc (squared-l2, square) in the second; their units "
        "differ too, so compare the order rather than the scale",
        "measured on weights: aaaaaaaa in the first, bbbbbbbb in the second",
    )
    assert found.notes == (f"{one}: 1 value is not finite, and left out; no importance is like that",)


def test_how_omegas_were_made_differently_is_said(tmp_path: Path) -> None:
    one = stored.write(tmp_path / "a.omega", {"a.w": [1.0]})
    model = ModelSpec("mascli", "mlp", {"hidden": "8"}, "fc")
    parts = (
        stored.contribution("x", heads=("birds",), preprocessing=Preprocessing((4, 4))),
        stored.contribution("y", weight=0.5),
    )
    other = stored.write(tmp_path / "b.omega", {"a.w": [1.0]}, stored.omega(*parts, model=model))
    assert omegas(one, other).differences == (
        "arguments of the model: hidden=4 in the first, hidden=8 in the second",
        "heads replace head in the first, fc in the second",
        "the answers of: base in the first, birds, base in the second",
        "estimates: one in the first, the sum of 2, weighed by 1, 0.5 in the second",
        "images were prepared differently (size, crop, mean or std)",
    )
    assert omegas(one, one).differences == ()


def test_layers_can_be_chosen(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "a.omega", {"a.w": [1.0, 2.0], "b.w": [1.0], "b.b": [1.0]})
    found = omegas(path, path, layer=("b*",))
    assert [layer.name for layer in found.comparison.layers] == ["b"]
    assert found.comparison.overall.parameters == 2
    assert found.notes == ("all figures are of the layers that match b* alone",)
    with pytest.raises(UsageError, match=r"--layer 'c\*' matches no layer \(the first: a, b\)"):
        omegas(path, path, layer=("b", "c*"))


@pytest.mark.parametrize(
    ("values", "model", "message"),
    [
        ({"a.w": [1.0]}, ModelSpec("torchvision", "alexnet"), "is of mascli:mlp and .* of torchvision:alexnet"),
        ({"a.w": [1.0, 2.0]}, stored.MODEL, r"a\.w is \[1\] in .*a.omega and \[2\] in .*b.omega"),
        ({"a.w": [1.0], "c.w": [1.0]}, stored.MODEL, r"b.omega has a tensor c\.w and .*a.omega has none"),
        ({}, stored.MODEL, r"a.omega has a tensor a\.w and .*b.omega has none"),
    ],
)
def test_omegas_of_other_networks_are_refused(
    tmp_path: Path, values: dict[str, list[float]], model: ModelSpec, message: str
) -> None:
    one = stored.write(tmp_path / "a.omega", {"a.w": [1.0]})
    other = stored.write(tmp_path / "b.omega", values, stored.omega(model=model))
    with pytest.raises(CheckpointError, match=message):
        compare(one, other)


def test_more_values_than_can_be_ranked_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored.write(tmp_path / "a.omega", {"a.w": [1.0, 2.0], "b.w": [1.0]})
    monkeypatch.setattr(compare_checks, "MOST", 2)
    with pytest.raises(
        CheckpointError, match="has 3 values, and 2 can be ranked at a time: choose layers with --layer"
    ):
        compare(path, path)
    assert omegas(path, path, layer=("a",)).comparison.overall.parameters == 2


def test_image_hashes_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    damaged = stored.omega(stored.contribution(image_hashes="?"))
    path = stored.write(tmp_path / "a.omega", {"a.w": [1.0]}, damaged)
    with pytest.raises(CheckpointError, match="is damaged: its image hashes are not base64"):
        compare(path, path)


def test_two_checkpoints(pair: tuple[Path, Path]) -> None:
    found = checkpoints(*pair)
    assert (found.kind, found.files, found.model) == ("checkpoints", tuple(map(str, pair)), "mascli:mlp")
    assert (found.relation, found.descends) == (
        "the second descends from the first, by 1 step (train-task new)",
        True,
    )
    assert found.heads is not None
    assert (found.heads.added, found.heads.removed, found.heads.changed) == (("new",), (), ())
    overall = found.overall
    assert (overall.parameters, overall.changed, overall.largest, overall.weighed) == (6, 1, 1.0, None)
    assert overall.relative_l2 == pytest.approx(1 / math.sqrt(30.5), abs=1e-15)
    assert [(b.name, b.values, b.changed, b.relative_l2, b.largest) for b in found.buffers] == [
        ("body.mean", 1, 1, 2.0, 2.0)
    ]
    assert (found.omega, found.notes, found.differences) == (None, (), ())


def test_the_same_checkpoint_twice_has_no_change(pair: tuple[Path, Path]) -> None:
    found = checkpoints(pair[0], pair[0])
    assert found.relation == "the shared parameters and buffers of both are the same"
    assert (found.descends, found.overall.changed, found.overall.relative_l2, found.overall.largest) == (
        False,
        0,
        0.0,
        0.0,
    )
    assert found.heads is not None
    assert (found.heads.added, found.heads.removed, found.heads.changed) == ((), (), ())


def test_a_change_is_weighed_by_an_omega(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    omega = stored.write(tmp_path / "x.omega", {"body.weight": [[0.0, 1.0], [2.0, 1.0]]})
    found = checkpoints(*pair, omega=omega)
    weighed = found.overall.weighed
    assert weighed is not None
    assert (weighed.moved, weighed.on_changed) == (1 / 12, 0.25)  # of 1*2 + 2*3 + 1*4, and of 1 + 2 + 1
    assert found.notes == ("the omega says nothing of body.bias: importance 0",)
    odd = stored.write(tmp_path / "odd.omega", {"body.weight": [[NAN, 1.0], [2.0, 1.0]], "body.bias": [1.0, -1.0]})
    assert checkpoints(*pair, omega=odd).notes == ("2 values of the omega negative or not finite: importance 0",)
    shown = text(change_report(found), 200).plain
    assert "this fine-tuning moved 8.33 % of what matters (9.09 % if all parameters mattered alike)" in shown
    assert "25.00 % of the importance sits on values that changed at all" in shown


def test_an_omega_of_other_weights_is_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = stored.omega(stored.contribution(shared_sha256=C))
    omega = stored.write(tmp_path / "x.omega", {"body.weight": np.ones((2, 2))}, other)
    with pytest.raises(CheckpointError, match="was measured on other weights"):
        checkpoints(*pair, omega=omega)
    later = stored.write(
        tmp_path / "x.omega",
        {"body.weight": np.ones((2, 2))},
        stored.omega(stored.contribution(shared_sha256=B)),
    )
    with pytest.raises(CheckpointError, match=r"was measured after .*a\.st, whose change it cannot weigh"):
        checkpoints(*pair, omega=later)
    assert checkpoints(pair[1], pair[0], omega=later).overall.weighed is not None
    shape = stored.write(tmp_path / "x.omega", {"body.weight": [1.0]})
    with pytest.raises(CheckpointError, match=r"body\.weight is \[1\] in the omega"):
        checkpoints(*pair, omega=shape)


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ((A,), (A, B), "the second descends from the first, by 1 step (train-task)"),
        ((A, B), (A,), "the first descends from the second, by 1 step (train-task)"),
        ((A, B), (A, C), "both descend from aaaaaaaa (init)"),
        ((A,), (B,), "neither descends from the other, and no ancestor is common to both"),
    ],
)
def test_how_checkpoints_are_related(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], relation: str
) -> None:
    def path(name: str, hashes: tuple[str, ...]) -> Path:
        steps = tuple(Step("train-task" if number else "init", sha) for number, sha in enumerate(hashes))
        return write(tmp_path / name, BODY, stored.checkpoint(lineage=steps))

    found = checkpoints(path("a", first), path("b", second))
    assert (found.relation, found.descends) == (relation, relation.startswith("the second"))


def test_tasks_that_are_gone_or_answer_otherwise_are_told(tmp_path: Path) -> None:
    one = write(tmp_path / "a", BODY, stored.checkpoint(("base", "old")))
    tasks = (Task("base", ("dog", "cat")), Task("new", ("cat", "dog")))
    record = replace(stored.checkpoint(("base", "new")), tasks=tasks, preprocessing=Preprocessing((4, 4)))
    found = checkpoints(one, write(tmp_path / "b", BODY, record, head=1.0))
    assert found.heads is not None
    assert (found.heads.added, found.heads.removed, found.heads.changed) == (("new",), ("old",), ("base",))
    assert found.differences == (
        "images are prepared differently (size, crop, mean or std)",
        "the classes of task base differ",
    )
    shown = text(change_report(found), 80).plain
    assert "tasks gone  old" in shown
    assert "changed: base" in shown


def test_batchnorm_that_became_each_tasks_own_is_not_compared(tmp_path: Path) -> None:
    own = {"body.bias": "mascli.task.base.body.bias"}
    record = stored.checkpoint(shared=("body.weight",), owned={"base": own})
    body = {name: value for name, value in BODY.items() if name != "body.bias"}
    found = checkpoints(write(tmp_path / "a", BODY), write(tmp_path / "b", body, record))
    assert (found.overall.parameters, found.overall.changed) == (4, 0)
    assert found.notes[0].endswith("are not compared: body.bias")
    assert found.heads is not None
    assert found.heads.changed == ("base",)


def test_a_head_that_tasks_share_is_told_of_each_and_weighs_nothing(tmp_path: Path) -> None:
    tasks = (Task("base", ("cat", "dog")), Task("night", ("cat", "dog"), head="base"))
    record = stored.checkpoint(tasks=tasks, heads={"base": {"weight": head_tensor("base", "weight")}})
    one, other = write(tmp_path / "a", BODY, record), write(tmp_path / "b", BODY, record, head=1.0)
    values = {"body.weight": np.ones((2, 2)), "body.bias": [1.0, 1.0], head_tensor("base", "weight"): np.ones((2, 2))}
    measured = stored.omega(stored.contribution(heads_sha256={"base": C}))
    found = checkpoints(one, other, omega=stored.write(tmp_path / "x.omega", values, measured))
    assert found.heads is not None
    assert found.heads.changed == ("base", "night")
    assert found.overall.weighed is not None
    assert found.overall.weighed.moved == 0.0
    assert found.notes == (
        "1 tensor of the omega (mascli.head.base.weight): of heads or each task's own, and left out",
    )


def test_plain_weights(tmp_path: Path) -> None:
    names = ("c.weight", "c.running_mean")
    one = plain_weights(tmp_path / "a", {name: [1.0, 2.0] for name in names})
    found = checkpoints(one, plain_weights(tmp_path / "b", {name: [1.0, NAN] for name in names}))
    assert (found.kind, found.model, found.relation, found.heads) == ("weights", None, None, None)
    assert (found.overall.parameters, found.overall.changed, found.overall.not_finite) == (2, 0, 1)
    assert [(buffer.name, buffer.not_finite) for buffer in found.buffers] == [("c.running_mean", 1)]
    assert found.notes == ("1 value not finite in one of the files, and left out",)
    shown = text(change_report(found), 80).plain
    assert "both    plain weights, 2 values in 1 layer\n\nchanged  0 of 2 values (0.00 %)" in shown
    assert "lineage" not in shown


def test_files_without_parameters_have_no_change(tmp_path: Path) -> None:
    empty = plain_weights(tmp_path / "a", {})
    assert "changed  0 of 0 values (nothing is compared)" in text(change_report(checkpoints(empty, empty)), 80).plain


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    omega = stored.write(tmp_path / "x.omega", {"a.w": [1.0]})
    plain = plain_weights(tmp_path / "plain", {"a.w": [1.0]})
    other = plain_weights(tmp_path / "other", {"b.w": [1.0]})
    for first, second, message in (
        (pair[0], omega, r"is a checkpoint and .* is an omega: .*with --omega"),
        (omega, pair[0], r"is an omega and .* is a checkpoint: .*with --omega"),
        (omega, plain, r"is an omega and .* is plain weights: give two files of a kind"),
        (plain, pair[0], "make a checkpoint of the plain weights with mascli init --weights"),
        (plain, other, r"plain has a tensor a\.w and .*other has none"),
    ):
        with pytest.raises(CheckpointError, match=message):
            compare(first, second)
    with pytest.raises(CheckpointError, match="plain weights, which no omega was measured on"):
        compare(plain, plain, omega=omega)
    with pytest.raises(UsageError, match="--omega weighs what changed between two checkpoints"):
        compare(omega, omega, omega=omega)
    write_partial(partial_path(pair[0]), {"a": array_source(np.zeros(2, np.float32))}, {"epoch": 1})
    with pytest.raises(CheckpointError, match="unfinished work"):
        compare(partial_path(pair[0]), pair[0])


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    record = stored.checkpoint(model=ModelSpec("torchvision", "alexnet"))
    with pytest.raises(CheckpointError, match="only files of one network"):
        compare(pair[0], write(tmp_path / "c", BODY, record))
    shape = write(tmp_path / "c", {**BODY, "body.bias": [1.0]})
    with pytest.raises(CheckpointError, match=r"body\.bias is \[2\] in .*a.st and \[1\] in"):
        compare(pair[0], shape)


def test_flags_for_one_file_and_missing_files_are_usage_errors(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError) as refused:
        compare(*pair, histogram=True, top=3, map_="body")
    assert str(refused.value).splitlines() == [
        "--histogram is for one file: leave OTHER out",
        "--top is for one file: leave OTHER out",
        "--map is for one file: leave OTHER out",
    ]
    with pytest.raises(UsageError, match=r"OTHER: there is no file .*gone\n--omega: there is no file .*none"):
        compare(pair[0], tmp_path / "gone", omega=tmp_path / "none")


def test_notes_are_told_while_it_runs(tmp_path: Path) -> None:
    one = stored.write(tmp_path / "a.omega", {"a.w": [1.0, -1.0, math.inf]})
    config, notes = InspectConfig(file=one, other=one), Notes()
    result = compare_files(config, check_compare(config), notes)
    line = f"{one}: 1 value is not finite and 1 value is negative, and left out; no importance is like that"
    assert notes.lines == list(result.notes) == [line, line]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_is_shown_fits_the_width(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, width: int, ascii_only: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    values = {f"layer{stage}.0.conv{conv}.weight": random.exponential(1, 5000) for stage in (1, 2) for conv in (1, 2)}
    one = stored.write(Path("a.omega"), values)
    other = stored.write(Path("b.omega"), {name: random.exponential(1e-3, 5000) for name in values})
    omega = stored.write(Path("x.omega"), {"body.weight": np.ones((2, 2))})
    weighed = checkpoints(Path("a.st"), Path("b.st"), omega=omega)
    for report in (comparison_report(omegas(one, other)), change_report(weighed)):
        shown = text(report, width, ascii_only).plain
        assert all(len(line) <= width for line in shown.splitlines())
        assert not ascii_only or shown.isascii()
        assert len(to_csv(report).splitlines()) == 1 + len(report.rows)


def test_the_scatter_is_part_of_a_document(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "a.omega", {"a.w": [1.0, 2.0, 0.0]})
    report = comparison_report(omegas(path, path))
    assert "logarithmic scales\n\n```text\nsecond\n" in to_markdown(report)


def test_the_command_prints_the_same_as_json(tmp_path: Path, pair: tuple[Path, Path], run: Run) -> None:
    omega = stored.write(tmp_path / "x.omega", {"body.weight": np.ones((2, 2))})
    code, out, _ = run("inspect", *pair, "--omega", omega, "--format", "json")
    assert code == 0
    assert json.loads(out)["overall"]["weighed"]["moved"] == 0.1
    code, out, _ = run("inspect", omega, omega, "--format", "json")
    assert code == 0
    assert (json.loads(out)["kind"], json.loads(out)["overall"]["scale"]) == ("omegas", 1.0)
    code, out, err = run("inspect", omega, pair[0])
    assert (code, out) == (4, "")
    assert err.count("\n") == 1


def test_no_torch_is_loaded() -> None:
    modules = "mascli.workflows.compare_files, mascli.workflows.compare_checks, mascli.reports.change"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

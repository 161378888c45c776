"""Records in metadata: the same record comes back, and what cannot be true is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mascli.errors import CheckpointError
from mascli.files.records_json import (
    canonical_json,
    checkpoint_metadata,
    checkpoint_record,
    file_kind,
    foreign_metadata,
    omega_metadata,
    omega_record,
)
from mascli.files.tensor_file import Header, TensorInfo, array_source, read_header, write_tensor_file
from mascli.records import CheckpointRecord, ModelSpec, Preprocessing, Reliability, Step, Task

CHECKPOINT_TENSORS = ("body.weight", "body.bias", "body.mean", "mascli.head.base.weight")
RELIABLE = Reliability(0.9, 0.5, "body", 0.25, images=2)
Change = Callable[[dict[str, str]], object]


def header(metadata: dict[str, str], names: tuple[str, ...], dtype: str = "F32") -> Header:
    return Header(Path("some.file"), {name: TensorInfo(dtype, (1,), 0, 4) for name in names}, metadata, 8)


def checkpoint_header(record: CheckpointRecord | None = None, names: tuple[str, ...] = CHECKPOINT_TENSORS) -> Header:
    return header(checkpoint_metadata(record or stored.checkpoint(), {}), names)


def refusal(read: Callable[[Header], object], damaged: Header) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(damaged)
    assert str(caught.value).startswith("some.file ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_comes_back() -> None:
    record = stored.checkpoint(("base", "birds"), aliases={"tied": "body.weight"})
    assert checkpoint_record(checkpoint_header(record, (*CHECKPOINT_TENSORS, "mascli.head.birds.weight"))) == record


def test_an_omega_comes_back() -> None:
    parts = stored.contribution(), stored.contribution("three", unused=("aux.weight",))
    record = stored.omega(*parts, reliability=RELIABLE)
    assert omega_record(header(omega_metadata(record, {}), ("body.weight",))) == record


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
settings_of_a_step = st.dictionaries(st.text(), scalars | st.lists(scalars, max_size=3), max_size=3)


@given(
    arguments=settings_of_a_step,
    used=settings_of_a_step,
    classes=st.lists(st.text(), min_size=1, max_size=5, unique=True),
    resize_to=st.integers(0, 10_000),
)
def test_any_checkpoint_comes_back(
    arguments: dict[str, Any], used: dict[str, Any], classes: list[str], resize_to: int
) -> None:
    record = stored.checkpoint(
        model=ModelSpec("torchvision", "resnet18", arguments, "fc"),
        tasks=(Task("base", tuple(classes), imported=True),),
        lineage=(Step("init", "a", settings=used), Step("train-task", "b", "base", "c", "d", "e", used, used)),
        preprocessing=Preprocessing((224, 200), "squash", resize_to, "bicubic"),
    )
    assert checkpoint_record(checkpoint_header(record)) == record


def test_names_that_are_not_utf8_survive_a_file(tmp_path: Path) -> None:
    record = stored.checkpoint()
    record = replace(record, tasks=(Task("base", ("caf\udce9", "löwe\n")),))
    tensors = {name: array_source(np.zeros(1, np.float32)) for name in CHECKPOINT_TENSORS}
    write_tensor_file(tmp_path / "x", tensors, checkpoint_metadata(record, {}), overwrite=False)
    assert checkpoint_record(read_header(tmp_path / "x")) == record


def test_the_metadata_are_canonical_json() -> None:
    metadata = checkpoint_metadata(stored.checkpoint(), {"theirs": "as it was"})
    assert metadata["mascli.kind"] == '"checkpoint"'
    assert metadata["mascli.format_version"] == "1"
    assert metadata["mascli.preprocessing"] == (
        '{"channels":1,"interpolation":"bilinear","mean":[0.5],"resize":"shorter","resize_to":0,"size":[8,8],"std":[0.25]}'
    )
    fields = {f"mascli.{field.name}" for field in dataclasses.fields(CheckpointRecord)}
    assert metadata.keys() == {*fields, "mascli.kind", "mascli.format_version", "theirs"}
    for key, text in metadata.items():
        if key != "theirs":
            assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_infinities_are_text() -> None:
    assert canonical_json({"lambda": math.inf, "x": (-math.inf, math.nan)}) == '{"lambda":"inf","x":["-inf","nan"]}'
    record = stored.omega(stored.contribution(statistics=replace(stored.contribution().statistics, mean=math.inf)))
    assert omega_record(header(omega_metadata(record, {}), ())).contributions[0].statistics.mean == math.inf


def test_unknown_keys_are_kept() -> None:
    theirs = {"author": "someone", "mascli.later": "{}"}
    for metadata in (checkpoint_metadata(stored.checkpoint(), theirs), omega_metadata(stored.omega(), theirs)):
        assert foreign_metadata(header({**metadata, "format": "pt"}, ())) == theirs
    assert foreign_metadata(header({"format": "pt", "a": "b"}, ())) == {"a": "b"}


def test_our_keys_win_over_foreign_ones() -> None:
    assert omega_metadata(stored.omega(), {"mascli.kind": '"checkpoint"'})["mascli.kind"] == '"omega"'


def test_kinds_are_not_confused() -> None:
    plain = header({"format": "pt"}, ("w",))
    omega = header(omega_metadata(stored.omega(), {}), ())
    assert (file_kind(plain), file_kind(omega), file_kind(checkpoint_header())) == ("tensors", "omega", "checkpoint")
    assert checkpoint_record(plain) is None
    assert "is an omega file" in refusal(checkpoint_record, omega)
    assert "is a checkpoint; an omega file is needed" in refusal(omega_record, checkpoint_header())
    assert "is a plain tensor file; an omega file is needed" in refusal(omega_record, plain)


def test_a_newer_format_says_upgrade() -> None:
    newer = {**omega_metadata(stored.omega(), {}), "mascli.format_version": "5", "mascli.kind": '"sketch"'}
    for read in (file_kind, checkpoint_record, omega_record):
        assert "newer mascli (format 5; this one knows 4): upgrade" in refusal(read, header(newer, ()))


OWNED = {name: {"norm.weight": f"mascli.task.{name}.norm.weight"} for name in ("base", "birds")}
OWN_TENSORS = (*CHECKPOINT_TENSORS, "mascli.head.birds.weight", *(table["norm.weight"] for table in OWNED.values()))


def test_tensors_of_each_tasks_own_come_back_in_a_format_that_older_programs_refuse() -> None:
    record = stored.checkpoint(("base", "birds"), owned=OWNED)
    assert record.own_names == {"norm.weight"}
    found = checkpoint_header(record, OWN_TENSORS)
    assert checkpoint_record(found) == record
    assert found.metadata["mascli.format_version"] == "2"


def test_checkpoints_of_before_open_for_ever() -> None:
    older = {key: text for key, text in checkpoint_header().metadata.items() if key != "mascli.owned"}
    assert older["mascli.format_version"] == "1"
    assert checkpoint_record(header(older, CHECKPOINT_TENSORS)) == stored.checkpoint()


@pytest.mark.parametrize(
    ("owned", "said"),
    [
        ({"base": OWNED["base"]}, "some of its tasks have tensors of their own"),
        ({**OWNED, "dogs": {}}, "some of its tasks have tensors of their own"),
        ({**OWNED, "birds": {}}, "its tasks have different tensors of their own"),
        (
            {**OWNED, "birds": {"norm.bias": "mascli.task.birds.norm.weight"}},
            "its tasks have different tensors of their own",
        ),
        ({"base": OWNED["base"], "birds": OWNED["base"]}, "lists mascli.task.base.norm.weight twice"),
        (
            {name: {"body.bias": table["norm.weight"]} for name, table in OWNED.items()},
            "the tensors body.bias are shared and a task's own",
        ),
    ],
)
def test_own_tensors_that_cannot_be_are_refused(owned: dict[str, dict[str, str]], said: str) -> None:
    damaged = checkpoint_header(stored.checkpoint(("base", "birds"), owned=owned), OWN_TENSORS)
    assert said in refusal(checkpoint_record, damaged)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("format_version", "null", "no format version"),
        ("format_version", '"1"', "no format version"),
        ("format_version", "true", "no format version"),
        ("format_version", "0", "no format version"),
        ("format_version", "{", "is not JSON"),
        ("kind", '"sketch"', "sketch is no kind"),
        ("kind", '["omega"]', "is no kind"),
        ("model", "[", "is not JSON"),
        ("model", '{"source":"a","source":"b","name":"c"}', "duplicate key"),
        ("model", "{}", "source is missing"),
        ("model", '{"source":"a","name":"b","colour":1}', "unknown key 'colour'"),
        ("model", '"text"', "table of names"),
        ("lineage", "[]", "lineage is empty"),
        ("shared", "[" * 100_000, "nested too deeply"),
        ("shared", '["body.weight","body.bias","body.bias"]', "lists body.bias twice"),
        ("shared", '["body.weight","body.bias","gone"]', "lacks the tensors gone"),
        ("shared", '["body.weight"]', "has the tensors body.bias"),
        ("heads", "{}", "its tasks and its heads"),
        ("heads", '{"base":{"weight":"mascli.head.base.weight"},"more":{}}', "its tasks and its heads"),
        ("aliases", '{"tied":"gone"}', "aliases tied"),
        ("tasks", '[{"name":"a/b","classes":["x"]}]', "a task name is"),
        ("tasks", '[{"name":"base","classes":["x"]},{"name":"BASE","classes":["x"]}]', "already has a task"),
        ("tasks", '[{"name":"base","classes":[]}]', "no classes"),
        ("tasks", '[{"name":"base","classes":["x","x"]}]', "the same one twice"),
        ("tasks", '[{"name":"base","classes":["x"],"kind":"song"}]', "song"),
        ("preprocessing", '{"size":[8]}', "image size"),
        ("preprocessing", '{"size":[8,0]}', "image size"),
        ("preprocessing", '{"size":[8,100000]}', "image size"),
        ("preprocessing", '{"size":[8,8],"resize_to":-1}', "image size"),
        ("preprocessing", '{"size":[8,8],"channels":1}', "mean and std"),
        ("preprocessing", '{"size":[8,8],"channels":0,"mean":[],"std":[]}', "cannot be"),
        ("preprocessing", '{"size":[8,8],"channels":1,"mean":["nan"],"std":[1]}', "cannot be"),
        ("preprocessing", '{"size":[8,8],"channels":1,"mean":[0],"std":[0]}', "cannot be"),
    ],
)
def test_a_checkpoint_that_cannot_be_true_is_one_line(key: str, text: str, said: str) -> None:
    metadata = {**checkpoint_metadata(stored.checkpoint(), {}), f"mascli.{key}": text}
    assert said in refusal(checkpoint_record, header(metadata, CHECKPOINT_TENSORS))


def test_a_missing_field_is_one_line() -> None:
    metadata = checkpoint_metadata(stored.checkpoint(), {})
    del metadata["mascli.tasks"]
    assert "tasks is missing" in refusal(checkpoint_record, header(metadata, CHECKPOINT_TENSORS))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 0}, "no images"),
        ({"heads": ()}, "no heads"),
        ({"weight": math.inf}, "cannot be"),
        ({"weight": -1.0}, "cannot be"),
        ({"weight": math.nan}, "cannot be"),
        ({"mean_squared_norm": -1.0}, "cannot be"),
        ({"mean_squared_norm": math.nan}, "cannot be"),
        ({"preprocessing": Preprocessing(())}, "image size"),
    ],
)
def test_an_omega_that_cannot_be_true_is_one_line(changes: dict[str, Any], said: str) -> None:
    record = stored.omega(stored.contribution(**changes))
    assert said in refusal(omega_record, header(omega_metadata(record, {}), ()))


@pytest.mark.parametrize("known", [RELIABLE, None], ids=["measured", "not measured"])
def test_the_reliability_is_a_table_of_its_own(known: Reliability | None) -> None:
    metadata = omega_metadata(stored.omega(reliability=known), {})
    table = '{"half_difference":0.25,"images":2,"lowest":0.5,"lowest_layer":"body","overall":0.9}'
    assert metadata["mascli.reliability"] == (table if known else "null")
    assert omega_record(header(metadata, ())).reliability == known
    del metadata["mascli.reliability"]
    assert omega_record(header(metadata, ())).reliability is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overall": 1.01}, "reliability cannot be"),
        ({"overall": math.nan}, "reliability cannot be"),
        ({"lowest": -0.1}, "reliability cannot be"),
        ({"half_difference": math.inf}, "reliability cannot be"),
        ({"images": 1}, "reliability cannot be"),
        ({"images": "many"}, "reliability: images: expected a whole number"),
        ({"colour": 1}, "reliability: unknown key 'colour'"),
    ],
)
def test_a_reliability_that_cannot_be_true_is_one_line(changes: dict[str, Any], said: str) -> None:
    text = canonical_json({**dataclasses.asdict(RELIABLE), **changes})
    metadata = {**omega_metadata(stored.omega(), {}), "mascli.reliability": text}
    assert said in refusal(omega_record, header(metadata, ()))


def test_an_omega_has_contributions_and_float32() -> None:
    nothing = replace(stored.omega(), contributions=())
    assert "no contribution" in refusal(omega_record, header(omega_metadata(nothing, {}), ()))
    double = header(omega_metadata(stored.omega(), {}), ("body.weight",), dtype="F64")
    assert "must be float32: body.weight" in refusal(omega_record, double)


@pytest.mark.parametrize(("dtype", "called"), [("F16", "float16"), ("BF16", "bfloat16")])
def test_an_omega_that_another_tool_has_rounded_is_not_called_damaged(dtype: str, called: str) -> None:
    told = refusal(omega_record, header(omega_metadata(stored.omega(), {}), ("body.weight",), dtype=dtype))
    assert f"is rounded: another tool has stored its values as {called}" in told and "estimate it anew" in told
    assert "damaged" not in told


def test_each_of_several_estimates_keeps_its_reliability_in_a_format_that_older_programs_refuse() -> None:
    parts = stored.contribution(reliability=RELIABLE), stored.contribution("three")
    metadata = omega_metadata(stored.omega(*parts), {})
    assert metadata["mascli.format_version"] == "4"
    assert ["reliability" in part for part in json.loads(metadata["mascli.contributions"])] == [True, False]
    found = omega_record(header(metadata, ()))
    assert found.contributions == parts
    assert found.reliabilities == (RELIABLE, None) and found.reliability is None


def test_one_estimate_is_written_as_it_always_was() -> None:
    metadata = omega_metadata(stored.omega(reliability=RELIABLE), {})
    assert metadata["mascli.format_version"] == "1" and "reliability" not in metadata["mascli.contributions"]
    assert omega_record(header(metadata, ())).reliabilities == (RELIABLE,)


def test_a_reliability_of_a_contribution_that_cannot_be_true_is_one_line() -> None:
    parts = stored.contribution(), stored.contribution("three", reliability=replace(RELIABLE, lowest=1.5))
    told = refusal(omega_record, header(omega_metadata(stored.omega(*parts), {}), ()))
    assert "the reliability of contribution 2 cannot be" in told


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
).map(json.dumps) | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)
@given(key=st.sampled_from(sorted(checkpoint_metadata(stored.checkpoint(), {}))), text=json_texts, omega=st.booleans())
def test_random_metadata_never_do_anything_else(key: str, text: str, omega: bool) -> None:
    own = omega_metadata(stored.omega(), {}) if omega else checkpoint_metadata(stored.checkpoint(), {})
    damaged = header({**own, key: text}, CHECKPOINT_TENSORS)
    for read in (file_kind, checkpoint_record, omega_record):
        try:
            read(damaged)
        except CheckpointError as error:
            message = str(error)
        else:
            message = ""
        assert "\n" not in message

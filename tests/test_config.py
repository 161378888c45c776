"""Settings: a flag beats the file, the file beats the default, and everything wrong is told at once."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mascli.config import (
    UNIFORM,
    AverageConfig,
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    TrainTaskConfig,
    reports_of,
    resolve,
)
from mascli.config.checks import range_problems
from mascli.config.yaml_file import to_yaml
from mascli.errors import UsageError

KINDS = (InitConfig, EstimateConfig, TrainTaskConfig, EvaluateConfig, InspectConfig, MergeConfig, DemoConfig)
KINDS += (AverageConfig, ExportConfig)
TRAIN = {"checkpoint": "a.st", "task": "pets", "data": "pets"}


def problems_of(kind: type[Common], flags: dict[str, Any], file: Path | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        resolve(kind, flags, file)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def yaml_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_flag_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "epochs: 3\nval-split: 0.2\nhead_lr: 1e-3\nreport: [a.json]\nbatch-size: null\n")
    config = resolve(TrainTaskConfig, {**TRAIN, "epochs": "7", "report": [], "lr": None}, file)
    assert (config.epochs, config.val_split, config.head_lr) == (7, 0.2, 1e-3)
    assert (config.report, config.batch_size, config.lr) == ((Path("a.json"),), 64, None)


def test_positionals_may_come_from_the_file(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "omegas: [a.omega, b.omega]\ncombine: pool\n")
    assert resolve(MergeConfig, {"out": "c.omega"}, file).omegas == (Path("a.omega"), Path("b.omega"))


def test_flags_are_text_of_any_type() -> None:
    flags = {"model": "mascli:mlp", "image_size": "32,48", "mean": "0.5,0.25,0", "std": "1,1,1", "model_arg": ["a=1,2"]}
    config = resolve(InitConfig, flags, None)
    assert (config.image_size, config.mean, config.model_arg) == ((32, 48), (0.5, 0.25, 0.0), ("a=1,2",))


def test_everything_wrong_is_told_at_once_with_the_paths(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "lamda: 3\nepochs: many\ntask: a/b\n")
    taken = tmp_path / "taken.st"
    taken.touch()
    flags = {"checkpoint": str(tmp_path / "none.st"), "momentum": "1", "lr": "fast", "out": str(taken)}
    found = problems_of(TrainTaskConfig, flags, file)
    expected = (
        "unknown key 'lamda'; did you mean 'lambda'?",
        "--data is missing",
        "epochs: expected a whole number, not 'many'",
        "--lr: expected a number, not 'fast'",
        "--momentum must be at least 0 and less than 1, not 1",
        "--task 'a/b': a task name is",
        "CHECKPOINT: there is no",
        "exists already",
    )
    for part in expected:
        assert any(part in line for line in found), part
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("kind", "flags", "wanted"),
    [
        (TrainTaskConfig, {"lambda_": "nan", "omega": "o"}, "--lambda must be auto, or 0 or more"),
        (TrainTaskConfig, {"lambda_": "-1", "omega": "o"}, "--lambda must be auto, or 0 or more"),
        (TrainTaskConfig, {"lambda_": "aut", "omega": "o"}, "--lambda: expected auto or a number, not 'aut'"),
        (TrainTaskConfig, {"lambda_": "auto"}, "--lambda auto needs --omega"),
        (TrainTaskConfig, {"omega": "o", "val_split": "0"}, "--lambda auto measures accuracy on validation images"),
        (TrainTaskConfig, {"omega": ["uniform", "o"]}, "--omega uniform stands alone"),
        (TrainTaskConfig, {"omega": ["o", "o"]}, "--omega: the same file is given twice"),
        (TrainTaskConfig, {"anchor": ["a"]}, "--anchor needs --omega"),
        (
            TrainTaskConfig,
            {"omega": ["o", "p", "q"], "anchor": ["a", "b"]},
            "--anchor takes one checkpoint, or one for",
        ),
        (TrainTaskConfig, {"max_trials": "2"}, "--max-trials must be 3 to 100"),
        (TrainTaskConfig, {"max_drop": "-1"}, "--max-drop must be 0 to 100"),
        (TrainTaskConfig, {"rehearse": ["cars"]}, "--rehearse 'cars': write TASK=FOLDER"),
        (TrainTaskConfig, {"rehearse": ["a=x", "a=y"]}, "--rehearse: task a is given twice"),
        (TrainTaskConfig, {"collect": "c", "lambda_": "inf"}, "--collect is for shared parameters that learn"),
        (TrainTaskConfig, {"distill": "0"}, "--distill must be more than 0"),
        (TrainTaskConfig, {"temperature": "0", "distill": "1"}, "--temperature must be 0.01 to 1000"),
        (TrainTaskConfig, {"temperature": "1e4", "distill": "1"}, "--temperature must be 0.01 to 1000"),
        (TrainTaskConfig, {"temperature": "3"}, "--temperature needs --distill"),
        (TrainTaskConfig, {"damping": "1"}, "--damping needs --collect"),
        (TrainTaskConfig, {"omega": "o", "lambda_": "1", "max_drop": "3"}, "--max-drop is for --lambda auto"),
        (TrainTaskConfig, {"omega": "o", "lambda_": "1", "max_trials": "5"}, "--max-trials is for --lambda auto"),
        (TrainTaskConfig, {"optimizer": "adamw", "nesterov": True}, "--nesterov is for --optimizer sgd"),
        (TrainTaskConfig, {"nesterov": True, "dampening": "0.5"}, "--nesterov needs a --momentum and no --dampening"),
        (TrainTaskConfig, {"dampening": "0.5", "momentum": "0"}, "--dampening needs a --momentum"),
        (TrainTaskConfig, {"clip_norm": "0"}, "--clip-norm must be more than 0"),
        (TrainTaskConfig, {"lambda_": "1"}, "--lambda 1 needs --omega"),
        (TrainTaskConfig, {"epochs": "0"}, "--epochs must be 1 or more, not 0"),
        (TrainTaskConfig, {"head_epochs": "-1"}, "--head-epochs"),
        (TrainTaskConfig, {"batch_size": "0"}, "--batch-size"),
        (TrainTaskConfig, {"lr": "0"}, "--lr must be more than 0"),
        (TrainTaskConfig, {"lr": "inf"}, "--lr must be more than 0"),
        (TrainTaskConfig, {"val_split": "1"}, "--val-split"),
        (TrainTaskConfig, {"val": "v", "val_split": "0.2"}, "--val and --val-split exclude"),
        (TrainTaskConfig, {"workers": "-1"}, "--workers"),
        (TrainTaskConfig, {"weight_decay": "nan"}, "--weight-decay"),
        (TrainTaskConfig, {"device": "gpu"}, "--device must be"),
        (TrainTaskConfig, {"seed": "-1"}, "--seed"),
        (TrainTaskConfig, {"report": ["a.txt"]}, "--report a.txt: the name must end in .json"),
        (TrainTaskConfig, {"penalty": "soft"}, "--penalty: 'soft' is not one of decoupled, loss"),
        (TrainTaskConfig, {"head_name": "a b"}, "--head-name 'a b': a task name is"),
        (EstimateConfig, {"task": "a", "all_tasks": True}, "--task and --all-tasks"),
        (EstimateConfig, {"limit": "0"}, "--limit"),
        (InitConfig, {"model": None}, "--model is missing"),
        (InitConfig, {"model_arg": ["depth"]}, "--model-arg 'depth': write KEY=VALUE"),
        (InitConfig, {"model": None, "model_arg": ["a=1"]}, "--model-arg needs --model"),
        (InitConfig, {"channels": "2"}, "--channels must be 1 (grey) or 3"),
        (InitConfig, {"image_size": "0"}, "--image-size"),
        (InitConfig, {"image_size": "1,2,3"}, "--image-size"),
        (InitConfig, {"mean": "0,0,0", "channels": "1"}, "--mean takes one number a channel: 1, not 3"),
        (InitConfig, {"mean": "nan"}, "--mean must be finite numbers"),
        (InitConfig, {"std": "0"}, "--std must be numbers greater than 0"),
        (InitConfig, {"mean": "0", "std": "1,1,1"}, "--mean and --std differ in length"),
        (EvaluateConfig, {"data": []}, "--data is missing: give --data FOLDER"),
        (EvaluateConfig, {"data_root": "r"}, "--data and --data-root"),
        (EvaluateConfig, {"min_accuracy": "101"}, "--min-accuracy must be 0 to 100"),
        (EvaluateConfig, {"max_forgetting": "1"}, "--max-forgetting needs --baseline"),
        (InspectConfig, {"bins": "0"}, "--bins"),
        (InspectConfig, {"out": "x.txt"}, "-o x.txt: the name must end in"),
        (InspectConfig, {"report": ["x.txt"]}, "--report x.txt: the name must end in"),
        (InspectConfig, {"by": "filters"}, "--by filters needs --top K"),
        (InspectConfig, {"top": "100000000"}, "--top must be 1 to 10000, not 100000000"),
        (InspectConfig, {"seed": "4294967296"}, "--seed must be 0 to 4294967295, not 4294967296"),
        (EstimateConfig, {"combine": "max"}, "--combine max needs --previous"),
        (EstimateConfig, {"combine": "pool"}, "--combine: 'pool' is not one of sum, max, mean, ema"),
        (EstimateConfig, {"previous": "p", "decay": "0.3"}, "--decay is for --combine ema, not sum"),
        (MergeConfig, {"combine": "median"}, "--combine: 'median' is not one of pool, sum, max, mean, ema"),
        (MergeConfig, {"weights": "1"}, "--weights takes one number a file: 2, not 1"),
        (MergeConfig, {"weights": "1,2,3"}, "--weights takes one number a file: 2, not 3"),
        (MergeConfig, {"weights": "1,-1"}, "--weights must be finite numbers of 0 or more"),
        (MergeConfig, {"weights": "nan,1"}, "--weights must be finite numbers of 0 or more"),
        (MergeConfig, {"weights": "inf,1"}, "--weights must be finite numbers of 0 or more"),
        (MergeConfig, {"weights": "1,x"}, "--weights: expected a number, not 'x'"),
        (MergeConfig, {"weights": "0,0"}, "--weights are all 0"),
        (MergeConfig, {"combine": "pool", "weights": "1,2"}, "--weights is not for --combine pool"),
        (MergeConfig, {"combine": "pool", "normalize": True}, "--normalize is not for --combine pool"),
        (AverageConfig, {"checkpoints": ["a"]}, "CHECKPOINT: one alone has no average"),
        (AverageConfig, {"mode": "median"}, "--mode: 'median' is not one of mean, mode"),
        (AverageConfig, {"mode": "mode"}, "--mode mode takes one --omega for each checkpoint, in their"),
        (AverageConfig, {"mode": "mode", "omega": ["o"]}, "--mode mode takes one --omega for each checkpoint"),
        (AverageConfig, {"omega": ["o", "p"]}, "--omega is for --mode mode"),
        (AverageConfig, {"weights": "1,2,3"}, "--weights takes one number a file: 2, not 3"),
        (AverageConfig, {"weights": "1,-1"}, "--weights must be finite numbers of 0 or more"),
        (AverageConfig, {"weights": "0,0"}, "--weights are all 0"),
        (MergeConfig, {"decay": "0.9"}, "--decay is for --combine ema, not sum"),
        (MergeConfig, {"combine": "ema", "decay": "1"}, "--decay must be at least 0 and less than 1, not 1"),
        (MergeConfig, {"combine": "ema", "decay": "nan"}, "--decay must be at least 0 and less than 1"),
    ],
)
def test_values_that_cannot_mean_anything(kind: type[Common], flags: dict[str, Any], wanted: str) -> None:
    enough = {
        InitConfig: {"model": "mascli:mlp"},
        EstimateConfig: {"checkpoint": "a", "data": "d"},
        TrainTaskConfig: TRAIN,
        EvaluateConfig: {"checkpoint": "a", "data": ["d"]},
        InspectConfig: {"file": "a"},
        MergeConfig: {"omegas": ["a", "b"], "combine": "sum"},
        AverageConfig: {"checkpoints": ["a", "b"]},
    }[kind]
    resolve(kind, enough, None)  # nothing else is wrong
    assert any(line.startswith(wanted) for line in problems_of(kind, {**enough, **flags}))


def test_every_file_of_a_merge_has_its_weight(tmp_path: Path) -> None:
    flags = {"omegas": ["a", "b", "c"], "combine": "ema", "weights": "1,2,0.5", "decay": "0.9", "normalize": True}
    config = resolve(MergeConfig, flags, None)
    assert (config.weights, config.decay, config.normalize) == ((1.0, 2.0, 0.5), 0.9, True)
    assert resolve(MergeConfig, {}, yaml_file(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize("strength", ["0", "inf"])
def test_lambda_that_needs_no_omega(strength: str) -> None:
    assert resolve(TrainTaskConfig, {**TRAIN, "lambda_": strength}, None).lambda_ == float(strength)


def test_a_validation_folder_replaces_the_split() -> None:
    assert resolve(TrainTaskConfig, {**TRAIN, "val": "v"}, None).val_split == 0
    assert resolve(TrainTaskConfig, TRAIN, None).val_split == 0.1


def test_out_of_a_command_that_makes_no_file_is_a_report() -> None:
    config = resolve(InspectConfig, {"file": "a", "out": "a.json", "report": ["b.md"]}, None)
    assert reports_of(config) == (Path("b.md"), Path("a.json"))
    made = resolve(TrainTaskConfig, {**TRAIN, "out": "a.st", "report": ["b.md"]}, None)
    assert reports_of(made) == (Path("b.md"),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("epochs: [", ", line 1: "),
        ("a: 1\nb: 2\nepochs: 'x\n", ", line "),
        ("epochs: 1\nepochs: 2", ", line 2: 'epochs' is given twice"),
        ("val-split: 0.1\nval_split: 0.2", ", line 2: 'val_split' is given twice"),
        ("a: &x [1]\nb: *x", "references (*) are not supported"),
        ("- epochs", "expected lines of 'key: value'"),
        ("config: other.yaml", "'config' is not a setting of a file"),
        ("trust-model-code: true", "consent to run code is given on the command line"),
        ("2020-13-45: 1", "month must be in 1..12"),
        ("[" * 5000, "not usable as YAML"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("head-name: yes", "head-name: expected text, not 'True'"),
    ],
)
def test_files_that_are_not_settings(tmp_path: Path, text: str, wanted: str) -> None:
    file = yaml_file(tmp_path, text)
    assert any(wanted in line and str(file) in line for line in problems_of(TrainTaskConfig, TRAIN, file))


def test_a_file_that_is_missing_or_not_text(tmp_path: Path) -> None:
    assert "cannot be read" in problems_of(TrainTaskConfig, TRAIN, tmp_path / "none.yaml")[0]
    file = tmp_path / "binary.yaml"
    file.write_bytes(b"\xff\xfe\x00\x01\x81")
    assert problems_of(TrainTaskConfig, TRAIN, file)[0].startswith("--config ")


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    assert resolve(TrainTaskConfig, TRAIN, yaml_file(tmp_path, "# nothing yet\n")) == resolve(
        TrainTaskConfig, TRAIN, None
    )


def test_code_named_in_a_file_takes_consent_on_the_command_line(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "model: python:my.nets:make\n")
    assert "--trust-model-code on the command line" in problems_of(InitConfig, {}, file)[0]
    assert resolve(InitConfig, {"trust_model_code": True}, file).trust_model_code
    assert resolve(InitConfig, {"model": "python:my.nets:make"}, None).model == "python:my.nets:make"


_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
_PATHS = st.text(st.characters(exclude_characters="\0"), min_size=1).map(Path)
_POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
_COMMON = {
    "seed": st.integers(0, 2**32 - 1),
    "format": st.sampled_from(["table", "json", "csv"]),
    "overwrite": st.booleans(),
}


@settings(max_examples=60)
@given(
    st.builds(
        TrainTaskConfig,
        checkpoint=_PATHS,
        task=_NAMES,
        data=_PATHS,
        out=st.none() | _PATHS,
        omega=st.lists(_PATHS.filter(lambda path: path != UNIFORM), min_size=1, max_size=2, unique=True).map(tuple),
        lambda_=st.none() | st.floats(min_value=0) | st.just("auto"),
        lr=st.none() | _POSITIVE,
        val_split=st.floats(0, 1, exclude_min=True, exclude_max=True),
        report=st.lists(_PATHS.map(lambda path: Path(f"{path}.json")), max_size=2).map(tuple),
        image_size=st.none() | st.lists(st.integers(1, 10000), min_size=1, max_size=2).map(tuple),
        classifier=st.none() | st.text(min_size=1),
        model_arg=st.just(("a=1", "b=[x: y]")),
        model=st.just("mascli:mlp"),
        **_COMMON,
    )
)
def test_show_config_reads_back_to_the_same_settings(tmp_path_factory: Any, config: TrainTaskConfig) -> None:
    file = tmp_path_factory.mktemp("yaml") / "shown.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert resolve(TrainTaskConfig, {}, file) == config


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_survives_the_file(kind: type[Common], tmp_path: Path) -> None:
    needed = {"checkpoint": Path("a"), "data": Path("d"), "task": "t", "file": Path("f"), "model": "mascli:mlp"}
    needed |= {"omegas": (Path("o"),), "combine": "sum", "checkpoints": (Path("a"), Path("b"))}
    if kind is EvaluateConfig:
        needed |= {"data": ("d",), "task": ("t",)}
    names = {field.name for field in dataclasses.fields(kind)}
    config = kind(**{name: value for name, value in needed.items() if name in names})
    assert resolve(kind, {}, yaml_file(tmp_path, to_yaml(config))) == config


def test_consent_is_not_written_down() -> None:
    config = InitConfig(model="python:a:b", trust_model_code=True, seed=3)
    assert "trust" not in to_yaml(config)
    assert "seed: 3" in to_yaml(config)
    assert math.inf == resolve(TrainTaskConfig, {**TRAIN, "lambda_": math.inf}, None).lambda_


def test_settings_that_would_do_nothing_are_refused_of_commands_alone() -> None:
    base = {"checkpoint": "c", "task": "t", "data": "d"}
    fitting = {"omega": "o", "max_drop": "3", "max_trials": "5", "distill": "1", "temperature": "3", "collect": "c"}
    assert resolve(TrainTaskConfig, {**base, **fitting, "damping": "1"}, None).max_trials == 5
    assert resolve(TrainTaskConfig, {**base, "max_drop": "2", "temperature": "2"}, None).max_drop == 2
    shared = TrainTaskConfig(checkpoint=Path("c"), task="t", data=Path("d"), temperature=3.0, max_drop=1.0, damping=1.0)
    assert range_problems(shared) == []  # a sequence has one training for all its methods

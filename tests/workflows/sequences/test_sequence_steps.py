"""The commands that each method is made of, as a user would type them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mascli.config.command_line import command_line
from mascli.config.sequence import MethodEntry, TaskEntry, TaskSequence
from mascli.workflows.sequences.sequence_steps import Plan, plan, without

TASKS = tuple(TaskEntry(name, Path(name, "train"), Path(name, "test")) for name in "abc")
FIRST = [
    "mascli init --model mascli:mlp -o out/seed-0/start.safetensors",
    "mascli train-task out/seed-0/start.safetensors --task a --data a/train -o out/seed-0/a.safetensors",
    "mascli evaluate out/seed-0/a.safetensors --data a=a/test",
]


def planned(*methods: MethodEntry, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"tasks": TASKS, "model": {"model": "mascli:mlp"}, "seeds": (0,), **changes}
    return plan(TaskSequence(methods=methods, **settings), Path("out"), {})


def commands(*methods: MethodEntry, **changes: Any) -> list[str]:
    return [command_line(step.config) for step in planned(*methods, **changes).steps]


def learned(name: str, flags: tuple[str, str]) -> list[str]:
    """The commands of a method that estimates nothing: learn b and c with these flags, each evaluated."""
    place = f"out/seed-0/{name}"
    return [
        f"mascli train-task out/seed-0/a.safetensors --task b --data b/train{flags[0]} -o {place}/b.safetensors",
        f"mascli evaluate {place}/b.safetensors --data a=a/test --data b=b/test",
        f"mascli train-task {place}/b.safetensors --task c --data c/train{flags[1]} -o {place}/c.safetensors",
        f"mascli evaluate {place}/c.safetensors --data a=a/test --data b=b/test --data c=c/test",
    ]


@pytest.mark.parametrize(
    ("method", "strength", "flags"),
    [
        ("finetune", None, ("", "")),
        ("freeze", None, (" --lambda inf", " --lambda inf")),
        ("l2", 3.0, (" --omega uniform --lambda 3", " --omega uniform --lambda 3")),
        ("lwf", 2.0, (" --distill 2", " --distill 2")),
        ("joint", None, (" --rehearse a=a/train", " --rehearse a=a/train --rehearse b=b/train")),
    ],
)
def test_methods_without_estimates(method: str, strength: float | None, flags: tuple[str, str]) -> None:
    assert commands(MethodEntry(method, method, (strength,))) == [*FIRST, *learned(method, flags)]


def test_each_task_alone_starts_from_the_start_and_is_tested_on_itself() -> None:
    found = commands(MethodEntry("alone", "alone"))
    assert found[len(FIRST) :] == [
        "mascli train-task out/seed-0/start.safetensors --task b --data b/train -o out/seed-0/alone/b.safetensors",
        "mascli evaluate out/seed-0/alone/b.safetensors --data b=b/test",
        "mascli train-task out/seed-0/start.safetensors --task c --data c/train -o out/seed-0/alone/c.safetensors",
        "mascli evaluate out/seed-0/alone/c.safetensors --data c=c/test",
    ]


@pytest.mark.parametrize(("method", "flag"), [("mas", ""), ("mas-local", " --method mas-local")])
def test_mas_sums_its_omegas(method: str, flag: str) -> None:
    place = f"out/seed-0/{method}"
    found = commands(MethodEntry(method, method, (0.5,)))
    protected = [f" --omega {place}/a.omega --lambda 0.5", f" --omega {place}/b.omega --lambda 0.5"]
    expected = learned(method, (protected[0], protected[1]))
    expected[0:0] = [f"mascli estimate out/seed-0/a.safetensors --data a/train{flag} -o {place}/a.omega"]
    previous = f"{flag} --previous {place}/a.omega"
    expected[3:3] = [f"mascli estimate {place}/b.safetensors --data b/train{previous} -o {place}/b.omega"]
    assert found == [*FIRST, *expected]


def test_ewc_pairs_each_omega_with_its_checkpoint() -> None:
    place, ewc = "out/seed-0/ewc", "--method ewc"
    found = [line for line in commands(MethodEntry("ewc", "ewc", ("auto",))) if "evaluate" not in line][2:]
    assert found == [
        f"mascli estimate out/seed-0/a.safetensors --data a/train {ewc} -o {place}/a.omega",
        f"mascli train-task out/seed-0/a.safetensors --task b --data b/train --omega {place}/a.omega --lambda auto "
        f"-o {place}/b.safetensors",
        f"mascli estimate {place}/b.safetensors --data b/train {ewc} -o {place}/b.omega",
        f"mascli train-task {place}/b.safetensors --task c --data c/train --omega {place}/a.omega "
        f"--omega {place}/b.omega --anchor out/seed-0/a.safetensors --anchor {place}/b.safetensors "
        f"--lambda auto -o {place}/c.safetensors",
    ]


def test_online_ewc_lets_the_old_omega_fade() -> None:
    place, ewc = "out/seed-0/ewc-online", "--method ewc"
    method = MethodEntry("ewc-online", "ewc-online", (1.0,), decay=0.9)
    found = [line for line in commands(method) if "evaluate" not in line][4:]
    assert found == [
        f"mascli estimate {place}/b.safetensors --data b/train {ewc} -o {place}/b.new.omega",
        f"mascli merge {place}/a.omega {place}/b.new.omega --combine sum --weights 0.9,1 -o {place}/b.omega",
        f"mascli train-task {place}/b.safetensors --task c --data c/train --omega {place}/b.omega --lambda 1 "
        f"-o {place}/c.safetensors",
    ]


def test_si_collects_while_it_learns_for_a_task_that_may_follow_too() -> None:
    tasks = (*TASKS, TaskEntry("d", Path("d/train"), Path("d/test")))
    place = "out/seed-0/si"
    found = [line for line in commands(MethodEntry("si", "si", (1.0,)), tasks=tasks) if "evaluate" not in line][1:]
    assert found == [
        "mascli train-task out/seed-0/start.safetensors --task a --data a/train "
        "--collect out/seed-0/a.collected.omega -o out/seed-0/a.safetensors",
        "mascli train-task out/seed-0/a.safetensors --task b --data b/train --omega out/seed-0/a.collected.omega "
        f"--lambda 1 --collect {place}/b.collected.omega -o {place}/b.safetensors",
        f"mascli merge out/seed-0/a.collected.omega {place}/b.collected.omega --combine sum -o {place}/b.omega",
        f"mascli train-task {place}/b.safetensors --task c --data c/train --omega {place}/b.omega --lambda 1 "
        f"--collect {place}/c.collected.omega -o {place}/c.safetensors",
        f"mascli merge {place}/b.omega {place}/c.collected.omega --combine sum -o {place}/c.omega",
        f"mascli train-task {place}/c.safetensors --task d --data d/train --omega {place}/c.omega --lambda 1 "
        f"--collect {place}/d.collected.omega -o {place}/d.safetensors",
    ]


def test_a_list_of_strengths_shares_the_first_omega() -> None:
    found = planned(MethodEntry("mas", "mas", (0.1, 1e-7)))
    names = [step.name for step in found.steps]
    assert names.count("seed-0/mas/a.estimate") == 1
    assert {"seed-0/mas/lambda-0.1/b.train-task", "seed-0/mas/lambda-1e-07/b.train-task"} <= set(names)
    assert len(set(names)) == len(names)
    outputs = [step.config.out for step in found.steps if step.config.out is not None]
    assert len(set(outputs)) == len(outputs)


def test_strengths_that_look_alike_have_folders_of_their_own() -> None:
    found = planned(MethodEntry("l2", "l2", (0.12345678, 0.12345679)))
    assert len({step.name for step in found.steps if step.name.endswith("c.train-task")}) == 2


def test_the_first_task_is_learned_once_a_seed() -> None:
    found = planned(MethodEntry("finetune", "finetune"), MethodEntry("freeze", "freeze"), seeds=(3, 5))
    names = [step.name for step in found.steps]
    assert [name for name in names if name.endswith("/a.train-task")] == ["seed-3/a.train-task", "seed-5/a.train-task"]
    assert {step.config.seed for step in found.steps if step.name.startswith("seed-3/")} == {3}
    assert [(v.method.name, v.seed) for v in found.variants] == [
        (name, seed) for seed in (3, 5) for name in ("finetune", "freeze")
    ]


def test_weights_are_imported_once_for_all_seeds() -> None:
    weights = {"model": "torchvision:resnet18", "weights": Path("w.pth")}
    found = commands(MethodEntry("finetune", "finetune"), seeds=(1, 2), model=weights)
    assert [line for line in found if " init " in line] == [
        "mascli init --model torchvision:resnet18 --weights w.pth -o out/start.safetensors"
    ]
    assert sum("train-task out/start.safetensors" in line for line in found) == 2


def test_a_first_task_that_the_start_knows_is_not_learned_again() -> None:
    sequence = TaskSequence(
        TASKS,
        (MethodEntry("mas", "mas", (1.0,)), MethodEntry("si", "si", (1.0,))),
        checkpoint=Path("old.st"),
        seeds=(0,),
    )
    found = [command_line(step.config) for step in plan(sequence, Path("out"), {}, ("z", "a")).steps]
    assert found[:3] == [
        "mascli evaluate old.st --data a=a/test",
        "mascli estimate old.st --data a/train --task a -o out/seed-0/mas/a.omega",
        "mascli train-task old.st --task b --data b/train --omega out/seed-0/mas/a.omega --lambda 1 "
        "-o out/seed-0/mas/b.safetensors",
    ]
    (line,) = [line for line in found if "--task b" in line and "/si/" in line]
    assert "--omega" not in line and "--collect" in line  # nothing was collected before


def test_strengths_are_compared_on_validation_folders_where_all_tasks_have_one() -> None:
    tasks = tuple(TaskEntry(name, Path(name, "train"), Path(name, "test"), val=Path(name, "val")) for name in "ab")
    grid, single = MethodEntry("mas", "mas", (0.1, 1.0)), MethodEntry("one", "mas", (1.0,))
    found = planned(grid, single, tasks=tasks)
    validated = [command_line(step.config) for step in found.steps if step.name.endswith(".validate")]
    assert validated == [
        f"mascli evaluate out/seed-0/mas/lambda-{x}/b.safetensors --data a=a/val --data b=b/val" for x in ("0.1", "1")
    ]
    assert not [step for step in planned(grid).steps if step.name.endswith(".validate")]


@pytest.mark.parametrize(("method", "flag"), [("mas", ""), ("ewc", " --method ewc")])
def test_with_one_head_the_later_tasks_use_the_first_and_its_importance_is_measured_once_asked(
    method: str, flag: str
) -> None:
    found = [line for line in commands(MethodEntry(method, method, (1.0,)), heads="one") if "evaluate" not in line][1:]
    assert found[0] == FIRST[1]
    assert [" --head-of a " in line for line in found] == [False, False, True, False, True]
    assert found[1].startswith(f"mascli estimate out/seed-0/a.safetensors --data a/train --heads{flag} -o")
    assert "--heads" not in "".join(found[2:])  # shared by then


def test_with_one_head_si_collects_the_first_head_too_and_alone_stays_alone() -> None:
    found = commands(MethodEntry("si", "si", (1.0,)), MethodEntry("alone", "alone"), heads="one")
    learned = [line for line in found if "train-task" in line]
    assert "--collect out/seed-0/a.collected.omega --heads" in learned[0]
    assert [" --heads" in line for line in learned] == [True, False, False, False, False]
    assert [" --head-of a " in line for line in learned] == [False, True, True, False, False]


@pytest.mark.parametrize("method", ["finetune", "freeze", "joint", "l2", "lwf"])
def test_with_one_head_every_method_uses_it(method: str) -> None:
    found = commands(MethodEntry(method, method, (1.0 if method in ("l2", "lwf") else None,)), heads="one")
    assert [" --head-of a " in line for line in found if "train-task" in line] == [False, True, True]


def test_what_a_failed_step_takes_with_it() -> None:
    methods = (MethodEntry("mas", "mas", (0.1, 1.0)), MethodEntry("finetune", "finetune"))
    whole = planned(*methods, seeds=(0, 1))
    left = without(whole, "seed-1/mas/lambda-1/b.train-task")
    assert left is not None
    assert [step.name for step in left.steps] == [
        step.name
        for step in whole.steps
        if "/lambda-1/" not in step.name  # shared ones stay, and other seeds' go
    ]
    assert {(variant.method.name, variant.strength) for variant in left.variants} == {("mas", 0.1), ("finetune", None)}
    assert without(whole, "seed-0/a.train-task") is None  # every method starts from it
    assert without(planned(methods[1]), "seed-0/finetune/b.train-task") is None  # nothing would be left

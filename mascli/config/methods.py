"""The named ways of measuring importance, what each stands for, and what goes together.

An objective is the function of the outputs that is differentiated, a reduction what becomes of each
image's gradient before the mean over images; formulas are in `docs/mathematics.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mascli.config.commands import EstimateConfig
from mascli.errors import UsageError

CUSTOM = "custom"


@dataclass(frozen=True)
class Method:
    """The objectives and the reductions of a method, the usual one first."""

    objectives: tuple[str, ...]
    reductions: tuple[str, ...]


METHODS = {
    "mas": Method(("squared-l2", "l1", "l2", "each-output"), ("abs", "batch")),
    "mas-local": Method(("local",), ("abs",)),
    "ewc": Method(("log-likelihood",), ("square",)),
    "anpyc": Method(("entropy",), ("taylor",)),
}


@dataclass(frozen=True)
class Compat:
    """What another implementation measures, and the settings it does that with (`docs/compat.md`).

    Args:
        batch_size: its usual one, for a user who gives none.
        combine: how it combines the importance of successive tasks.
        all_tasks: whether it measures the answers of all heads together.
        factor: lambda here = lambda there * factor, for an omega of several tasks.
        first_factor: the same for an omega of the first task alone.
    """

    objective: str
    batch_size: int
    combine: Literal["sum", "ema"]
    all_tasks: bool
    factor: float
    first_factor: float


COMPAT = {
    "official": Compat("squared-l2", 200, "sum", False, 1.0, 1.0),
    "avalanche": Compat("squared-l2", 200, "ema", False, 1.0, 1.0),
    # lambda / 2 in its loss; its average over tasks starts from zero, which halves the first omega
    "facil": Compat("l2", 64, "ema", True, 0.5, 0.25),
}


@dataclass(frozen=True)
class Chosen:
    """The method, objective and reduction of an estimate, each by the name it has in an omega.

    `lambda_factor` converts the lambda of the implementation that is reproduced, if one is.
    """

    method: str
    objective: str
    reduction: str
    compat: str | None = None
    lambda_factor: float | None = None


def chosen(config: EstimateConfig) -> Chosen:
    """What `config` measures.

    Raises:
        UsageError: settings that contradict each other (see `method_problems`).
    """
    problems = method_problems(config)
    if problems:
        raise UsageError("\n".join(problems))
    if config.compat is not None:
        other = COMPAT[config.compat]
        factor = other.first_factor if config.previous is None else other.factor
        return Chosen("mas", other.objective, "batch", config.compat, factor)
    preset = METHODS[config.method or "mas"]
    objective = config.objective or preset.objectives[0]
    reduction = config.reduction or preset.reductions[0]
    fitting = (n for n, m in METHODS.items() if objective in m.objectives and reduction in m.reductions)
    return Chosen(config.method or next(fitting, CUSTOM), objective, reduction)


def settings_of_compat(compat: str, *, has_previous: bool) -> dict[str, object]:
    """The settings that `--compat` stands for, by field; each gives way to what the user says."""
    other = COMPAT[compat]
    settled: dict[str, object] = {"batch_size": other.batch_size}
    if has_previous:
        settled["combine"] = other.combine
    return settled | ({"all_tasks": True} if other.all_tasks else {})


def method_problems(config: EstimateConfig) -> list[str]:
    """Settings of a way of measuring that contradict each other, one line each."""
    given = {"objective": config.objective, "reduction": config.reduction}
    if config.compat is not None:
        known = {"--method": config.method, **{f"--{name}": value for name, value in given.items()}}
        clash = [flag for flag, value in known.items() if value is not None]
        problems = [f"--compat {config.compat} sets what is measured: leave out {', '.join(clash)}"] if clash else []
        return problems + _label_problems(config, COMPAT[config.compat].objective)
    if config.method is not None:
        for name, value in given.items():
            possible = getattr(METHODS[config.method], f"{name}s")
            if value is not None and value not in possible:
                wanted = possible[0] if len(possible) == 1 else f"one of {', '.join(possible)}"
                return [f"--{name} {value} contradicts --method {config.method} ({wanted}); leave one of them out"]
    objective = config.objective or METHODS[config.method or "mas"].objectives[0]
    problems = _label_problems(config, objective)
    if objective == "each-output" and config.reduction in ("taylor", "batch"):
        problems.append(
            f"--reduction {config.reduction} is not for --objective each-output, which is a norm of several "
            "gradients: use abs or square"
        )
    if config.reduction == "batch" and config.batch_size is None:
        problems.append("--reduction batch needs --batch-size: the result depends on it")
    return problems


def _label_problems(config: EstimateConfig, objective: str) -> list[str]:
    if config.labels == "given" and objective != "log-likelihood":
        return [f"--labels given is for --objective log-likelihood, not {objective}, which needs no labels"]
    return []

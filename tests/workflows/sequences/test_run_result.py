"""From the records of steps to the report: which strength stands for its method."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sample_results as results

from mascli.reports.run import Figure, MethodRun
from mascli.workflows.sequences.run_result import _marked


def variant(strength: float, accuracy: float) -> MethodRun:
    figure = Figure(accuracy, None, None, (accuracy,))
    figures = {"average_accuracy": figure, "validation_accuracy": figure}
    return replace(results.RUN.methods[0], name="mas", lambda_=strength, chosen=None, figures=figures)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [({1.0: 80.0, 10.0: 80.0, 100.0: 79.0}, 10.0), ({10.0: 80.0, 1.0: 80.0}, 10.0), ({1.0: 81.0, 10.0: 80.0}, 1.0)],
)
def test_of_equally_accurate_strengths_the_largest_stands(accuracies: dict[float, float], best: float) -> None:
    marked = _marked("mas", [variant(strength, accuracy) for strength, accuracy in accuracies.items()])
    assert [method.lambda_ for method in marked if method.chosen == "validation"] == [best]

"""Real images that come with the package: handwritten digits, for `mascli demo` (see README.md)."""

from mascli.data.samples.digits import DIGIT_TASKS, DigitTask, write_digit_tasks

__all__ = ["DIGIT_TASKS", "DigitTask", "write_digit_tasks"]

"""One file a family of operations; importing this package fills the table in `registry`."""

from mascli.importance.rules import broadcast, convolution, linear, norm
from mascli.importance.rules.any_operation import ANY_OPERATION, is_asked
from mascli.importance.rules.registry import RULES, Rule, Seen, Visit

__all__ = [
    "ANY_OPERATION",
    "RULES",
    "Rule",
    "Seen",
    "Visit",
    "broadcast",
    "convolution",
    "is_asked",
    "linear",
    "norm",
]

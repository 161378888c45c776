"""One file a layer family; importing this package fills the table in `registry`."""

from mascli.importance.rules import conv, linear, norm
from mascli.importance.rules.registry import RULES, Rule, absolute_sum_of_uses

__all__ = ["RULES", "Rule", "absolute_sum_of_uses", "conv", "linear", "norm"]

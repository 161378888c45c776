"""Text and elements of HTML: whatever is not markup already is escaped, so that no text can become any."""

from __future__ import annotations

import html

from mascli.errors import printable

VOID = {"br", "meta"}


class Markup(str):
    """Text that is HTML: made by `element`, `joined` and `text` alone, or a part of this program."""

    __slots__ = ()


def text(value: str) -> Markup:
    """`value` as HTML that shows it; what no page can show (control characters, odd bytes) as backslash escapes."""
    return Markup(html.escape(printable(value)))


def lines(value: str) -> Markup:
    """`value` as `text`, but with its own line breaks and tabs."""
    shown = ("\t".join(text(part) for part in line.split("\t")) for line in value.splitlines())
    return Markup("\n".join(shown))


def joined(*parts: str) -> Markup:
    """The parts one after the other; those that are no markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def element(tag: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`; an attribute that is None is left out.

    An underscore in the name of an attribute is a dash, one at its end is dropped (`class_`).
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(*children)}</{tag}>")


def _value(value: str | float) -> str:
    """An attribute's value; coordinates have two decimals, which is finer than a pixel."""
    return text(value) if isinstance(value, str) else f"{round(value, 2):g}"

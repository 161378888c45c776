"""One page as one file: its style and its script are in it, and nothing else may be loaded or run."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator
from importlib.resources import files

from mascli.pages.charts import panels
from mascli.pages.content import (
    Block,
    DataTable,
    Facts,
    Folded,
    Items,
    Listing,
    Matrix,
    Page,
    Panels,
    Prose,
    Section,
)
from mascli.pages.markup import Markup, element, joined, lines, text
from mascli.pages.tables import data_table, matrix_table


def document(page: Page) -> str:
    """The page as HTML. The same content gives the same bytes.

    Its policy (Content-Security-Policy) lets nothing load, neither from a network nor from a disk, and
    nothing run but the script in it, which it knows by the hash.
    """
    style, script = _packed("page.css"), _packed("page.js")
    ids = itertools.count(1)
    links = [element("li", element("a", part.title, href=f"#{part.anchor}")) for part in page.sections]
    head = (
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", page.title),
        element("style", style),
    )
    body = (
        element(
            "header",
            element("h1", page.heading),
            *(element("p", _prose(paragraph), class_="lead") for paragraph in page.lead),
            element("nav", element("ul", *links), aria_label="Contents"),
        ),
        element("main", *(_section(section, ids) for section in page.sections)),
        element("footer", element("p", page.foot)),
        element("script", script),
    )
    parts = (element("head", *_on_lines(head)), "\n", element("body", *_on_lines(body)))
    return "<!DOCTYPE html>\n" + element("html", *map(Markup, parts), lang="en") + "\n"


def _packed(name: str) -> Markup:
    return Markup("\n" + files("mascli.pages").joinpath(name).read_text(encoding="utf-8"))


def _policy(style: str, script: str) -> str:
    def known(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {known(style)}; script-src {known(script)}; base-uri 'none'; form-action 'none'"
    )


def _section(section: Section, ids: Iterator[int]) -> Markup:
    heading = element("h2", section.title, id=f"{section.anchor}-title")
    blocks = (_block(block, ids) for block in section.blocks)
    content = _on_lines((heading, *blocks))
    return element("section", *content, id=section.anchor, aria_labelledby=f"{section.anchor}-title")


def _block(block: Block, ids: Iterator[int]) -> Markup:
    if isinstance(block, DataTable):
        return data_table(block)
    if isinstance(block, Matrix):
        return matrix_table(block)
    if isinstance(block, Panels):
        return panels(block, ids)
    if isinstance(block, Prose):
        return joined(*(element("p", _prose(paragraph)) for paragraph in block.paragraphs))
    if isinstance(block, Items):
        return element("ul", *(element("li", line) for line in block.lines))
    if isinstance(block, Facts):
        rows = (element("div", element("dt", label), element("dd", value)) for label, value in block.rows)
        return element("dl", *rows)
    if isinstance(block, Listing):
        return element("pre", element("code", lines(block.text)), tabindex="0")
    assert isinstance(block, Folded)
    return element("details", element("summary", block.summary), *(_block(inner, ids) for inner in block.blocks))


def _prose(paragraph: str) -> Markup:
    """Text in which a number and its percent sign stay on one line."""
    return Markup(text(paragraph).replace(" %", "&nbsp;%"))


def _on_lines(parts: tuple[Markup, ...]) -> Iterator[Markup]:
    for part in parts:
        yield Markup("\n")
        yield part
    yield Markup("\n")

"""The page as a whole: one file, a policy that forbids everything else, and the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from html_page import ReadPage

from mascli.pages import document as room
from mascli.pages.content import (
    Cell,
    Column,
    DataTable,
    Facts,
    Folded,
    Items,
    LineChart,
    Listing,
    Matrix,
    Page,
    Panels,
    Prose,
    Section,
    Series,
)
from mascli.pages.document import document

ODD = "</title></script><script>alert(1)</script> \"' & \udcff"
CHART = LineChart(ODD, ODD, (ODD,), (Series(ODD, (Cell(ODD, 1.0),), 0),), ODD, ODD)
PAGE = Page(
    ODD,
    ODD,
    (ODD, "12 % of it"),
    (
        Section("one", ODD, (Prose((ODD,)), Items((ODD,)), Facts(((ODD, ODD),)), Listing(f"{ODD}\n\tmore"))),
        Section(
            "two",
            "Tables",
            (
                DataTable(ODD, (Column(ODD), Column(ODD, "hash")), ((Cell(ODD), Cell(ODD)),)),
                Folded(
                    ODD,
                    (
                        Matrix(
                            ODD,
                            ODD,
                            ((ODD, ODD),),
                            ((ODD, (Cell(ODD, 1.0),)),),
                            (ODD, (Cell(ODD),)),
                            (ODD, (Cell(ODD),)),
                            0,
                            1,
                            ODD,
                        ),
                    ),
                ),
                Panels((CHART, CHART)),
            ),
        ),
    ),
    ODD,
)


def test_every_kind_of_block_escapes_all_text() -> None:
    read = ReadPage(document(PAGE))
    assert read.problems == []
    assert len(read.scripts) == 1 and "alert(1)" not in read.scripts[0]
    assert read.text.count("<script>alert(1)</script>") >= 20
    assert "12\xa0% of it" in read.text


def test_the_policy_knows_the_style_and_the_script_and_allows_nothing_else() -> None:
    read = ReadPage(document(PAGE))
    (policy,) = [meta["content"] for meta in read.metas if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    for name, (content,) in {"style-src": read.styles, "script-src": read.scripts}.items():
        assert rules.pop(name) == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}


def test_the_same_page_has_the_same_bytes() -> None:
    assert document(PAGE) == document(PAGE)
    document(PAGE).encode("utf-8")  # nothing in it that UTF-8 cannot hold


def test_style_and_script_ask_for_nothing_and_are_in_the_package() -> None:
    for name in ("page.css", "page.js"):
        content = (Path(room.__file__).parent / name).read_text(encoding="utf-8")
        for word in ("http:", "https:", "url(", "@import", "fetch", "XMLHttp", "innerHTML", "eval", "</", "<!--"):
            assert word not in content, (name, word)

"""No text can become markup."""

from __future__ import annotations

import pytest
from html_page import ReadPage
from hypothesis import given
from hypothesis import strategies as st

from mascli.pages.markup import Markup, element, joined, lines, text

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onclick='x", "&lt;b&gt;", "a&amp;b", "]]>"]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_looks_like_markup_is_shown_as_it_is(value: str) -> None:
    read = ReadPage(element("p", value, title=value))
    assert (read.problems, read.text) == ([], value)


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_comes_back_or_as_escapes(value: str) -> None:
    read = ReadPage(element("p", value))
    assert read.problems == []
    if value.isprintable():
        assert read.text == value


def test_what_no_page_can_show_is_an_escape() -> None:
    assert text("a\x00b\udcffc\u202ed\n") == r"a\x00b\xffc\u202ed\n"
    assert lines("a\n\tb\x07\r\nc") == "a\n\tb\\x07\nc"


def test_markup_is_not_escaped_again_and_other_text_is() -> None:
    assert joined(Markup("<b>"), "<b>") == "<b>&lt;b&gt;"


def test_attributes() -> None:
    made = element("rect", class_="a", data_value="1", x=1.23456, y=2.0, title=None)
    assert made == '<rect class="a" data-value="1" x="1.23" y="2"></rect>'
    assert element("meta", name="viewport") == '<meta name="viewport">'

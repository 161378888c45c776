"""Reads a page as strictly as a page can be read: what is wrong with it, and what its tables hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br"}
MAY_LOAD = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


@dataclass
class ReadTable:
    """A table: its caption, the names of its columns, and the rows, a cell as its text and its exact value."""

    caption: str = ""
    head: list[str] = field(default_factory=list)
    rows: list[list[tuple[str, str | None]]] = field(default_factory=list)


class ReadPage(HTMLParser):
    """A page that was read; `problems` are empty for one that is well formed, names its figures and loads nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.tables: list[ReadTable] = []
        self.metas: list[dict[str, str | None]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._ids: list[str] = []
        self._asked: list[str] = []
        self._named: list[bool] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{name}> is never closed" for name, _ in self._open]
        self.problems += [f"id {name} is there twice" for name in set(self._ids) if self._ids.count(name) > 1]
        self.problems += [f"nothing has the id {name}" for name in self._asked if name not in self._ids]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if len(given) < len(attrs):
            self.problems.append(f"<{tag}> has an attribute twice")
        for name, value in given.items():
            if name.startswith("on") or name == "style":
                self.problems.append(f"<{tag}> has {name}, which the policy forbids")
            if name in MAY_LOAD and not (value or "").startswith("#"):
                self.problems.append(f"<{tag}> loads {value}")
        self._asked += [
            part
            for name in ("aria-labelledby", "aria-describedby", "href")
            for part in (given.get(name) or "").replace("#", "").split()
        ]
        self._ids += [given["id"] or ""] if "id" in given else []
        if tag == "meta":
            self.metas.append(given)
        if tag == "img" and not given.get("alt"):
            self.problems.append("an image has no alternative")
        if tag == "svg":
            self._named.append(given.get("aria-hidden") == "true")
            if given.get("aria-hidden") != "true" and given.get("role") != "img":
                self.problems.append("a drawing is neither a figure nor hidden")
        if tag == "table":
            self.tables.append(ReadTable())
        if tag == "tr" and not self._within("thead"):
            self.tables[-1].rows.append([])
        if tag in ("td", "th"):
            if self._within("thead"):
                self.tables[-1].head.append("")
            else:
                self.tables[-1].rows[-1].append(("", given.get("data-value")))
        if tag not in VOID:
            self._open.append((tag, given))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.problems.append(f"<{tag}/> closes itself")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1][0] if self._open else 'nothing'}")
            return
        self._open.pop()
        if tag == "svg" and not self._named.pop():
            self.problems.append("a figure has no title")

    def handle_data(self, data: str) -> None:
        inside = self._open[-1][0] if self._open else ""
        if inside in ("script", "style"):
            (self.scripts if inside == "script" else self.styles).append(data)
            return
        if inside == "title" and self._within("svg") and data.strip():
            self._named[-1] = True
            return
        self.text += data
        if self._within("caption") and not self._within("small"):
            self.tables[-1].caption += data
        elif self._within("thead") and self._within("th"):
            self.tables[-1].head[-1] += data
        elif self._within("td") or (self._within("th") and self._within("table")):
            shown, value = self.tables[-1].rows[-1][-1]
            self.tables[-1].rows[-1][-1] = (shown + data, value)

    def handle_comment(self, data: str) -> None:
        self.problems.append("there is a comment")

    def _within(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._open)

    def table(self, caption: str) -> ReadTable:
        """The one table whose caption begins so."""
        (found,) = [table for table in self.tables if table.caption.startswith(caption)]
        return found

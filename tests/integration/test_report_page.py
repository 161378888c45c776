"""The page of `mascli report` in a real Chromium: quiet, self-contained, true to the JSON, fit for a phone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import MISSING, PROGRAM, Browser, browser
from commands import Run, in_a_process
from finished_runs import finished_run
from html_page import ReadPage

from mascli.config.sequence import MethodEntry

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

ODD = "\"'><img src=x onerror=document.title='run'><b>"

# What a table shows, by its caption: each cell as its text and its exact value.
TABLE = """
(caption => {
  const table = [...document.querySelectorAll("table")].find(t => t.caption.textContent.startsWith(caption));
  return [...table.tBodies[0].rows].map(row => [...row.cells].map(c => [c.innerText.trim(), c.dataset.value ?? null]));
})
"""
# The lowest contrast of all text with what is behind it, as WCAG 2 defines it, and the text.
CONTRAST = """
(() => {
  const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const pixel = colours => {
    for (const colour of colours) { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = colour => {
    const [r, g, b] = colour.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let lowest = [99, ""];
  const all = "h1, h2, p, th, td, small, a, dt, dd, li, summary, figcaption, code, text";
  for (const part of document.querySelectorAll(all)) {
    if (!part.textContent.trim()) continue;
    const behind = [];
    for (let at = part; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(part);
    const front = part.tagName === "text" ? style.fill : style.color;
    const [a, b] = [light(pixel([...behind, front])), light(pixel(behind))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, part.textContent];
  }
  return lowest;
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run` (made-up numbers, three seeds) and `demo` (a real one), and their pages."""
    place = tmp_path_factory.mktemp("pages")
    finished_run(place / "run", seeds=(0, 1, 2))
    for words in (
        ["demo", "-o", place / "demo"],
        *(["report", place / name, "--html", place / f"{name}.html"] for name in ("run", "demo")),
    ):
        done = in_a_process(*words)
        assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("name", ["run", "demo"])
def test_it_opens_from_the_disk_without_a_word_and_asks_for_nothing_else(tab: Browser, made: Path, name: str) -> None:
    for width, dark in ((360, False), (390, True), (1280, False)):
        tab.open(made / f"{name}.html", width=width, dark=dark)
        assert tab.messages == []
        assert tab.requests == [(made / f"{name}.html").resolve().as_uri()]
        wide, there = tab.run("[document.documentElement.scrollWidth, innerWidth]")
        assert (wide, there) == (width, width)
    tab.open(made / f"{name}.html", width=360)
    assert tab.run("[...document.querySelectorAll('.box')].some(box => box.scrollWidth > box.clientWidth)")


@pytest.mark.parametrize("name", ["run", "demo"])
def test_the_numbers_that_are_shown_are_those_of_the_json(tab: Browser, made: Path, name: str) -> None:
    methods = json.loads((made / name / "result.json").read_text())["methods"]
    tab.open(made / f"{name}.html")
    tab.run("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    head = tab.run("[...document.querySelector('table').tHead.rows[0].cells].map(cell => cell.innerText.trim())")
    shown = tab.run(f"{TABLE}('After all tasks')")
    for method, row in zip(methods, shown, strict=True):
        cells = dict(zip(head, row, strict=True))
        assert cells["method"][0] == method["name"]
        for key, title in (("average_accuracy", "average accuracy, %"), ("forgetting", "forgetting, points")):
            assert float(cells[title][1]) == method[key]["mean"]
            assert cells[title][0].split(" ± ")[0] == f"{method[key]['mean']:.2f}".replace("-0.00", "0.00")
        strength = "" if method["lambda"] is None else f", lambda {method['lambda']}".removesuffix(".0")
        matrix = tab.run(f"{TABLE}({json.dumps(method['name'] + strength)})")
        for cells_of_row, values in zip(matrix, method["accuracy_matrix"], strict=True):
            assert [float(exact) for _, exact in cells_of_row[1 : len(values) + 1]] == values
            assert [text for text, _ in cells_of_row[1 : len(values) + 1]] == [f"{value:.2f}" for value in values]


def test_columns_sort_by_mouse_and_by_key_and_go_back(tab: Browser, made: Path) -> None:
    tab.open(made / "run.html")
    find = "document.querySelector('table').tHead.rows[0].cells[3]"  # average accuracy

    def state() -> tuple[list[float], list[str]]:
        rows = tab.run(f"{TABLE}('After all tasks')")
        sorts = tab.run(
            "[...document.querySelector('table').tHead.rows[0].cells].map(c => c.getAttribute('aria-sort'))"
        )
        return [float(row[3][1]) for row in rows], sorts

    given, sorts = state()
    assert set(sorts) == {"none"} and sorted(given) != given
    tab.run(f"{find}.querySelector('button').click()")
    values, sorts = state()
    assert values == sorted(given, reverse=True) and sorts[3] == "descending" and sorts.count("none") == len(sorts) - 1
    tab.run(f"{find}.querySelector('button').focus()")
    tab.press("Enter")
    assert state()[0] == sorted(given) and state()[1][3] == "ascending"
    tab.press(" ")
    assert state()[0] == given and set(state()[1]) == {"none"}
    tab.press("Tab")
    tab.press("Enter")
    assert state()[1][4] == "descending" and state()[1][3] == "none"


def test_what_has_no_value_stays_last_and_text_sorts_by_its_numbers(tab: Browser, made: Path) -> None:
    tab.open(made / "run.html")
    heads = "document.querySelector('table').tHead.rows[0].cells"
    for order in ("descending", "ascending"):
        tab.run(f"{heads}[1].querySelector('button').click()")  # lambda: two numbers, `auto` and nothing
        assert tab.run(f"{heads}[1].getAttribute('aria-sort')") == order
        assert tab.run(f"{TABLE}('After all tasks')")[-1][1] == ["", None]
    tab.run("[...document.querySelectorAll('table')].at(-1).tHead.rows[0].cells[0].querySelector('button').click()")
    files = [row[0][0] for row in tab.run(f"{TABLE}('Files, and')")]
    assert files.index("seed-0/mas/lambda-1/dogs.omega") < files.index("seed-1/ewc/cats.omega")


def test_it_is_complete_without_scripts(tab: Browser, made: Path) -> None:
    tab.open(made / "run.html")
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(made / "run.html", settled=False)
        assert tab.run("document.querySelectorAll('button').length") == 0
        shown = tab.run("document.body.innerText")
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    for word in ("After all tasks", "Importance by layer", "Lineage"):
        assert word in shown
    tab.open(made / "run.html")
    assert tab.run("document.querySelectorAll('button').length") > 0


def test_every_figure_has_a_name_and_a_description_for_those_who_cannot_see_it(tab: Browser, made: Path) -> None:
    tab.open(made / "run.html")
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    figures = [node for node in tree if node.get("role", {}).get("value") in ("image", "img") and not node["ignored"]]
    assert len(figures) == tab.run("document.querySelectorAll('svg[role=img]').length") == 8
    for node in figures:
        assert node["name"]["value"] and node["description"]["value"], node


def test_it_has_a_light_and_a_dark_face_both_with_enough_contrast(tab: Browser, made: Path) -> None:
    pictures, behind = [], []
    for dark in (False, True):
        tab.open(made / "run.html", dark=dark)
        tab.run("document.querySelectorAll('details').forEach(folded => folded.open = true)")
        contrast, text = tab.run(CONTRAST)
        assert contrast >= 4.5, (dark, contrast, text)
        pictures.append(tab.picture(whole=False))
        behind.append(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert pictures[0] != pictures[1] and behind[0] != behind[1]
    tab.open(made / "run.html", dark=False)
    tab.run("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    assert tab.picture(whole=False) == pictures[0]  # negative control: it is the scheme that differs


def test_paper_shows_what_is_folded_and_no_buttons(tab: Browser, made: Path) -> None:
    tab.open(made / "run.html", dark=True)
    assert tab.run("document.querySelectorAll('details:not([open])').length") > 0
    tab.call("Page.printToPDF")
    assert tab.run("document.querySelectorAll('details:not([open])').length") == 0
    tab.open(made / "run.html", dark=True, media="print")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_names_that_look_like_markup_do_nothing(tab: Browser, tmp_path: Path, run: Run) -> None:
    methods = (MethodEntry(f"m{ODD}", "finetune"), MethodEntry(f"n{ODD}", "mas", (0.5,)))
    finished_run(tmp_path / "odd", tasks=("a", f"b{ODD}"), methods=methods, classes=(f"{ODD}</script>",), warning=ODD)
    assert run("report", tmp_path / "odd", "--html", tmp_path / "odd.html")[0] == 0
    tab.open(tmp_path / "odd.html", width=360)
    assert tab.messages == [] and len(tab.requests) == 1
    assert tab.run("[document.images.length, document.title]") == [0, "mascli report: 2 tasks, 2 methods"]
    assert tab.run("document.body.innerText").count(ODD) > 5
    assert tab.run("document.documentElement.scrollWidth") == 360


def test_what_is_smuggled_into_a_page_is_neither_loaded_nor_run(tab: Browser, made: Path, tmp_path: Path) -> None:
    """Negative control: the policy in the page is what forbids it, and these tests would notice."""
    text = (made / "run.html").read_text(encoding="utf-8")
    smuggled = '<img src="https://example.org/x.png"><script>document.title = "run"</script>'
    (tmp_path / "x.html").write_text(text.replace("</body>", f"{smuggled}</body>"), encoding="utf-8")
    tab.open(tmp_path / "x.html")
    told = " ".join(tab.messages)
    assert told.count("Content Security Policy") >= 2
    assert tab.run("document.title") != "run"
    assert ReadPage(text.replace("</body>", f"{smuggled}</body>")).problems != []
    policy = text[text.index('<meta http-equiv="Content-Security-Policy"') :].partition(">")[0] + ">"
    free = text.replace(policy, "").replace("</body>", f"{smuggled}</body>")
    (tmp_path / "y.html").write_text(free, encoding="utf-8")
    tab.open(tmp_path / "y.html")
    assert tab.run("document.title") == "run"
    assert "https://example.org/x.png" in tab.requests


ITS_MAKERS = {"clients2.google.com", "update.googleapis.com", "accounts.google.com"}  # what chromium asks by itself


def asked(log: Path) -> list[str]:
    """The addresses that a browser asked a network for, by its own log."""
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().rstrip(",")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # it is closed before its last line is written
        events = json.loads(text + "]}")["events"]
    found: list[Any] = [event.get("params", {}).get("url", "") for event in events]
    urls = [url for url in found if isinstance(url, str) and url.startswith(("http:", "https:", "ws:", "wss:"))]
    return [url for url in urls if urlsplit(url).hostname not in ITS_MAKERS]


def test_no_request_leaves_the_browser(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "run.html", tmp_path / "a.html")
    with browser(tmp_path / "one", f"--log-net-log={tmp_path / 'one.json'}") as tab:
        tab.open(tmp_path / "a.html")
        tab.run("document.querySelectorAll('button').forEach(button => button.click())")
    assert asked(tmp_path / "one.json") == []
    (tmp_path / "b.html").write_text('<img src="https://example.org/x.png">')
    with browser(tmp_path / "two", f"--log-net-log={tmp_path / 'two.json'}") as tab:
        tab.open(tmp_path / "b.html")
    assert "https://example.org/x.png" in asked(tmp_path / "two.json")  # negative control

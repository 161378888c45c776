"""Files of pictures: what they are, that they are the same each time, and that nothing half done is left."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from mascli.errors import UsageError
from mascli.plots.picture import FORMATS, MOST_PIXELS, Picture, rendered, write_picture
from mascli.plots.style import new_figure

SVG = "{http://www.w3.org/2000/svg}"


def bars(heights: tuple[float, ...] = (1, 2), title: str = "two bars") -> Picture:
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.bar(range(len(heights)), heights)
    axes.set_title(title)
    return Picture(figure, title, f"Heights: {heights}.")


def test_a_png_opens_and_holds_its_description() -> None:
    image = Image.open(io.BytesIO(rendered(bars, "png")))
    image.load()
    assert image.size == (450, 300)
    assert image.info["Title"] == "two bars" and image.info["Description"] == "Heights: (1, 2)."


def test_an_svg_is_xml_with_a_title_and_a_description() -> None:
    root = ElementTree.fromstring(rendered(lambda: bars(title="a & <b>"), "svg"))
    assert root.tag == f"{SVG}svg" and root.attrib["role"] == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root.findtext(f"{SVG}title") == "a & <b>" and root.findtext(f"{SVG}desc") == "Heights: (1, 2)."
    assert "a & <b>" in ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def test_a_pdf_is_a_whole_pdf() -> None:
    data = rendered(bars, "pdf")
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_numbers_give_the_same_bytes_and_others_do_not(form: str) -> None:
    assert rendered(bars, form) == rendered(bars, form)
    assert rendered(bars, form) != rendered(lambda: bars((1, 3)), form)


@pytest.mark.parametrize("form", FORMATS)
def test_no_file_holds_a_date(form: str) -> None:
    data = rendered(bars, form)
    assert b"CreationDate" not in data and b"dc:date" not in data and b"tIME" not in data


def test_another_process_and_other_settings_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\nfigure.facecolor: red\n")
    code = "import sys, test_picture as t; [sys.stdout.buffer.write(t.rendered(t.bars, f)) for f in t.FORMATS]"
    code += "; assert 'matplotlib.pyplot' not in sys.modules"
    paths = f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[1]}"
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"".join(rendered(bars, form) for form in FORMATS)


def test_the_settings_of_others_stay_as_they_were() -> None:
    with matplotlib.rc_context({"font.size": 21.0}):
        names = set(matplotlib.rcParams) - {"backend"}  # reading it chooses one
        before, level = {name: matplotlib.rcParams[name] for name in names}, logging.getLogger("matplotlib").level
        rendered(bars, "svg")
        assert {name: matplotlib.rcParams[name] for name in names} == before
        assert logging.getLogger("matplotlib").level == level


@pytest.mark.parametrize("title", ["$a$ costs $b$", "\x1b[31mred", "日本語 \U0001f600", "\udcff", "]]> &amp;", "a\nb"])
@pytest.mark.parametrize("form", FORMATS)
def test_odd_names_are_drawn_as_they_are(form: str, title: str) -> None:
    from mascli.plots.style import shortened

    data = rendered(lambda: bars(title=shortened(title)), form)
    if form == "svg":
        words = {"".join(text.itertext()).strip() for text in ElementTree.fromstring(data).iter(f"{SVG}text")}
        assert shortened(title) in words


def test_a_png_of_a_very_long_figure_has_no_more_pixels_than_viewers_take() -> None:
    def tall() -> Picture:
        return Picture(new_figure(1, 300), "tall", "")

    assert Image.open(io.BytesIO(rendered(tall, "png"))).size[1] <= MOST_PIXELS


def test_nothing_is_replaced_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "bars.PNG"
    write_picture(bars, path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_picture(lambda: bars((5, 6)), path, overwrite=False)
    assert path.read_bytes() == before
    write_picture(lambda: bars((5, 6)), path, overwrite=True)
    assert path.read_bytes() == rendered(lambda: bars((5, 6)), "png") != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fails() -> Picture:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_picture(fails, tmp_path / "bars.svg", overwrite=False)
    assert list(tmp_path.iterdir()) == []

"""A picture and its file: PNG, SVG or PDF, the same bytes for the same numbers, whole or not there."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from mascli.errors import printable
from mascli.files.atomic import replacing
from mascli.plots.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
MOST_PIXELS = 16_000  # of the longer side of a PNG


@dataclass(frozen=True)
class Picture:
    """A figure, what it is called, and in sentences what it shows, for people who do not see it."""

    figure: Figure
    title: str
    description: str


def write_picture(draw: Callable[[], Picture], path: Path, *, overwrite: bool) -> None:
    """Draw a picture and write it to `path`, in the format that the name ends in.

    Raises:
        UsageError: as `files.atomic.replacing`.
    """
    data = rendered(draw, path.suffix.lower().lstrip("."))
    with replacing(path, overwrite=overwrite) as file:
        file.write(data)


def rendered(draw: Callable[[], Picture], form: str) -> bytes:
    """The bytes of a picture as `form`, one of `FORMATS`; they hold no date and no path.

    SVG gets its title and description as `title` and `desc`, where screen readers look for them; PNG
    and PDF in their metadata.
    """
    with styled():
        picture = draw()
        buffer = io.BytesIO()
        resolution = min(150.0, MOST_PIXELS / max(picture.figure.get_size_inches()))
        picture.figure.savefig(buffer, format=form, dpi=resolution, metadata=_metadata(picture, form))
    data = buffer.getvalue()
    return _with_description(data, picture) if form == "svg" else data


def _metadata(picture: Picture, form: str) -> dict[str, str | None]:
    title, description = printable(picture.title), printable(picture.description)
    if form == "png":
        return {"Title": title, "Description": description}
    if form == "pdf":
        return {"Title": title, "Subject": description, "CreationDate": None}
    return {"Title": title, "Date": None}


def _with_description(data: bytes, picture: Picture) -> bytes:
    """The SVG as one image with a description, after the title that matplotlib has written."""
    described = f"</title>\n <desc>{escape(printable(picture.description))}</desc>"
    text = data.decode("utf-8").replace("</title>", described, 1)
    return text.replace("<svg ", '<svg role="img" ', 1).encode("utf-8")

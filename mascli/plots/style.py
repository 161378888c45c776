"""How all pictures look: colours that colour-blind people tell apart, sizes, and how names and numbers are written.

Nothing here depends on the settings of the user's matplotlib, nor changes them for others.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mascli.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), without their yellow, which is too light on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
SCALE = "cividis"  # of values: made for colour-blind people, and darker is always lower

_SETTINGS: Any = {
    "text.parse_math": False,  # a name may hold dollars
    "svg.hashsalt": "mascli",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    # the first comes with matplotlib; the others, where they are installed, have what it has not
    "font.sans-serif": ["DejaVu Sans", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "figure.titlesize": 12,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def styled() -> Iterator[None]:
    """Within this context matplotlib draws as it does here, whatever the user has set; it says nothing itself."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib

        with warnings.catch_warnings(), matplotlib.rc_context():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            yield
    finally:
        logger.setLevel(level)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, that makes room for its labels by itself."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def series_style(index: int) -> tuple[str, str, str]:
    """Colour, marker and line of the series of this number: any 28 in a row differ."""
    return PALETTE[index % 7], MARKERS[index % 7], DASHES[index // 7 % 4]


def shortened(name: str, most: int = 36) -> str:
    """`name` on one line of at most `most` characters: what is too long loses its middle."""
    shown = printable(name)
    if len(shown) <= most:
        return shown
    tail = (most - 1) * 2 // 3  # the end of a layer's name says more than its beginning
    return f"{shown[: most - 1 - tail]}…{shown[-tail:]}"


def power_text(exponent: int) -> str:
    """10 to the power of `exponent`, as text."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def number_text(value: float) -> str:
    """`value` with three digits; far from 1 with a power of ten."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:,.0f}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}×{power_text(int(exponent))}"


def percent_text(share: float, decimals: int = 1) -> str:
    """A share of 0 to 1 as percent with so many decimals; what is there never reads as 0."""
    least = 10.0**-decimals
    return f"<{least:.{decimals}f} %" if 0 < 100 * share < least else f"{100 * share:.{decimals}f} %"


def percent_decimals(largest: float) -> int:
    """The decimals that shares up to `largest` (0 to 1) need to be told apart: one, or two digits of the largest."""
    if not 0 < 100 * largest < 1:
        return 1
    return min(1 - math.floor(math.log10(100 * largest)), 9)


def decades(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of an axis of common logarithms from `low` to `high`: at most about 7 powers of ten, or the ends."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if last - first < 1:
        ends = sorted({low, high})
        return ends, [number_text(10**end) for end in ends]
    step = math.ceil((last - first) / 6)
    exponents = range(first, last + 1, step)
    return [float(exponent) for exponent in exponents], [power_text(exponent) for exponent in exponents]


def count_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Make the vertical axis one of counts on a logarithmic scale, on which 1 can be seen."""
    from matplotlib.ticker import NullFormatter

    most = max(counts, default=1)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(most, 1) * 2)
    last = math.floor(math.log10(max(most, 1)))
    ticks = [10.0**exponent for exponent in range(0, last + 1, math.ceil((last + 1) / 6))]
    if most < 10:
        ticks = [tick for tick in (1.0, 2.0, 5.0) if tick <= max(most, 1)]
    axes.set_yticks(ticks, [f"{int(tick):,}" if tick < 1e5 else power_text(round(math.log10(tick))) for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y")


def beside(axes: Axes, place: float, text: str, gap: float) -> None:
    """Write `text` right of the picture, `gap` points away, at the height `place` of its vertical axis."""
    axes.annotate(
        text,
        (1, place),
        (gap, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=INK,
        annotation_clip=False,
    )

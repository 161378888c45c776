"""From the bytes of an image file to the pixels that a network takes, any format and any mode.

Resizing and cropping are Pillow's own with torchvision's arithmetic, so that an RGB image comes out
exactly as from torchvision's classification presets; torch itself is not needed.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from mascli.errors import printable
from mascli.records import Preprocessing

# Above Pillow's limit an image is refused; what else Pillow warns about (metadata) does not concern its pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)

Image.init()
# Pillow knows more, but some run other programs (EPS) or are not pictures of pixels. Tried in this order: the usual
# ones first, and last TGA, which has no mark at its beginning.
_ORDER = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "JPEG2000", "AVIF", "TGA")
_FORMATS = tuple(name for name in _ORDER if name in Image.OPEN)
_MODES = {1: "L", 3: "RGB"}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class UnreadableImage(Exception):
    """An image file that cannot become pixels; its text is the reason, on one short line."""


def image_bytes(path: Path) -> bytes:
    """The bytes of the image file at `path`, or of what a link leads to.

    Raises:
        UnreadableImage: not there, not to be read, or no regular file: a pipe is never opened, as it would wait.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableImage(f"{_KINDS.get(stat.S_IFMT(mode), 'something')}, not a file")
        with open(path, "rb", buffering=0) as file:  # much quicker than a path's own way, for small files
            return file.read()
    except OSError as error:
        where = f"; a link to {os.readlink(path)}" if path.is_symlink() else ""
        raise UnreadableImage(printable(f"cannot be opened ({error.strerror}{where})")) from error


def decode(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The pixels [C, H, W] of an image file with the bytes `data`, of the size that `preprocessing` fixes.

    The first frame, upright (EXIF), transparency laid on white, 16-bit greys divided by 65535, colours
    as RGB or, for one channel, as luminance.

    Raises:
        UnreadableImage: damaged, truncated, too large, not an image, or of a kind without a meaning here.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            pixels = _sized(_plain(_upright(image), _MODES[preprocessing.channels]), preprocessing)
    except (UnreadableImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not an image of a known format" if data else "the file is empty") from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise UnreadableImage(printable(str(error) or type(error).__name__)[:120]) from error
    channels_last = np.asarray(pixels, dtype=np.uint8).reshape(*preprocessing.size, preprocessing.channels)
    return np.array(channels_last.transpose(2, 0, 1), order="C")  # a copy: Pillow's own memory is read-only


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # damaged metadata around an image that has just been read whole
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode` ("L" or "RGB"), without transparency."""
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_16_bit(image)
    elif image.mode == "LAB":
        image = ImageCms.profileToProfile(  # type: ignore[assignment]
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    elif image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.new("RGBA", image.size, "white")
        image.alpha_composite(colours)
    if image.mode not in ("L", "1"):
        image = image.convert("RGB")
    return image.convert(mode)


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage("32-bit pixels outside 0 to 65535; save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _sized(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    height, width = preprocessing.size
    if preprocessing.resize == "none":
        if (image.height, image.width) != (height, width):
            raise UnreadableImage(f"{image.width}x{image.height} pixels, not {width}x{height} (--resize none)")
        return image
    resampling = _FILTERS[preprocessing.interpolation]
    if preprocessing.resize == "squash":
        return image.resize((width, height), resampling)
    scaled = _scaled_size(image, preprocessing)
    if scaled[0] * scaled[1] > (Image.MAX_IMAGE_PIXELS or 2**27):
        raise UnreadableImage(f"too long and thin ({image.width}x{image.height} pixels)")
    return _centre_crop(image.resize(scaled, resampling), height, width)


def _scaled_size(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) with the shorter side `resize_to`; without one, just large enough to cover `size`."""
    height, width = preprocessing.size
    if preprocessing.resize_to:
        height = width = preprocessing.resize_to
    if height * image.width >= width * image.height:
        return height * image.width // image.height, height
    return width, width * image.height // image.width


def _centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = _margin(image.width, width), _margin(image.height, height)
    return image.crop((left, top, left + width, top + height))  # what lies outside is black


def _margin(have: int, want: int) -> int:
    return round((have - want) / 2) if have >= want else -((want - have) // 2)

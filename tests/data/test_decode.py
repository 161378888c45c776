from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv
from torchvision.transforms._presets import ImageClassification

from mascli.data.decode import UnreadableImage, decode
from mascli.data.loader import normalize
from mascli.records import Preprocessing


def as_is(width: int, height: int, channels: int = 3, **changes: Any) -> Preprocessing:
    return Preprocessing(size=(height, width), resize="none", channels=channels, **changes)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file with any header, which Pillow could not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def colours(data: bytes, width: int, height: int, channels: int = 3) -> list[list[int]]:
    pixels: list[list[int]] = (
        decode(data, as_is(width, height, channels)).transpose(1, 2, 0).reshape(-1, channels).tolist()
    )
    return pixels


@pytest.mark.parametrize("size", [(300, 400), (401, 257), (500, 224), (64, 63), (224, 224), (90, 700)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("crop", "resize_to"), [(224, 256), (64, 64), (65, 40)])
def test_rgb_is_exactly_what_torchvisions_preset_makes(
    size: tuple[int, int], interpolation: Any, crop: int, resize_to: int
) -> None:
    image = noise(*size)
    preprocessing = Preprocessing(size=(crop, crop), resize_to=resize_to, interpolation=interpolation)
    expected = ImageClassification(
        crop_size=crop, resize_size=resize_to, interpolation=InterpolationMode(interpolation), antialias=True
    )(image)
    pixels = torch.from_numpy(decode(saved(image), preprocessing))
    assert torch.equal(normalize(pixels[None], preprocessing, "cpu")[0], expected)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), side=st.integers(1, 40))
def test_without_resize_to_a_square_is_the_shorter_side(width: int, height: int, side: int) -> None:
    image = noise(width, height)
    expected = tv.pil_to_tensor(tv.center_crop(tv.resize(image, [side]), [side, side]))
    pixels = decode(saved(image), Preprocessing(size=(side, side)))
    assert torch.equal(torch.from_numpy(pixels), expected)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), wide=st.integers(1, 40), high=st.integers(1, 40))
def test_without_resize_to_a_rectangle_is_just_covered(width: int, height: int, wide: int, high: int) -> None:
    white = Image.new("RGB", (width, height), "white")
    pixels = decode(saved(white), Preprocessing(size=(high, wide)))
    assert pixels.shape == (3, high, wide)
    assert pixels.min() == 255  # no black margin


def test_squash_ignores_proportions() -> None:
    image = noise(50, 20)
    pixels = decode(saved(image), Preprocessing(size=(16, 24), resize="squash"))
    assert torch.equal(torch.from_numpy(pixels), tv.pil_to_tensor(tv.resize(image, [16, 24])))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_interpolation_is_torchvisions(interpolation: Any) -> None:
    image = noise(30, 40)
    preprocessing = Preprocessing(size=(16, 16), resize="squash", interpolation=interpolation)
    expected = tv.resize(image, [16, 16], interpolation=InterpolationMode(interpolation))
    assert torch.equal(torch.from_numpy(decode(saved(image), preprocessing)), tv.pil_to_tensor(expected))


def test_none_wants_exactly_the_size() -> None:
    image = noise(8, 6)
    assert np.array_equal(decode(saved(image), as_is(8, 6)), np.asarray(image).transpose(2, 0, 1))
    with pytest.raises(UnreadableImage, match="8x6 pixels, not 6x8"):
        decode(saved(image), as_is(6, 8))


def test_pixels_are_contiguous_and_writable() -> None:
    for channels in (1, 3):
        pixels = decode(saved(noise(5, 4)), as_is(5, 4, channels))
        assert pixels.shape == (channels, 4, 5)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF", "PPM", "TGA", "WEBP", "JPEG2000"])
def test_formats_without_loss_give_the_same_pixels(format: str) -> None:
    image = noise(16, 16).quantize(64).convert("RGB")
    options = {"lossless": True} if format == "WEBP" else {"irreversible": False} if format == "JPEG2000" else {}
    data = saved(image.quantize(64) if format == "GIF" else image, format, **options)
    assert np.array_equal(decode(data, as_is(16, 16)), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_formats_with_loss_are_read_as_pillow_reads_them(format: str) -> None:
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {format}")
    data = saved(noise(16, 16), format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(data, as_is(16, 16)), expected)


def test_greys_become_three_equal_channels_and_colours_luminance() -> None:
    grey = noise(4, 4, "L")
    assert np.array_equal(decode(saved(grey), as_is(4, 4)), np.stack([np.asarray(grey)] * 3))
    assert np.array_equal(decode(saved(grey), as_is(4, 4, 1))[0], np.asarray(grey))
    assert np.array_equal(decode(saved(noise(4, 4)), as_is(4, 4, 1))[0], np.asarray(noise(4, 4).convert("L")))


def test_one_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    for format in ("PNG", "TIFF", "BMP"):
        assert colours(saved(image, format), 2, 1) == [[0, 0, 0], [255, 255, 255]]
    assert colours(saved(image), 2, 1, 1) == [[0], [255]]


def test_palette() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        assert colours(saved(image, format), 2, 1) == [[10, 20, 30], [200, 100, 50]]


def test_transparency_lies_on_white() -> None:
    rgba = Image.new("RGBA", (3, 1))
    for x, pixel in enumerate([(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)]):
        rgba.putpixel((x, 0), pixel)
    assert colours(saved(rgba), 3, 1) == [[255, 0, 0], [255, 255, 255], [204, 204, 204]]
    assert colours(saved(rgba), 3, 1, 1) == [[76], [255], [204]]

    grey = Image.new("LA", (2, 1))
    grey.putpixel((0, 0), (9, 255))
    assert colours(saved(grey), 2, 1) == [[9, 9, 9], [255, 255, 255]]
    assert colours(saved(grey), 2, 1, 1) == [[9], [255]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_is_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert colours(saved(image, transparency=transparency), 2, 1) == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_colour_is_white() -> None:
    rgb = Image.new("RGB", (2, 1), (1, 2, 3))
    rgb.putpixel((1, 0), (4, 5, 6))
    assert colours(saved(rgb, transparency=(4, 5, 6)), 2, 1) == [[1, 2, 3], [255, 255, 255]]
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 8)
    assert colours(saved(grey, transparency=8), 2, 1) == [[7, 7, 7], [255, 255, 255]]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_cut(format: str) -> None:
    values = [0, 128, 129, 257, 32768, 65278, 65535]
    image = Image.fromarray(np.array([values], dtype=np.uint16))
    assert colours(saved(image, format), len(values), 1, 1) == [[round(value / 257)] for value in values]
    assert colours(saved(image, format), len(values), 1)[-1] == [255, 255, 255]


def test_colours_of_16_bits_keep_their_upper_8() -> None:
    data = png(1, 1, bits=16, colour=2, rows=b"\0" + struct.pack(">3H", 0x12FF, 0, 0xFFFF))
    assert colours(data, 1, 1) == [[0x12, 0, 0xFF]]


def test_32_bits_are_read_within_16_and_refused_beyond() -> None:
    image = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32))
    assert colours(saved(image, "TIFF"), 3, 1, 1) == [[0], [1], [255]]
    for value in (-1, 65536):
        with pytest.raises(UnreadableImage, match="outside 0 to 65535"):
            decode(saved(Image.fromarray(np.array([[value]], dtype=np.int32)), "TIFF"), as_is(1, 1))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="floating-point"):
        decode(saved(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"), as_is(2, 2))


def test_cmyk_and_ycbcr() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for format in ("TIFF", "JPEG"):
        red, green, blue = colours(saved(cmyk, format), 8, 8)[0]
        assert red > 250
        assert green < 5
        assert blue < 5
    ycbcr = Image.new("RGB", (8, 8), (200, 30, 60)).convert("YCbCr")
    expected = list(ycbcr.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]
    file = saved(ycbcr, "JPEG", quality=100)  # as TIFF, not every Pillow reads what it has written
    assert np.abs(np.array(colours(file, 8, 8)[0]) - expected).max() <= 3


def test_lab() -> None:
    rgb = Image.new("RGB", (2, 2), (200, 30, 60))
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    decoded = np.array(colours(saved(lab, "TIFF"), 2, 2)[0])
    assert np.abs(decoded - [200, 30, 60]).max() <= 4


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_upright(format: str, orientation: int) -> None:
    upright = Image.new("RGB", (16, 32), "black")
    upright.paste((255, 255, 255), (0, 0, 8, 8))  # the top left corner
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes each orientation
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "JPEG" else {}
    pixels = decode(saved(stored, format, exif=exif, **options), as_is(16, 32))
    assert np.abs(pixels.astype(int) - np.asarray(upright).transpose(2, 0, 1)).max() <= 8


def test_damaged_exif_is_not_a_damaged_image() -> None:
    data = saved(noise(8, 8), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert decode(data, as_is(8, 8)).shape == (3, 8, 8)


def test_the_first_frame_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for format in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(first, format, save_all=True, append_images=[second], **options)
        assert colours(data, 4, 4)[0] == [255, 0, 0], format


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(format: str, kept: float) -> None:
    data = saved(noise(64, 64), format)
    with pytest.raises(UnreadableImage):
        decode(data[: int(len(data) * kept)], as_is(64, 64))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image of a known format"),
    ],
)
def test_what_is_no_image_says_so_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, as_is(8, 8))
    assert str(caught.value) == reason


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_decompression_bombs_are_refused(side: int) -> None:
    with pytest.raises(UnreadableImage, match=r"more than 89,478,485 pixels"):
        decode(png(side, side, bits=1, colour=0, rows=b""), Preprocessing(size=(8, 8)))


def test_an_image_that_scaling_would_make_huge_is_refused() -> None:
    with pytest.raises(UnreadableImage, match=r"too long and thin \(60000x1 pixels\)"):
        decode(saved(Image.new("L", (60_000, 1))), Preprocessing(size=(224, 224)))


def test_nothing_is_written_to_the_terminal() -> None:
    script = """
import io, sys
from PIL import Image
from mascli.data.decode import decode, UnreadableImage
from mascli.records import Preprocessing
stream = io.BytesIO()
Image.new("1", (10_000, 9_000)).save(stream, "PNG")
try:
    decode(stream.getvalue(), Preprocessing(size=(8, 8)))
except UnreadableImage as reason:
    print(reason)
stream = io.BytesIO()
Image.new("RGB", (8, 8)).save(stream, "JPEG", exif=b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\xff\\xff garbage")
print(decode(stream.getvalue(), Preprocessing(size=(8, 8))).shape, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "more than 89,478,485 pixels\n(3, 8, 8) False\n"
    assert done.stderr == ""


@settings(max_examples=150, deadline=None)
@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "TGA"]))
def test_damage_gives_pixels_or_one_short_line(data: st.DataObject, format: str) -> None:
    content = bytearray(saved(noise(8, 8), format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    reason = "read"
    try:
        pixels = decode(bytes(content), Preprocessing(size=(8, 8)))
    except UnreadableImage as problem:
        reason = str(problem)
    else:
        assert pixels.shape == (3, 8, 8)
    assert 0 < len(reason) <= 120
    assert reason.isprintable()

"""Still pictures: formats, orientation, and files that are not what they seem."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ferlite.sources import MAX_PIXELS, open_source
from ferlite.sources.image_header import image_format, image_size
from ferlite.sources.images import ImageSource
from ferlite.types import Frame

FORMATS = {
    ".jpg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".webp": "WebP",
    ".ppm": "PNM",
    ".jp2": "JPEG 2000",
    ".avif": "AVIF",
}


def _scene(width: int = 60, height: int = 40) -> NDArray[np.uint8]:
    """Smooth, and different under every turn and mirroring."""
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)]
    return np.stack(planes, axis=2).astype(np.uint8)


def _encode(suffix: str, image: NDArray[np.generic], *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def _read(path: Path) -> Frame:
    (frame,) = ImageSource(path)
    return frame


def _saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_and_their_headers(tmp_path: Path, suffix: str) -> None:
    if not cv2.haveImageWriter(f"x{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    scene = _scene()
    data = _encode(suffix, scene)
    assert image_format(data[:16]) == FORMATS[suffix]
    assert image_size(data) == (60, 40)
    frame = _read(_saved(tmp_path / f"scene{suffix}", data))
    assert frame.error is None
    assert (frame.source.kind, frame.source.width, frame.source.height) == ("image", 60, 40)
    assert np.abs(frame.image.astype(int) - scene).mean() < 3


@pytest.mark.parametrize("options", [{"lossless": False}, {"lossless": True}, {"exif": b"Exif"}])
def test_webp_headers(options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.fromarray(_scene(300, 7)).save(file, "WEBP", **options)
    assert image_size(file.getvalue()) == (300, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_of_jpeg(tmp_path: Path, orientation: int, order: str) -> None:
    scene = _scene()
    data = _encode(".jpg", scene, cv2.IMWRITE_JPEG_QUALITY, 100)
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
        order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0
    )
    exif = b"Exif\0\0" + tiff
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    frame = _read(_saved(tmp_path / "turned.jpg", data))
    shown = {  # EXIF 2.3, tag 0x0112: what the first row and column of the stored picture are
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, -1),
        7: scene.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(scene),
    }[orientation]
    assert frame.image.shape == shown.shape
    assert (frame.source.width, frame.source.height) == shown.shape[1::-1]
    assert np.abs(frame.image.astype(int) - shown).mean() < 3


def test_depths_and_channels_become_bgr_bytes(tmp_path: Path) -> None:
    scene = _scene()
    alpha = np.full(scene.shape[:2], 128, np.uint8)
    grey = scene[:, :, 0]
    cases = {
        "16bit.png": (scene.astype(np.uint16) * 257, scene),
        "16bit.tif": (scene.astype(np.uint16) * 257, scene),
        "grey16.png": (grey.astype(np.uint16) * 257, np.dstack([grey] * 3)),
        "grey.png": (grey, np.dstack([grey] * 3)),
        "grey.jpg": (grey, np.dstack([grey] * 3)),
        "alpha.png": (np.dstack([scene, alpha]), scene),
        "alpha16.png": (np.dstack([scene, alpha]).astype(np.uint16) * 257, scene),
    }
    for name, (stored, shown) in cases.items():
        frame = _read(_saved(tmp_path / name, _encode(name[name.index(".") :], stored)))
        assert frame.error is None, name
        assert frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - shown).max() <= (8 if ".jpg" in name else 0), name


def test_palette_and_cmyk(tmp_path: Path) -> None:
    flat = Image.new("RGB", (20, 10), (200, 100, 50))
    flat.quantize(4).save(tmp_path / "palette.png")
    flat.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for name in ("palette.png", "cmyk.jpg"):
        frame = _read(tmp_path / name)
        assert frame.error is None
        assert np.abs(frame.image[5, 5].astype(int) - (50, 100, 200)).max() <= 3, name


def test_one_pixel_and_names_beyond_ascii(tmp_path: Path) -> None:
    frame = _read(_saved(tmp_path / "größe 大 [1].png", _encode(".png", _scene(1, 1))))
    assert frame.image.shape == (1, 1, 3)


def _bomb(suffix: str) -> bytes:
    """A small file that claims 65,000 x 65,000 pixels."""
    data = bytearray(_encode(suffix, _scene()))
    side = 65000
    if suffix == ".png":
        struct.pack_into(">II", data, 16, side, side)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif suffix == ".jpg":
        at = data.index(b"\xff\xc0")
        struct.pack_into(">HH", data, at + 5, side, side)
    elif suffix == ".bmp":
        struct.pack_into("<ii", data, 18, side, -side)
    elif suffix == ".ppm":
        data[:] = b"P6\n# by hand\n65000 65000\n255\n" + bytes(100)
    elif suffix == ".tif":
        entry = struct.Struct("<HHII")
        fields = entry.pack(256, 4, 1, side) + entry.pack(257, 4, 1, side)
        data[:] = b"II*\0" + struct.pack("<IH", 8, 2) + fields + bytes(4)
    elif suffix == ".jp2":
        struct.pack_into(">II", data, data.index(b"ihdr") + 4, side, side)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm", ".tif", ".jp2"])
def test_hostile_sizes_are_refused_before_decoding(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    frame = _read(_saved(tmp_path / f"bomb{suffix}", _bomb(suffix)))
    assert f"65000x65000 pixels is over the limit of {MAX_PIXELS}" in str(frame.error)


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    good = _encode(".png", _scene())
    cases = {
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"hello, this is no picture", "not a picture in a known format"),
        "cut.png": (good[: len(good) // 2], "the PNG is damaged, truncated"),
        "header.png": (good[:18], "the PNG header is damaged"),
        "nothing.jpg": (b"\xff\xd8\xff\xe0" + bytes(40), "JPEG"),
        "cut.jpg": (_encode(".jpg", _scene(400, 300))[:2000], "the JPEG is truncated"),
    }
    for name, (data, why) in cases.items():
        frame = _read(_saved(tmp_path / name, data))
        assert frame.image.shape == (0, 0, 3)
        assert frame.error is not None and name in frame.error and why in frame.error
        assert "\n" not in frame.error
    missing = _read(tmp_path / "missing.png")
    assert missing.error == f"{tmp_path / 'missing.png'}: cannot be read: No such file or directory"


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: takes no room
    assert "too large for a picture" in str(_read(path).error)


def test_a_bad_picture_does_not_stop_a_folder(tmp_path: Path) -> None:
    (tmp_path / "1-empty.png").touch()
    _saved(tmp_path / "2-good.png", _encode(".png", _scene()))
    (tmp_path / "3-gone.png").symlink_to(tmp_path / "nowhere.png")
    _saved(tmp_path / "4-broken.mp4", b"no video at all")
    _saved(tmp_path / "5-good.bmp", _encode(".bmp", _scene()))
    frames = list(open_source(tmp_path))
    assert [f.error is None for f in frames] == [False, True, False, False, True]
    assert [Path(f.source.name).name[0] for f in frames] == list("12345")
    assert [f.source.kind for f in frames] == ["image", "image", "image", "video", "image"]


@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_headers_of_any_bytes_give_a_size_or_none(suffix: str, data: st.DataObject) -> None:
    good = {".avif": b"\0\0\0\x20ftypavif" + bytes(20) + b"ispe" + bytes(6)}
    start = good.get(suffix) or _encode(suffix, _scene())
    cut = data.draw(st.integers(0, min(200, len(start))))
    size = image_size(start[:cut] + data.draw(st.binary(max_size=60)))
    assert size is None or (len(size) == 2 and all(isinstance(side, int) for side in size))

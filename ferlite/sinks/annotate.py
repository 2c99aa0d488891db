"""Draws what was read from a frame: boxes, labels, confidence, identity.

Colours are Okabe and Ito's eight, which people with any common colour vision deficiency tell apart
(Okabe and Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/). They are given out
in the order of the model's labels, and the label is always written as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ferlite.types import Face

BgrColor = tuple[int, int, int]
Rect = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are outside

PALETTE: tuple[BgrColor, ...] = (
    (233, 180, 86),  # sky blue
    (66, 228, 240),  # yellow
    (0, 159, 230),  # orange
    (178, 114, 0),  # blue
    (0, 94, 213),  # vermillion
    (115, 158, 0),  # bluish green
    (167, 121, 204),  # reddish purple
    (0, 0, 0),  # black
)
UNCERTAIN: BgrColor = (190, 190, 190)
_BLACK: BgrColor = (0, 0, 0)
_WHITE: BgrColor = (255, 255, 255)

# Height in pixels of a capital letter of FONT_HERSHEY_SIMPLEX at scale 1.
_CAPITAL = 21.0
# A capital below 8 pixels cannot be read; above 1/50 of a 4K picture it only hides more.
_SMALLEST_CAPITAL, _LARGEST_CAPITAL = 8.0, 44.0


@dataclass(frozen=True, slots=True)
class _Style:
    line: int  # width of a box line, pixels
    capital: float  # height of a capital letter of the largest label, pixels


def _style(width: int, height: int) -> _Style:
    side = min(width, height)  # a portrait video is held like a landscape one, seen as large
    return _Style(
        line=min(max(round(side / 300), 2), 8),
        capital=min(max(side / 50, _SMALLEST_CAPITAL), _LARGEST_CAPITAL),
    )


def color_of(face: Face) -> BgrColor:
    """BGR of the face's emotion, by its place among the model's labels; grey when uncertain."""
    if face.uncertain:
        return UNCERTAIN
    return PALETTE[list(face.emotions).index(face.emotion) % len(PALETTE)]


def annotate(image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
    """A copy of `image` (uint8 HxWx3 BGR) with every face drawn; the image itself is not touched.

    A face has a box in its emotion's colour and a plate "#track emotion 87%"; an uncertain one a
    dashed grey box and "emotion? 31%". Lines and letters follow the shorter side of the picture,
    and letters also the face, so that a crowd stays readable. Plates stay inside the picture and go
    where they cover the least of other plates, then of faces; where there is no room at all they
    say less.
    """
    picture = image.copy()
    height, width = picture.shape[:2]
    style = _style(width, height)
    # Large faces first: the small ones, farther away, stay on top.
    shown = sorted(
        ((face, rect) for face in faces if (rect := _visible(face, width, height))),
        key=lambda pair: -_area(pair[1]),
    )
    for face, rect in shown:
        _draw_box(picture, rect, color_of(face), style.line, dashed=face.uncertain)
    rects = [rect for _, rect in shown]
    plates: list[Rect] = []
    for face, rect in shown:
        others = [other for other in rects if other is not rect]
        _draw_label(picture, face, rect, style, plates, others)
    return picture


def _visible(face: Face, width: int, height: int) -> Rect | None:
    """The box in whole pixels, cut at the picture's edge; None when nothing of it can be seen."""
    x, y, w, h = face.box
    if not all(map(math.isfinite, face.box)):
        return None
    left, top = max(math.floor(x), 0), max(math.floor(y), 0)
    right, bottom = min(math.ceil(x + w), width), min(math.ceil(y + h), height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _area(rect: Rect) -> int:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _overlap(a: Rect, b: Rect) -> int:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0


def _contrast(color: BgrColor) -> BgrColor:
    """Black or white, whichever reads better on `color` (luma of ITU-R BT.601)."""
    blue, green, red = color
    return _BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 115 else _WHITE


def _draw_box(
    picture: NDArray[np.uint8], rect: Rect, color: BgrColor, line: int, *, dashed: bool
) -> None:
    left, top, right, bottom = rect
    # A rim in the opposite tone keeps every colour visible on every background.
    rim = max(1, line // 3)
    _frame(picture, rect, line + 2 * rim, _contrast(color), 0)
    inner = (left + rim, top + rim, right - rim, bottom - rim)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        _frame(picture, inner, line, color, 5 * line if dashed else 0)


def _frame(picture: NDArray[np.uint8], rect: Rect, line: int, color: BgrColor, dash: int) -> None:
    """The four sides of a box, `line` pixels wide and inside it; `dash` pixels on and off."""
    left, top, right, bottom = rect
    line = min(line, right - left, bottom - top)
    spans_x, spans_y = _dashes(left, right, dash), _dashes(top, bottom, dash)
    for start, end in spans_x:
        picture[top : top + line, start:end] = color
        picture[bottom - line : bottom, start:end] = color
    for start, end in spans_y:
        picture[start:end, left : left + line] = color
        picture[start:end, right - line : right] = color


def _dashes(start: int, end: int, dash: int) -> list[tuple[int, int]]:
    if dash == 0:
        return [(start, end)]
    # An odd number of equal pieces, so that every corner is drawn.
    pieces = max(1, round((end - start) / dash)) | 1
    edges = [start + (end - start) * i // pieces for i in range(pieces + 1)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _texts(face: Face) -> list[str]:
    """What to write, the fullest first; the shorter ones are for where there is no room."""
    name = f"{face.emotion}?" if face.uncertain else face.emotion
    # Hershey fonts hold ASCII alone; putText would draw two marks for each byte pair.
    name = name.encode("ascii", "replace").decode()
    texts = [f"{name} {face.confidence:.0%}", name]
    if face.track is not None:
        texts.insert(0, f"#{face.track} {texts[0]}")
        texts.append(f"#{face.track}")
    return texts


def _draw_label(
    picture: NDArray[np.uint8],
    face: Face,
    rect: Rect,
    style: _Style,
    plates: list[Rect],
    others: list[Rect],
) -> None:
    import cv2

    height, width = picture.shape[:2]
    left, top, right, bottom = rect
    capital = min(style.capital, max((right - left) / 7, 0.6 * style.capital, _SMALLEST_CAPITAL))
    scale = capital / _CAPITAL
    stroke = max(1, round(capital / 9))
    pad = max(2, round(capital / 3))
    font = cv2.FONT_HERSHEY_SIMPLEX
    # Letters such as g and p reach below the line by about a third of a capital.
    high = math.ceil(capital * 1.35) + 2 * pad

    def cost(plate: Rect) -> tuple[int, float]:
        covered_plates = sum(_overlap(plate, other) for other in plates)
        covered_faces = sum(_overlap(plate, other) for other in others)
        return covered_plates, covered_faces + 0.5 * _overlap(plate, rect)

    chosen: tuple[str, Rect] | None = None
    for text in _texts(face):
        wide = cv2.getTextSize(text, font, scale, stroke)[0][0] + 2 * pad
        if wide > width or high > height:
            continue
        places = [
            _inside(x, y, wide, high, width, height)
            for y in (top - high, bottom, top)  # above, below, inside
            for x in (left, right - wide)
        ]
        plate = min(places, key=cost)
        if chosen is None or cost(plate)[0] < cost(chosen[1])[0]:
            chosen = text, plate
        if cost(plate)[0] == 0:
            break
    if chosen is None:
        return
    text, plate = chosen
    plates.append(plate)
    color = color_of(face)
    picture[plate[1] : plate[3], plate[0] : plate[2]] = color
    origin = (plate[0] + pad, plate[1] + pad + round(capital))
    cv2.putText(picture, text, origin, font, scale, _contrast(color), stroke, cv2.LINE_AA)


def _inside(x: int, y: int, wide: int, high: int, width: int, height: int) -> Rect:
    x, y = min(max(x, 0), width - wide), min(max(y, 0), height - high)
    return x, y, x + wide, y + high

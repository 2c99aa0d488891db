"""Drawing: where boxes and plates go, at every size of picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sink_records import LABELS, make_face

from ferlite.sinks.annotate import PALETTE, UNCERTAIN, annotate, color_of
from ferlite.types import Face

SIZES = [(240, 426), (1080, 1920), (2160, 3840), (1920, 1080)]


def gray(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def share(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> float:
    return float((picture == np.array(color, np.uint8)).all(axis=2).mean())


def changed(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((picture != 128).any(axis=2))


def test_the_colours_are_those_of_okabe_and_ito() -> None:
    published = ["56B4E9", "F0E442", "E69F00", "0072B2", "D55E00", "009E73", "CC79A7", "000000"]
    assert ["{2:02X}{1:02X}{0:02X}".format(*color) for color in PALETTE] == published


def test_each_emotion_has_its_own_colour_and_uncertain_ones_are_grey() -> None:
    colors = {color_of(make_face(emotion=label)) for label in LABELS}
    assert len(colors) == len(LABELS)
    assert {color_of(make_face(emotion=label, uncertain=True)) for label in LABELS} == {UNCERTAIN}


def test_the_callers_frame_is_not_touched() -> None:
    image = gray(240, 426)
    drawn = annotate(image, [make_face()])
    assert (image == 128).all()
    assert not np.shares_memory(drawn, image)
    assert changed(drawn).any()
    assert not np.shares_memory(annotate(image, []), image)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_lines_and_letters_follow_the_picture(height: int, width: int) -> None:
    short = min(height, width)
    box = (width * 0.4, height * 0.5, short * 0.3, short * 0.3)
    picture = annotate(gray(height, width), [make_face(box)])
    middle = changed(picture)[round(box[1] + box[3] / 2)]
    line = int(middle[: width // 2].sum())
    assert short / 360 <= line <= max(4, short / 120)
    # The plate is the filled part above the box; its letters are black on yellow.
    plate = changed(picture)[: round(box[1]) - 1].any(axis=1).sum()
    assert max(12, short / 50) <= plate <= max(24, short / 20)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("corner", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_plate_at_the_edge_is_whole(height: int, width: int, corner: tuple[float, float]) -> None:
    """A face half or three quarters outside still has its whole label inside."""
    size = min(height, width) * 0.15
    x, y = corner[0] * width - size / 2, corner[1] * height - size / 2
    picture = annotate(gray(height, width), [make_face((x, y, size, size))])
    yellow = (picture == PALETTE[1]).all(axis=2)
    # Above and below the letters a plate is one colour from end to end, wider than what is inside
    # of the box.
    rows = np.flatnonzero(yellow.sum(axis=1) > size * 0.75)
    top, bottom = rows[0], rows[-1] + 1
    columns = np.flatnonzero(yellow[top])
    left, right = columns[0], columns[-1] + 1
    assert yellow[top, left:right].all() and yellow[bottom - 1, left:right].all()
    assert yellow[top:bottom, left].all() and yellow[top:bottom, right - 1].all()
    assert bottom - top >= max(12, min(height, width) / 50)
    # The letters are in it: black on yellow.
    assert 0.05 < (picture[top:bottom, left:right] < 100).all(axis=2).mean() < 0.5


def test_uncertain_is_dashed_and_marked() -> None:
    box = (100.0, 150.0, 150.0, 150.0)
    sure = annotate(gray(480, 640), [make_face(box)])
    unsure = annotate(gray(480, 640), [make_face(box, uncertain=True)])
    side = slice(160, 290)
    column = 101  # after the rim

    def colours(picture: NDArray[np.uint8]) -> int:
        line = picture[side, column].astype(int)
        return int((np.abs(np.diff(line, axis=0)).max(axis=1) > 0).sum())

    assert colours(sure) == 0  # one colour from top to bottom
    assert colours(unsure) >= 6  # on, off, on, ...
    assert share(unsure, UNCERTAIN) > 0.001
    assert share(sure, UNCERTAIN) == 0


def test_plates_of_neighbours_do_not_cover_each_other() -> None:
    """Six faces in a row, closer than their labels are wide: each colour keeps a readable plate."""
    emotions = [label for label in LABELS if label != "contempt"][:6]
    faces = [
        make_face((60 + 90 * i, 200, 70, 80), emotion, 0.8, track=i + 1)
        for i, emotion in enumerate(emotions)
    ]
    together = annotate(gray(480, 720), faces)
    for i, face in enumerate(faces):
        color = PALETTE[LABELS.index(face.emotion)]
        alone = annotate(gray(480, 720), [face])
        assert share(together, color) > 0.35 * share(alone, color), f"plate {i} is hidden"


def test_a_crowd_gets_smaller_letters() -> None:
    large = annotate(gray(1080, 1920), [make_face((500, 500, 300, 300))])
    small = annotate(gray(1080, 1920), [make_face((500, 500, 30, 30))])
    assert share(small, PALETTE[1]) < 0.5 * share(large, PALETTE[1])


@pytest.mark.parametrize(
    "box",
    [
        (math.nan, 0, 10, 10),
        (0, 0, math.inf, 10),
        (500, 0, 50, 50),
        (0, -90, 50, 50),
        (10, 10, 0, 10),
        (10, 10, 10, -5),
    ],
)
def test_a_box_of_which_nothing_is_seen(box: tuple[float, float, float, float]) -> None:
    assert not changed(annotate(gray(240, 426), [make_face(box)])).any()


def test_a_box_beyond_all_bounds_is_cut() -> None:
    picture = annotate(gray(240, 426), [make_face((-1e12, -1e12, 1e13, 1e13))])
    assert changed(picture)[:, 0].all()
    assert changed(picture)[-1].all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (8, 8), (20, 40), (12, 400)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    picture = annotate(gray(*size), [make_face((0, 0, size[1], size[0]))])
    assert picture.shape == (*size, 3)
    assert changed(picture).any()


def test_labels_that_the_font_does_not_hold() -> None:
    face = make_face()
    strange = Face(
        face.box, 0.9, None, 3, "радость", 0.8, False, {"радость": 0.8, "x": 0.2}, {"радость": 1.0}
    )
    assert changed(annotate(gray(240, 426), [face, strange])).any()


@pytest.mark.parametrize("label", LABELS)
def test_letters_stand_out_from_their_plate(label: str) -> None:
    picture = annotate(gray(480, 640), [make_face((200, 200, 200, 200), label)])
    color = np.array(PALETTE[LABELS.index(label)])
    plate = picture[180:199, 204:330].reshape(-1, 3).astype(int)  # above the box
    assert np.abs(plate - color).sum(axis=1).max() > 300


def test_the_smaller_face_is_on_top() -> None:
    large, small = make_face((100, 100, 300, 300)), make_face((100, 150, 60, 60), "anger")
    for faces in ([large, small], [small, large]):
        picture = annotate(gray(480, 640), faces)
        assert tuple(picture[180, 101]) == PALETTE[LABELS.index("anger")]


def test_a_plate_leaves_the_face_above_free() -> None:
    faces = [make_face((200, 200, 100, 100)), make_face((200, 90, 100, 100), "anger")]
    picture = annotate(gray(480, 640), faces)
    happiness = PALETTE[LABELS.index("happiness")]
    assert not (picture[95:185, 205:295] == happiness).all(axis=2).any()

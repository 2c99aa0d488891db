"""FER+ training pictures as photographs with a box, for `ferlite train --task face --extra-data`.

A detector that learned from photographs alone misses faces that fill their picture, as FER+'s do.
Boxes and landmarks are drawn by SCRFD, whose boxes the photographs have too; where it sees nothing
though people agreed on an emotion, the picture gets the median box, as drawn by people, and no
landmarks.

    python benchmarks/label_portraits.py --data FER --teacher scrfd_2.5g_kps.onnx --out PORTRAITS
    ferlite train --task face --data FACES --extra-data PORTRAITS --out RUN
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from face_detection import Floats, scrfd
from numpy.typing import NDArray

from ferlite import session
from ferlite.training.data import load

ENLARGE = 4
SHEET, ACROSS = 640, 3  # pixels of the teacher's input; pictures side by side in it
LEAST_SCORE = 0.35  # as in the photographs' faces.json


def labelled(
    pictures: NDArray[np.uint8], teacher: session.Session
) -> Iterator[tuple[float, Floats, Floats] | None]:
    """Score, box x, y, w, h and landmarks of the surest face of each picture, in its pixels."""
    step = SHEET // ACROSS
    margin = (step - pictures.shape[1]) // 2
    for start in range(0, len(pictures), ACROSS**2):
        some = pictures[start : start + ACROSS**2]
        sheet = np.zeros((SHEET, SHEET, 3), np.uint8)
        corners = [(i % ACROSS * step + margin, i // ACROSS * step + margin) for i in range(9)]
        for picture, (x, y) in zip(some, corners, strict=False):
            sheet[y : y + len(picture), x : x + len(picture)] = picture[..., np.newaxis]
        boxes, scores, landmarks = scrfd(teacher, sheet)
        middles = boxes[:, :2] + boxes[:, 2:] / 2
        for _, corner in zip(some, corners, strict=False):
            inside = (np.abs(middles - corner - len(some[0]) / 2) < len(some[0]) / 2).all(axis=1)
            best = int(np.argmax(np.where(inside, scores, -1)))
            if not inside[best] or scores[best] < LEAST_SCORE:
                yield None
                continue
            box = boxes[best] - [*corner, 0, 0]
            yield float(scores[best]), box, landmarks[best] - corner


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="FER+ folder")
    parser.add_argument("--teacher", type=Path, required=True, help="SCRFD with landmarks, ONNX")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=3000, help="pictures; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data = load(options.data, "train", "majority").only_judged()
    chosen = np.random.default_rng(options.seed).permutation(len(data))[: options.n]
    pictures = np.stack(
        [
            cv2.resize(data.images[i], None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
            for i in np.sort(chosen)
        ]
    )
    teacher = session.create(options.teacher, provider="cpu")
    faces = list(labelled(pictures, teacher))
    usual = np.median([face[1] for face in faces if face], axis=0)
    (options.out / "images").mkdir(parents=True)
    entries = []
    for i, (picture, face) in enumerate(zip(pictures, faces, strict=True)):
        name = f"{i:05}.png"
        cv2.imwrite(str(options.out / "images" / name), picture)
        drawn = []
        if face is not None:
            score, box, landmarks = face
            drawn = [{"box": box.tolist(), "score": score, "landmarks": landmarks.tolist()}]
        side = len(picture)
        sizes = {"file": name, "width": side, "height": side, "split": "train"}
        entries.append(sizes | {"human": [usual.tolist()], "teacher": drawn})
    (options.out / "faces.json").write_text(json.dumps(entries))
    seen = sum(face is not None for face in faces)
    print(f"{len(entries)} pictures, {seen} with a face that the teacher sees; usual box {usual}")


if __name__ == "__main__":
    main()

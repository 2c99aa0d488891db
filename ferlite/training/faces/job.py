"""Fit the face detector: its batches, its loss and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from ferlite import crops
from ferlite.errors import DataError, UsageError
from ferlite.training.faces.augment import augmented
from ferlite.training.faces.data import FaceData
from ferlite.training.faces.loss import FaceLoss
from ferlite.training.faces.metrics import average_precision
from ferlite.training.faces.network import STRIDES, ferlite_face, flattened
from ferlite.training.faces.photographs import SURE
from ferlite.training.faces.targets import COLUMNS
from ferlite.training.fit import Reporter, fit
from ferlite.training.history import Row
from ferlite.training.recipes import FaceOptions
from ferlite.training.records import digest

_LEAST_SCORE, _NMS_IOU = 0.02, 0.45
_JUDGED_SIDE = 640  # pixels; larger photographs are shrunk to it
_JUDGED_AT_ONCE = 16


class FaceBatches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """Augmented batches of one epoch after another, drawn from (seed, epoch, picture)."""

    def __init__(self, data: FaceData, options: FaceOptions, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._data, self._options, self._epoch = data, options, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        rng = np.random.default_rng((self._options.seed, self._epoch))
        self._order = rng.permutation(len(self._data))

    def __len__(self) -> int:
        return max(1, len(self._data) // self._options.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        options = self._options
        rows = self._order[index * options.batch : (index + 1) * options.batch]
        views = np.empty((len(rows), options.size, options.size, 3), np.uint8)
        truth = np.empty((len(rows), options.most_faces, COLUMNS), np.float32)
        for i, row in enumerate(rows):
            rng = np.random.default_rng((options.seed, self._epoch, int(row)))
            views[i], truth[i] = augmented(
                self._data, int(row), options.size, options.most_faces, options.augmentation, rng
            )
        return views, truth

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()


def found_by(
    model: keras.Model, images: tuple[NDArray[np.uint8], ...], least_score: float = _LEAST_SCORE
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Boxes [n, 4] and scores [n] that the network finds on each picture, in its pixels.

    images: uint8 [h, w, 3] BGR. Not enlarged; suppression as at run time.
    """
    side = max(max(image.shape[:2]) for image in images)
    side = -(-min(side, _JUDGED_SIDE) // 32) * 32
    found = []
    for start in range(0, len(images), _JUDGED_AT_ONCE):
        some = images[start : start + _JUDGED_AT_ONCE]
        boxed = [crops.letterbox(image, (side, side), padding=0, enlarge=False) for image in some]
        maps = model.predict_on_batch(np.stack([canvas for canvas, _, _ in boxed]))
        maps = [np.asarray(level, np.float32).transpose(0, 3, 1, 2) for level in maps]
        for i, (_, scale, offset) in enumerate(boxed):
            boxes, scores, _ = crops.decode_boxes(
                [level[i] for level in maps],
                STRIDES,
                threshold=least_score,
                scale=scale,
                offset=offset,
            )
            kept = crops.nms(boxes, scores, iou=_NMS_IOU)
            found.append((boxes[kept], scores[kept]))
    return found


def _sure(data: FaceData) -> list[NDArray[np.float32]]:
    """The boxes that must be found, of each photograph."""
    return [faces.boxes[faces.teacher >= SURE] for faces in data.faces]


class FaceJob:
    """See `ferlite.training.fit.Job`."""

    criterion = "valid_ap"

    def __init__(self, train_data: FaceData, valid_data: FaceData, options: FaceOptions) -> None:
        if not any(len(faces.boxes) for faces in train_data.faces):
            raise DataError("no face in the training photographs; nothing can be learned")
        if not any(len(boxes) for boxes in _sure(valid_data)):
            raise DataError(
                f"no face of score {SURE} or more in the validation photographs to judge by"
            )
        self._train, self._valid, self._options = train_data, valid_data, options
        self.loss = FaceLoss(options.size)
        self.metrics: list[keras.metrics.Metric] = []

    def build(self, start: bool) -> keras.Model:
        return ferlite_face(self._options.size if start else None)

    def trained(self, model: keras.Model) -> keras.Model:
        return flattened(model)

    def batches(self, epoch: int) -> FaceBatches:
        return FaceBatches(self._train, self._options, epoch)

    def judge(self, model: keras.Model, epoch: int, last: bool) -> Row:
        if not last and (epoch + 1) % self._options.judge_every:
            return {"valid_ap": float("nan")}
        found = found_by(model, self._valid.images)
        return {"valid_ap": average_precision(found, _sure(self._valid)).average}

    def facts(self) -> dict[str, Any]:
        return {
            "train": self._train.summary(),
            "valid": self._valid.summary(),
            "data": digest(self._train.digest(), self._valid.digest()),
        }


def train_faces(
    train_data: FaceData,
    valid_data: FaceData,
    options: FaceOptions,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    reporter: Reporter | None = None,
) -> float:
    """Fit the detector; returns the best average precision (IoU 0.5) of the weights it writes.

    resume, init: see `ferlite.training.fit.fit`. DataError where the photographs have no faces.
    """
    if options.arch != "ferlite-face":
        raise UsageError(f"no face network {options.arch!r}; there is ferlite-face")
    job = FaceJob(train_data, valid_data, options)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the augmentation shares the cores with the network
    try:
        return fit(job, options, out, resume=resume, init=init, reporter=reporter)
    finally:
        cv2.setNumThreads(threads)

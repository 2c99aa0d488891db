"""From a picture with a face in it to the emotion: what detecting and cropping cost in accuracy.

FER+ validation faces, enlarged 4x, lie at random places in 384x384 parts of photographs that no
network was trained on (`pasted_faces.py`). Each detector searches them at its own threshold and
size, the box is cropped as the emotion bundle says, the emotion network answers. A face counts as
found when a box's centre lies in the middle half of its picture, across and down, and the box's
longer side is a third to one and a half of the picture's; one that is missed counts as wrong.

    python benchmarks/end_to_end.py --data FER --photographs FACES --detector haar yunet.onnx \
        ferlite-face [--geometry bundle fit] [--n 400]

`--geometry fit` measures the geometry anew, on training faces, as `crop_geometry.py` does. The row
"true place" crops the known frame: what it loses is lost to enlarging alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np
from crop_geometry import FACES, fit
from numpy.typing import NDArray
from pasted_faces import (
    Scenes,
    add_options,
    framed,
    open_classifier,
    opened,
    originals,
    scenes_of,
    search,
)

from ferlite.bundles import CropGeometry
from ferlite.emotion import EmotionClassifier
from ferlite.faces import Detector

TRUE_PLACE = "true place"
CONTROL = 0.02  # more than this lost at the true place: scenes or crops are wrong
FOUND, LOST = 0.99, 0.015  # the aim: least share found, most accuracy lost


def right_answers(
    detector: Detector,
    scenes: Scenes,
    classes: NDArray[np.int64],
    classifier: EmotionClassifier,
    geometries: Mapping[str, CropGeometry],
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]]]:
    """Whether each face was found, bool [n], and by geometry whether its emotion was right.

    A face that was not found is not right, but at `TRUE_PLACE`, where no detector is asked.
    """
    networks = {name: framed(classifier, geometry) for name, geometry in geometries.items()}
    whole = framed(classifier, CropGeometry())
    crops: dict[str, list[NDArray[np.float32]]] = {name: [] for name in (*networks, TRUE_PLACE)}
    found = np.zeros(len(scenes), np.bool_)
    for i, (scene, face) in enumerate(search(detector, scenes)):
        crops[TRUE_PLACE].append(whole.crop(scene.image, scene.square[np.newaxis]))
        if face is None:
            continue
        found[i] = True
        for name, network in networks.items():
            crops[name].append(network.crop(scene.image, face.boxes, landmarks=face.landmarks))
    right = {}
    for name, batch in crops.items():
        asked = np.ones_like(found) if name == TRUE_PLACE else found
        right[name] = np.zeros_like(found)
        if batch:
            answers = classifier.run(np.concatenate(batch)).argmax(axis=1)
            right[name][asked] = answers == classes[asked]
    return found, right


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_options(parser, None)
    parser.add_argument("--geometry", nargs="+", choices=("bundle", "fit"), default=["bundle"])
    parser.add_argument(
        "--training-faces", type=int, default=FACES, help="for --geometry fit; %(default)s"
    )
    options = parser.parse_args()
    data, scenes = scenes_of(options, "valid")
    classifier = open_classifier(options)
    classes = data.classes
    original = originals(classifier, data.images).argmax(axis=1) == classes
    n = len(data)
    print(
        f"FER+ {data.split}, protocol {data.protocol}, n = {n}; {classifier.bundle.name}"
        f" {classifier.precision}: {original.mean():.2%} on the original crops"
    )
    fitting = None
    if "fit" in options.geometry:
        chosen = argparse.Namespace(**vars(options) | {"n": options.training_faces})
        fitting = scenes_of(chosen, "train")
    rows = []
    for name in options.detector:
        detector = opened(name)
        geometries = {"bundle": classifier.bundle.geometry(detector.name)}
        if fitting is not None:
            geometries["fit"] = fit(detector, *fitting, classifier).chosen
        geometries = {kind: geometries[kind] for kind in options.geometry}
        start = time.perf_counter()
        found, right = right_answers(detector, scenes, classes, classifier, geometries)
        seconds = time.perf_counter() - start
        control = original.mean() - right[TRUE_PLACE].mean()
        assert abs(control) < CONTROL, f"{control:.2%} is lost where nothing was detected"
        for kind, answers in right.items():
            shape = geometries.get(kind)
            rows.append(
                (
                    detector.name,
                    kind,
                    f"{shape.scale:.3f} {shape.dx:+.3f} {shape.dy:+.3f}" if shape else "",
                    ("level" if shape.rotate else "as they are") if shape else "",
                    f"{found.mean():.2%}" if shape else "",
                    f"{answers.mean():.2%}",
                    f"{100 * (original.mean() - answers.mean()):+.2f}",
                    f"{answers[found].mean():.2%}" if shape else "",
                    f"{original[found].mean():.2%}" if shape else "",
                )
            )
            reached = found.mean() >= FOUND and original.mean() - answers.mean() <= LOST
            if shape:
                print(f"{detector.name} {kind}: the aim is {'' if reached else 'not '}reached")
        print(f"{detector.name}: {seconds:.0f} s", flush=True)
    head = (
        *("detector", "geometry", "scale dx dy", "eyes", "found", "accuracy"),
        *("points lost", "of those found", "their original crops"),
    )
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

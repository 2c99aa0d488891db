"""One way from a video file to emotions, in this process; `whole_video.py` starts it.

    python benchmarks/video_rivals.py ROAD CLIP FOLDER [--limit N] [--yunet FILE]
        [--bundle FOLDER --network FILE.onnx]

Imports of others only what the road needs, so that it runs in an environment without ferlite.
Networks are loaded and the first frames analysed before the clock starts; then the clip is opened
anew, read from its start to its end, and a JSON record of every frame written to
FOLDER/records.jsonl. FOLDER/facts.json says how long that took, or why it could not be done.

Roads: decode (no faces: OpenCV reads the frames), ferlite (ferlite@960: searched at 960 pixels),
haar-loop (haar-loop@1.3: at the scales of other tutorials, 1.3 apart, five neighbours) and
yunet-loop (what tutorials show, with ferlite's emotion network, one run a face), fer and fer-mtcnn,
deepface, hsemotion-onnx (behind YuNet: it has no detector).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

WARM_FRAMES = 3
YUNET_WIDTH = 640  # pixels; 1080p is searched at 640x360
# Least score of a face: with OpenCV's default of 0.9 it misses most faces of a crowd.
YUNET_THRESHOLD = 0.6

Record = dict[str, Any]  # of a face: "box" (x, y, width, height in pixels), "emotion"
Road = Callable[[str], Iterator[list[Record]]]


def pictures(clip: str) -> Iterator[Any]:
    """The frames of a video as OpenCV gives them: uint8 [h, w, 3] BGR."""
    import cv2

    video = cv2.VideoCapture(clip)
    while True:
        good, image = video.read()
        if not good:
            break
        yield image
    video.release()


def record(box: Any, emotion: str) -> Record:
    return {"box": [float(value) for value in box], "emotion": emotion}


def decode(options: argparse.Namespace) -> Road:
    return lambda clip: ([] for _ in pictures(clip))


def ferlite(options: argparse.Namespace) -> Road:
    from ferlite import Analyzer

    _, _, size = options.road.partition("@")
    analyzer = Analyzer(detect_size=int(size) if size else None)
    options.about = analyzer.description()
    return lambda clip: (result.to_dict()["faces"] for result in analyzer.stream(clip))


class Network:
    """ferlite's emotion network as a tutorial uses one: a session of its own, one run a face."""

    def __init__(self, options: argparse.Namespace) -> None:
        import onnxruntime

        bundle = json.loads(Path(options.bundle, "bundle.json").read_text())
        self._spec, self._labels = bundle["input"], bundle["labels"]
        if (self._spec["color"], self._spec["layout"]) != ("gray", "NHWC"):
            raise ValueError(f"the loops feed gray NHWC crops, the network wants {self._spec}")
        self._session = onnxruntime.InferenceSession(
            options.network, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        options.about = {"network": Path(options.network).name}

    def emotion(self, face: Any) -> str:
        """face: uint8 [h, w] gray, of any size."""
        import cv2
        import numpy as np

        spec = self._spec
        small = cv2.resize(face, (spec["width"], spec["height"]))
        pixels = (small * np.float32(spec["scale"]) + np.float32(spec["offset"])).astype(
            spec["dtype"]
        )
        scores = self._session.run(None, {self._input: pixels[None, :, :, None]})[0][0]
        return str(self._labels[int(np.argmax(scores))])


def haar_loop(options: argparse.Namespace) -> Road:
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    network = Network(options)
    _, _, factor = options.road.partition("@")
    arguments = (float(factor), 5) if factor else ()  # of OpenCV's own tutorial: none

    def road(clip: str) -> Iterator[list[Record]]:
        for image in pictures(clip):
            gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            yield [
                record((x, y, w, h), network.emotion(gray[y : y + h, x : x + w]))
                for x, y, w, h in cascade.detectMultiScale(gray, *arguments)
            ]

    return road


def yunet(options: argparse.Namespace) -> Callable[[Any], list[tuple[int, int, int, int]]]:
    """Boxes of a frame inside it, whole pixels; the frame is searched at YUNET_WIDTH."""
    import cv2

    if options.yunet is None:
        raise ValueError("give --yunet face_detection_yunet_2023mar.onnx")
    detector = cv2.FaceDetectorYN.create(
        options.yunet, "", (YUNET_WIDTH, YUNET_WIDTH), YUNET_THRESHOLD
    )

    def boxes(image: Any) -> list[tuple[int, int, int, int]]:
        height, width = image.shape[:2]
        back = width / YUNET_WIDTH
        small = cv2.resize(image, (YUNET_WIDTH, round(height / back)))
        detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = detector.detect(small)
        found = []
        for x, y, w, h in [] if rows is None else (rows[:, :4] * back).astype(int).tolist():
            left, top = max(x, 0), max(y, 0)
            right, bottom = min(x + w, width), min(y + h, height)
            if right > left and bottom > top:
                found.append((left, top, right - left, bottom - top))
        return found

    return boxes


def yunet_loop(options: argparse.Namespace) -> Road:
    import cv2

    boxes, network = yunet(options), Network(options)

    def faces(image: Any) -> Iterator[Record]:
        for x, y, w, h in boxes(image):
            gray = cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_BGR2GRAY)
            yield record((x, y, w, h), network.emotion(gray))

    return lambda clip: (list(faces(image)) for image in pictures(clip))


def fer(options: argparse.Namespace) -> Road:
    detector = import_module("fer.fer").FER(mtcnn=options.road == "fer-mtcnn")

    def faces(image: Any) -> Iterator[Record]:
        for face in detector.detect_emotions(image):
            yield record(face["box"], max(face["emotions"], key=face["emotions"].get))

    return lambda clip: (list(faces(image)) for image in pictures(clip))


def deepface(options: argparse.Namespace) -> Road:
    analyze = import_module("deepface.DeepFace").analyze

    def faces(image: Any) -> Iterator[Record]:
        # Without a face it analyses the whole picture, and says so by its confidence.
        for face in analyze(image, actions=("emotion",), enforce_detection=False, silent=True):
            if face["face_confidence"] > 0:
                box = (face["region"][side] for side in "xywh")
                yield record(box, face["dominant_emotion"])

    return lambda clip: (list(faces(image)) for image in pictures(clip))


def hsemotion(options: argparse.Namespace) -> Road:
    import urllib.request  # noqa: F401  the package uses it and forgets to import it

    import cv2

    module = import_module("hsemotion_onnx.facial_emotions")
    boxes, recognizer = yunet(options), module.HSEmotionRecognizer()

    def faces(image: Any) -> Iterator[Record]:
        for x, y, w, h in boxes(image):
            rgb = cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_BGR2RGB)
            yield record((x, y, w, h), recognizer.predict_emotions(rgb)[0])

    return lambda clip: (list(faces(image)) for image in pictures(clip))


ROADS: dict[str, Callable[[argparse.Namespace], Road]] = {
    "decode": decode,
    "ferlite": ferlite,
    "haar-loop": haar_loop,
    "yunet-loop": yunet_loop,
    "fer": fer,
    "fer-mtcnn": fer,
    "deepface": deepface,
    "hsemotion-onnx": hsemotion,
}
PACKAGES = (
    *("fer", "deepface", "hsemotion-onnx", "facenet-pytorch", "torch", "tensorflow-cpu"),
    *("tensorflow", "onnxruntime", "opencv-contrib-python", "opencv-python"),
    *("opencv-python-headless", "numpy", "av"),
)


def versions() -> dict[str, str]:
    found = {
        one.metadata["Name"].lower().replace("_", "-"): one.version
        for one in metadata.distributions()
    }
    return {name: found[name] for name in PACKAGES if name in found}


def resident_mb(field: str) -> float:
    """VmRSS or VmHWM (its highest value) of this process, 10^6 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/self/status has no {field}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    try:
        road = ROADS[options.road.partition("@")[0]](options)
        for _ in itertools.islice(road(options.clip), WARM_FRAMES):
            pass
    except Exception as error:  # whatever a package raises is the answer that is wanted
        # For a cell of a table.
        reason = " ".join(str(error).encode("ascii", "ignore").decode().split())[:200]
        reason = reason.replace("|", "/")
        return {"unavailable": f"{type(error).__name__}: {reason}"}
    frames = 0
    with Path(options.folder, "records.jsonl").open("w") as out:
        start, cpu = time.perf_counter(), time.process_time()
        for faces in itertools.islice(road(options.clip), options.limit):
            out.write(json.dumps({"frame": frames, "faces": faces}) + "\n")
            frames += 1
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"frames": frames, "seconds": wall, "cpu_s": cpu, "peak_mb": resident_mb("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("road")
    parser.add_argument("clip")
    parser.add_argument("folder")
    parser.add_argument("--limit", type=int, help="only so many frames")
    parser.add_argument("--yunet", help="face_detection_yunet_2023mar.onnx")
    parser.add_argument("--bundle", help="folder of ferlite's emotion model")
    parser.add_argument("--network", help="the network of it that the loops run")
    options = parser.parse_args()
    options.about = {}
    if options.road.partition("@")[0] not in ROADS:
        parser.error(f"no road {options.road!r}; choose from {', '.join(ROADS)}")
    facts = measure(options)
    facts |= {"about": options.about, "versions": versions()}
    Path(options.folder, "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()

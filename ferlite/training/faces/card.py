"""The face detector's part of the model card. Every figure comes from the facts."""

from __future__ import annotations

from typing import Any

WEAK = 0.8  # average precision below which a kind of face is called a weakness

_USES = """## Intended use

Finding where faces are in photographs and video, and their eyes, nose and corners of the mouth, for
what comes next: reading shown expressions with consent, blurring faces, framing, counting people.
It says where a face is. It does not say whose, and holds nothing to recognise a person by.

## Uses to stay away from

- Finding people who do not know that they are watched; tracking a person from place to place. In
  many places a picture of a face is personal data, and processing it needs a legal basis.
- The first step of identification in public places, of emotion recognition at work or in education
  (EU AI Act, Regulation (EU) 2024/1689, Article 5), or of any decision about a person.
- Safety functions: that no face was found does not mean that nobody is there.
- Weapons, policing and border control.
"""

_BIASES = """## Known biases

- The photographs come from the press and the web: public events, groups, people with masks, some
  video. Age, gender and skin colour are neither recorded nor balanced, so no figure for any group
  can be given, and differences between groups must be expected.
- Truth and landmarks are another network's answers. Its mistakes are taught, and are not counted
  as mistakes in the figures above; "boxes drawn by people" is the figure that it had no part in.
- Few of the training faces are upside down, under water, painted or drawn, seen from above, in
  infrared, or largely covered; expect misses there.
"""

_ROWS = (
    ("ap50", "AP 0.5, all faces"),
    ("ap50_20px", "AP 0.5, from 20 pixels"),
    ("ap50_40px", "AP 0.5, from 40 pixels"),
    ("ap50_20px_ignoring", "AP 0.5, from 20 pixels, smaller ignored"),
    ("ap50_40px_ignoring", "AP 0.5, from 40 pixels, smaller ignored"),
    ("ap50_95", "AP 0.5:0.95"),
    ("human_ap50", "AP 0.5, boxes drawn by people"),
    ("known_ap50", "AP 0.5, scores from {known_floor}"),
    ("known_ap50_20px", "the same, from 20 pixels"),
    ("known_ap50_40px", "the same, from 40 pixels"),
    ("known_human_ap50", "the same, boxes drawn by people"),
    ("precision", "precision at the threshold"),
    ("recall", "recall at the threshold"),
    ("face_free_split_false_per_picture", "false a face-free picture of the split"),
    ("face_free_false_per_picture", "false a face-free picture of all splits"),
    ("landmark_error", "landmark error / distance of the eyes, faces from 40 pixels"),
    ("landmark_error_median", "its median"),
)


def summary(facts: dict[str, Any]) -> str:
    """What the network does, in a paragraph."""
    return (
        f"Finds faces and their {facts['landmarks']} landmarks in BGR pictures of any size. "
        f"{facts['parameters']:,} parameters; strides {', '.join(map(str, facts['strides']))}; "
        f"searches the picture at up to {facts['size']} pixels of its longest side, for faces from "
        f"about {facts['smallest']} pixels there. Licence of the weights: {facts['license']}."
    )


def results(facts: dict[str, Any]) -> list[str]:
    """Lines of Markdown: tables, threshold, calibration, weaknesses."""
    metrics = facts["metrics"]
    if not metrics:
        return []
    networks = [("fp32", metrics)] + ([("INT8", metrics["int8"])] if "int8" in metrics else [])
    lines = [
        "## Results",
        "",
        f"{metrics['protocol']}; {metrics['split']} split, {metrics['photographs']} photographs, "
        f"n = {metrics['n']} faces.",
        "",
        f"| | {' | '.join(name for name, _ in networks)} |",
        f"|---|{'---|' * len(networks)}",
    ]
    for name, title in _ROWS:
        if name in metrics:
            cells = [f"{one[name]:.3f}" if name in one else "-" for _, one in networks]
            lines.append(f"| {title.format(**metrics)} | {' | '.join(cells)} |")
    return [*lines, "", *_threshold(facts), "", "## Weaknesses", "", *_weaknesses(metrics)]


def _threshold(facts: dict[str, Any]) -> list[str]:
    fitted = facts["metrics"]["calibration"]
    slopes = ", ".join(
        f"{name} {one['slope']:g} x {one['bias']:+g}" for name, one in fitted["scaling"].items()
    )
    return [
        "A score is the probability that the detection is right: the logits of each stride were "
        f"scaled (Platt 1999) on the training split, {fitted['pictures']} views of photographs at "
        f"native and half size ({slopes}). Expected calibration error on this split: "
        f"{fitted['error_before']:.3f} before, {fitted['error_after']:.3f} after "
        f"(n = {fitted['n']} detections).",
        "",
        f"Threshold {facts['threshold']:g}: the least score from which on, in the training split, "
        "9 of 10 detections are right and there is at most one in 100 of the "
        f"{fitted['face_free_pictures']} views without a face.",
    ]


def _weaknesses(metrics: dict[str, Any]) -> list[str]:
    lines = []
    weak = [
        f"{title} ({metrics[name]:.2f})"
        for name, title in _ROWS
        if name.startswith(("ap50", "human")) and name in metrics and metrics[name] < WEAK
    ]
    if weak:
        lines.append(f"- Under {WEAK:g}: {'; '.join(weak)}.")
    if "recall" in metrics:
        lines.append(
            f"- At the threshold, {1 - metrics['recall']:.0%} of the faces are not found, mostly "
            "small, blurred, covered or in profile."
        )
    pictures = metrics.get("face_free_split_pictures", 0)
    if pictures < 100:
        lines.append(
            f"- Only {pictures:.0f} photographs of the split have no face: the rate of false "
            "positives is rough."
        )
    return lines


def uses() -> str:
    """Intended use, uses to stay away from, known biases."""
    return f"{_USES}\n{_BIASES}"

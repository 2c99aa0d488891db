"""The model card: what a bundle's facts mean to a person. Every figure comes from the facts."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from ferlite.training.recipes import AUGMENTATIONS, RECIPES, FaceOptions, TrainOptions

WEAK_RECALL = 0.6
FEW = 100
# Options of `ferlite train` by their names in train.json: those that a card states in any case, and
# those it states where they are not what the network's recipe says.
_STATED = {
    "epochs": "--epochs",
    "batch": "--batch",
    "size": "--size",
    "seed": "--seed",
    "learning_rate": "--learning-rate",
    "weight_decay": "--weight-decay",
    "precision": "--precision",
}
_STATED_IF_CHANGED = {
    "optimizer": "--optimizer",
    "schedule": "--schedule",
    "ema_decay": "--ema",
    "patience_epochs": "--patience",
    "targets": "--targets",
    "balance": "--balance",
    "teacher_scale": "--teacher-scale",
    "teacher_offset": "--teacher-offset",
}
# Options of `ferlite quantize` by their names in what a bundle says of its INT8 network.
_OF_INT8 = {
    "calibration_images": "--images",
    "calibration_seed": "--seed",
    "max_drop": "--max-drop",
}

_USES = """## Intended use

Reading the facial expression that people *show* in video and photographs, with their knowledge:
research on expressions, media art, accessibility, user studies with consent, describing film.
The answer is what annotators would call the picture of a face. It is not what a person feels:
people smile when sad and frown when concentrating.

## Uses to stay away from

- Inferring emotions of people at work or in education: forbidden in the EU by the AI Act
  (Regulation (EU) 2024/1689, Article 5(1)(f), with exceptions for medical and safety reasons), and
  restricted elsewhere.
- Hiring, policing, border control, credit, insurance, lie detection, or any other decision about
  a person.
- Diagnosis of any condition.
- Safety functions such as driver monitoring have rules of their own (in the EU, type approval under
  Regulation (EU) 2019/2144), which this model was not built or tested for.
- Watching people who do not know it. In many places a face is personal data, and drawing an
  emotion from it needs a legal basis of its own.
"""

_BIASES = """## Known biases

- FER2013's pictures were collected by web search for emotion words: posed and exaggerated
  expressions of actors and public figures weigh more than everyday faces.
- Age, gender, skin colour and culture are neither recorded nor balanced; studies of this kind of
  data found lighter-skinned, younger adult and Western faces over-represented. No figure for any
  group can be given from this data, so differences between groups must be expected.
- The annotators' culture is in the labels: what counts as contempt or neutral varies.
- Pictures are 48x48 grey. Profiles, masks, hands before the face, strong shadows and beards lower
  the quality of answers more than the figures here show.
"""

_OWN_BIASES = """## Known biases

None was measured: whoever collected the pictures knows whom they show and how, and who named the
expressions. Differences between groups of people must be expected.
"""


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _row(name: str, figures: dict[str, Any]) -> str:
    return (
        f"| {name} | {_percent(figures['accuracy'])} | {figures['macro_f1']:.4f} | "
        f"{figures['calibration_error']:.4f} |"
    )


def _results(metrics: dict[str, Any]) -> list[str]:
    lines = [
        "## Results",
        "",
        f"Protocol `{metrics['protocol']}`, {metrics['split']} split, n = {metrics['n']}; "
        "one crop, no test-time tricks. The temperature was fitted on the same split.",
        "",
        "| network | accuracy | macro-F1 | expected calibration error |",
        "|---|---|---|---|",
        _row("fp32", metrics),
    ]
    if "int8" in metrics:
        lines.append(_row("INT8", metrics["int8"]))
    confidence = metrics["uncertain"]
    lines += [
        "",
        f"{_percent(confidence['share'])} of the answers are marked uncertain (confidence under "
        f"{confidence['below']}); of those {_percent(confidence['accuracy'])} are right, of the "
        f"others {_percent(confidence['accuracy_else'])}.",
        "",
        "| class | n | precision | recall | F1 |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {label} | {row['n']} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} |"
        for label, row in metrics["per_class"].items()
    ]
    weak = [
        f"{label} (recall {row['recall']:.2f}, n = {row['n']})"
        for label, row in sorted(metrics["per_class"].items(), key=lambda item: item[1]["recall"])
        if row["n"] and row["recall"] < WEAK_RECALL
    ]
    few = [label for label, row in metrics["per_class"].items() if row["n"] < FEW]
    lines += ["", "## Weaknesses", ""]
    lines.append(
        f"Finds fewer than {WEAK_RECALL:.0%} of: {', '.join(weak)}."
        if weak
        else f"Finds at least {WEAK_RECALL:.0%} of every class."
    )
    if few:
        lines.append(
            f"Fewer than {FEW} pictures of {', '.join(few)} were judged: their figures are rough."
        )
    return lines


def _training(training: dict[str, Any]) -> list[str]:
    options = training.get("options", {})
    teacher = options.get("teacher")
    shown = ["epochs", "batch", "seed", "optimizer", "learning_rate", "schedule", "weight_decay"]
    shown += ["balance"] if options.get("balance") else []
    lines = ["## Training", ""]
    lines += [f"- {name.replace('_', ' ')}: {options[name]}" for name in shown if name in options]
    if "targets" in options:
        known = "shares of votes" if options["targets"] == "votes" else "one label a picture"
        share = ""
        if teacher:
            seen = " of every view shown" if options.get("teacher_sees") == "view" else ""
            share = (
                f"{options.get('teacher_weight', 0):.0%} predictions of `{teacher}` "
                f"(knowledge distillation{seen}), the rest "
            )
        lines.append(f"- targets: {share}{known}")
    if "init" in training:
        lines.append(f"- began with the weights `{training['init']}`")
    for split in ("train", "valid"):
        if split in training:
            lines.append(f"- {training[split]}")
    for name, chosen in (("best_epoch", "the best on the validation split"), ("last_epoch", "")):
        if name in training:
            lines.append(
                f"- weights of epoch {training[name]} of {training['epochs_done']}"
                f"{', ' * bool(chosen)}{chosen}; {training['hours']:.2f} h"
            )
    return lines


def _summary(facts: dict[str, Any]) -> str:
    spec = facts["input"]
    return (
        f"Tells apart {len(facts['labels'])} facial expressions: {', '.join(facts['labels'])}. "
        f"{facts['parameters']:,} parameters; input {spec['width']}x{spec['height']} grey. "
        f"Licence of the weights: {facts['license']}."
    )


def model_card(facts: dict[str, Any]) -> str:
    """Markdown for README.md, from the content of bundle.json."""
    if facts["task"] == "face":
        from ferlite.training.faces import card as face

        summary, results, uses = face.summary(facts), face.results(facts), face.uses()
    else:
        summary, results = _summary(facts), _results(facts["metrics"])
        own = facts["metrics"]["protocol"] == "folders"
        uses = f"{_USES}\n{_OWN_BIASES if own else _BIASES}"
    files = [
        f"- `{name}`: {entry['bytes'] / 1e6:.2f} MB, sha256 `{entry['sha256']}`"
        for name, entry in facts["files"].items()
    ]
    if "weights" in facts:
        files.append(f"- `{facts['weights']['file']}`: Keras weights to train on from")
    lines = [
        f"# {facts['name']} {facts['version']}",
        "",
        summary,
        "",
        "Written by `ferlite export` and `ferlite quantize` from `bundle.json`; do not edit.",
        "",
        *files,
        "",
        *results,
        "",
        "## Data",
        "",
        *[f"- {line}" for line in facts["data"]],
        "",
        *_training(facts.get("training", {})),
        *_commands(facts),
        "",
        uses,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _of_views(views: dict[str, Any], usual: dict[str, Any]) -> str:
    """The flags that give a run such views where its recipe has the usual ones."""
    mixup = views.get("mixup_alpha")
    named = {f" --augmentation {name}": asdict(one) for name, one in AUGMENTATIONS.items()}
    for flag, has in {"": usual, **named}.items():
        if {**has, "mixup_alpha": mixup} == views:
            return flag if has["mixup_alpha"] == mixup else f"{flag} --mixup {mixup}"
    return ""


def _commands(facts: dict[str, Any]) -> list[str]:
    """The command lines that make such a bundle; settings that no option sets are the recipe's."""
    run = facts.get("training", {})
    options = run.get("options", {})
    if not options:
        return []
    face = facts["task"] == "face"
    arch = options.get("arch")
    recipe = FaceOptions() if face else RECIPES.get(arch, TrainOptions())
    settings = "" if face or arch in (None, TrainOptions.arch) else f" --arch {arch}"
    if not face:
        settings += f" --protocol {facts['metrics']['protocol']}"
        side = facts["input"]["width"]
        settings += f" --size {side}" if side != 48 else ""
    for name, flag in (_STATED | _STATED_IF_CHANGED).items():
        usual = getattr(recipe, name, None) if name in _STATED_IF_CHANGED else None
        if options.get(name, usual) != usual:
            settings += f" {flag} {options[name]}"
    if not face:
        settings += _of_views(options.get("augmentation", {}), asdict(recipe.augmentation))
    for folder in filter(None, options.get("extra_data", "").split(", ")):
        settings += f" --extra-data {folder}"
    for teacher in filter(None, options.get("teacher", "").split(", ")):
        settings += f" --teacher {_file(teacher)}"
    if options.get("teacher"):
        settings += f" --teacher-weight {options['teacher_weight']}"
        settings += f" --teacher-sees {options.get('teacher_sees', 'picture')}"
    if run.get("init"):
        settings += f" --init {_file(run['init'])}"
    if run.get("imagenet"):
        settings += f" --imagenet {_file(run['imagenet'])}"
    data = "FACES" if face else "FER"
    train = f"ferlite train --data {data} --out RUN{' --task face' if face else ''}{settings}"
    made = facts["metrics"].get("int8", {})
    int8 = "".join(f" {flag} {made[name]}" for name, flag in _OF_INT8.items() if name in made)
    return [
        "",
        "```",
        train,
        f"ferlite export RUN/best.keras --data {data} --out MODEL",
        f"ferlite quantize MODEL --data {data}{int8}",
        "```",
    ]


def _file(fingerprint: str) -> str:
    """The name in a file's name and digest, as a shell takes it."""
    return shlex.quote(fingerprint.rsplit(" ", 1)[0])

"""How each network is trained unless the user says otherwise. Needs no training package."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from ferlite.errors import UsageError
from ferlite.training.augment import Augmentation
from ferlite.training.faces.augment import FaceAugmentation


@dataclass(frozen=True)
class FitOptions:
    """Settings of any run; they are written to train.json and must be equal on resume.

    schedule: "cosine" warms up linearly, for a quarter of the run at most, then falls to 0 at the
        last epoch; "constant" stays.
    weight_decay: decoupled, times the learning rate, per step; not on biases and normalisation.
    ema_decay: per step; best.keras and last.keras hold averaged weights; 0 turns that off.
    patience_epochs: stop at the first judged epoch that is so many after the best one; 0: never.
    clip_norm: largest norm of all gradients together; 0: any.
    precision: mixed_bfloat16 is about twice as fast where the processor has it.
    """

    arch: str = "ferlite-s"
    epochs: int = 100
    batch: int = 128
    seed: int = 1
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 3.0
    momentum: float = 0.9
    weight_decay: float = 4e-3
    ema_decay: float = 0.999
    patience_epochs: int = 0
    clip_norm: float = 0.0
    precision: Literal["float32", "mixed_bfloat16"] = "float32"

    def __post_init__(self) -> None:
        settings = asdict(self)
        for name, value in {**settings, **settings.get("augmentation", {})}.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{name} {value} must be a finite number")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed {self.seed} must be in 0..{2**32 - 1}")
        if not self.learning_rate > 0:
            raise UsageError(f"learning rate {self.learning_rate} must be above 0")
        for name in ("ema_decay", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} must be in [0, 1)")
        for name in ("patience_epochs", "warmup_epochs", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)} must not be negative")


@dataclass(frozen=True)
class TrainOptions(FitOptions):
    """Settings of an emotion network's run.

    targets: "votes" trains on all images and their vote shares; "majority" on the judged ones
        and their one label.
    balance: 0 draws every picture once an epoch; 1 draws a class, each equally often, and then a
        picture by its share of that class (Kang et al., "Decoupling representation and classifier
        for long-tailed recognition", ICLR 2020); anything between is between.
    teacher, teacher_weight: file names and digests of networks whose mean prediction makes up that
        share of the targets (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
    teacher_scale, teacher_offset: what those take that do not say so: pixel * scale + offset.
    teacher_sees: "picture": they judge each picture and its mirror image, once; "view": every view
        that the network in training is shown, mixed-up ones too (Beyer et al., "Knowledge
        distillation: A good teacher is patient and consistent", CVPR 2022).
    """

    targets: Literal["votes", "majority"] = "votes"
    balance: float = 0.0
    teacher: str = ""
    teacher_weight: float = 0.0
    teacher_scale: float = 1 / 255
    teacher_offset: float = 0.0
    teacher_sees: Literal["picture", "view"] = "picture"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("balance", "teacher_weight"):
            if not 0 <= getattr(self, name) <= 1:
                said = name.replace("_", " ")
                raise UsageError(f"{said} {getattr(self, name)} must be in [0, 1]")
        if self.augmentation.mixup_alpha < 0:
            raise UsageError(f"mixup {self.augmentation.mixup_alpha} must not be negative")


@dataclass(frozen=True)
class FaceOptions(FitOptions):
    """Settings of the face detector's run.

    size: side of the training views, pixels, divisible by 32. most_faces: of a view.
    judge_every: epochs between two measurements of the average precision.
    extra_data: names of the folders that were trained on beside the first.
    """

    arch: str = "ferlite-face"
    epochs: int = 200
    batch: int = 32
    optimizer: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    size: int = 288
    most_faces: int = 20
    judge_every: int = 5
    extra_data: str = ""
    augmentation: FaceAugmentation = field(default_factory=FaceAugmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 64 or self.size % 32:
            raise UsageError(f"size {self.size} must be 64 or more and divisible by 32")
        for name in ("most_faces", "judge_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} must be at least 1")


# By name. "mild": flips, shifts, rotations and zoom alone, as the baselines were published.
# "narrow": "strong", faces nearer to where FER's pictures have them, for the end of a training.
AUGMENTATIONS = {
    "mild": Augmentation(
        rotation_deg=10.0,
        scale_min=0.9,
        scale_max=1.1,
        shift_px=4.8,
        shear=0.0,
        contrast=0.0,
        brightness=0.0,
        gamma=0.0,
        erase_probability=0.0,
        blur_probability=0.0,
        noise_probability=0.0,
        mixup_alpha=0.0,
    ),
    "narrow": Augmentation(
        rotation_deg=12.0,
        scale_min=0.88,
        scale_max=1.2,
        shift_px=3.0,
        shear=0.05,
        erase_probability=0.25,
    ),
    "strong": Augmentation(),
}


def _baseline(arch: str, **changes: float) -> TrainOptions:
    settings = {"epochs": 60, "batch": 16, "learning_rate": 1e-3, "patience_epochs": 10, **changes}
    return TrainOptions(
        arch=arch,
        optimizer="adam",
        schedule="constant",
        warmup_epochs=0.0,
        weight_decay=0.0,
        ema_decay=0.0,
        targets="majority",
        augmentation=AUGMENTATIONS["mild"],
        **settings,  # type: ignore[arg-type]
    )


RECIPES: dict[str, TrainOptions] = {
    "ferlite-s": TrainOptions(),
    # Published: Adam 1e-3, batch 16, at most 60 epochs, patience 10 on validation accuracy.
    "cnn711k": _baseline("cnn711k"),
    "xception8": _baseline("xception8", batch=32, epochs=100),
    # Fine-tuning rates: the large ones start from ImageNet weights where the user has them.
    "efficientnet_b3": _baseline("efficientnet_b3", learning_rate=1e-4, batch=32),
    "resnet152v2": _baseline("resnet152v2", learning_rate=1e-4, batch=32),
}

"""The networks by name, each one function. Keras 3 only, so that any backend builds them.

Every network takes float32 [n, size, size, 1], value = pixel * INPUT_SCALE + INPUT_OFFSET, and
gives logits [n, classes] in float32. The layer "embedding" holds the features behind the last
decision: [n, channels], or [n, h, w, channels] where the network averages afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import layers

from ferlite.errors import DataError, UsageError

INPUT_SCALE, INPUT_OFFSET = 1 / 64, -2.0  # pixel 0..255 to -2..2; exact in binary floating point


def conv_norm(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
    """A convolution without bias, "same" padding, and batch normalisation; no activation."""
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)


def _residual(x: Any, filters: int, strides: int = 1) -> Any:
    """Two plain 3x3 convolutions beside a shortcut (He et al., CVPR 2016)."""
    y = layers.ReLU()(conv_norm(x, filters, strides=strides))
    y = conv_norm(y, filters)
    if strides != 1 or x.shape[-1] != filters:
        if strides != 1:
            x = layers.AveragePooling2D(strides)(x)
        x = conv_norm(x, filters, kernel=1)
    return layers.ReLU()(layers.Add()([x, y]))


def ferlite_s(classes: int, size: int) -> keras.Model:
    """The network that ships: plain 3x3 residual blocks behind a stride-2 stem.

    Plain convolutions rather than separable ones: as INT8 they run faster on every CPU with
    8-bit dot products, and they train faster.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = layers.ReLU()(conv_norm(inputs, 32, strides=2))
    x = _residual(x, 48)
    x = _residual(x, 64, strides=2)
    x = _residual(x, 96)
    x = _residual(x, 128, strides=2)
    x = _residual(x, 144, strides=2)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    x = layers.Dropout(0.3, seed=1)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="ferlite-s")


def _separable(x: Any, filters: int) -> Any:
    """A 3x3 depthwise and a 1x1 convolution, without bias.

    The first in float32 under any policy: TensorFlow's in bfloat16 takes many times as long.
    """
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, dtype="float32")(x)
    return layers.Conv2D(filters, 1, use_bias=False)(x)


def cnn711k(classes: int, size: int) -> keras.Model:
    """Published baseline: six 3x3 convolutions and a dense layer; 711,784 parameters."""

    def block(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same")(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = keras.Input((size, size, 1), name="faces")
    x = block(inputs, 32)
    for filters in (32, 64, 64, 128, 256):
        x = layers.MaxPooling2D(2)(block(x, filters))
    x = layers.Dense(1024)(layers.Flatten()(x))
    x = layers.ReLU(name="embedding")(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5, seed=1)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="cnn711k")


def xception8(classes: int, size: int) -> keras.Model:
    """Published baseline: mini-Xception (Arriaga et al., 2017) with two, wider modules.

    The first convolution has a stride of 2, as in its authors' own wide variant: else no cell of
    the last one sees more than 31 of 48 pixels.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = inputs
    for strides in (2, 1):
        x = layers.Conv2D(64, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    for filters in (128, 256):
        shortcut = layers.Conv2D(filters, 1, strides=2, padding="same", use_bias=False)(x)
        shortcut = layers.BatchNormalization()(shortcut)
        x = layers.ReLU()(layers.BatchNormalization()(_separable(x, filters)))
        x = layers.BatchNormalization()(_separable(x, filters))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.Add()([x, shortcut])
    x = layers.Activation("linear", name="embedding")(x)
    x = layers.Conv2D(classes, 3, padding="same", dtype="float32")(x)
    logits = layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="xception8")


def efficientnet_b3(classes: int, size: int, weights: Path | None = None) -> keras.Model:
    """EfficientNet-B3 (Tan and Le, ICML 2019) on the grey picture repeated three times.

    weights: the "notop" ImageNet weights of Keras applications, a file; None starts at random.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = layers.Rescaling(1 / INPUT_SCALE, offset=-INPUT_OFFSET / INPUT_SCALE)(inputs)
    x = layers.Concatenate()([x, x, x])  # it scales 0..255 itself
    body = keras.applications.EfficientNetB3(
        include_top=False, weights=None, input_tensor=x, pooling="avg"
    )
    _load(body, weights)
    if weights is not None:
        # These files hold the standard deviation where the layer takes a variance; Keras itself
        # divides by its root a second time.
        normalization = next(x for x in body.layers if isinstance(x, layers.Normalization))
        normalization.adapt_variance.assign(normalization.adapt_variance**2)
        normalization.finalize_state()
    x = layers.Dense(256, activation="relu", name="embedding")(body.output)
    x = layers.Dropout(0.5, seed=1)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="efficientnet_b3")


def resnet152v2(classes: int, size: int, weights: Path | None = None) -> keras.Model:
    """ResNet152V2 (He et al., ECCV 2016) behind a 1-to-3 channel convolution.

    weights: the "notop" ImageNet weights of Keras applications, a file; None starts at random.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    body = keras.applications.ResNet152V2(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    _load(body, weights)
    x = layers.Activation("linear", name="embedding")(body(x))
    x = layers.Dropout(0.5, seed=1)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="resnet152v2")


def _load(body: keras.Model, weights: Path | None) -> None:
    if weights is None:
        return
    try:
        body.load_weights(weights)
    except (OSError, ValueError) as error:
        raise DataError(f"{weights} does not hold weights of {body.name}: {error}") from error


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "ferlite-s": ferlite_s,
    "cnn711k": cnn711k,
    "xception8": xception8,
    "efficientnet_b3": efficientnet_b3,
    "resnet152v2": resnet152v2,
}
PRETRAINABLE = ("efficientnet_b3", "resnet152v2")


def build(name: str, classes: int = 8, size: int = 48, weights: Path | None = None) -> keras.Model:
    """The untrained network of that name; `weights` only where ImageNet weights exist."""
    if name not in NETWORKS:
        raise UsageError(f"no network {name!r}; choose from {', '.join(NETWORKS)}")
    if weights is not None and name not in PRETRAINABLE:
        raise UsageError(f"{name} takes no ImageNet weights; only {', '.join(PRETRAINABLE)} do")
    start = {} if weights is None else {"weights": weights}
    try:
        return NETWORKS[name](classes=classes, size=size, **start)
    except ValueError as error:  # of layers whose picture has no pixel left, or shapes that differ
        raise UsageError(
            f"{name} cannot take pictures of {size}x{size}: {' '.join(str(error).split())[:150]}"
        ) from error

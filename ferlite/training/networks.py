"""The networks by name, each one function. Keras 3 only, so that any backend builds them.

Every network takes float32 [n, height, width, 1] already scaled as `INPUTS` of the bundle says
and gives logits [n, classes] in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from ferlite.errors import UsageError


def _conv_norm(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
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
    y = layers.ReLU()(_conv_norm(x, filters, strides=strides))
    y = _conv_norm(y, filters)
    if strides != 1 or x.shape[-1] != filters:
        if strides != 1:
            x = layers.AveragePooling2D(strides)(x)
        x = _conv_norm(x, filters, kernel=1)
    return layers.ReLU()(layers.Add()([x, y]))


def ferlite_s(classes: int = 8, size: int = 48) -> keras.Model:
    """The network that ships: plain 3x3 residual blocks behind a stride-2 stem.

    Plain convolutions rather than separable ones: as INT8 they run faster on every CPU with
    8-bit dot products, and they train faster.
    """
    inputs = keras.Input((size, size, 1), name="faces")
    x = layers.ReLU()(_conv_norm(inputs, 32, strides=2))
    x = _residual(x, 48)
    x = _residual(x, 64, strides=2)
    x = _residual(x, 96)
    x = _residual(x, 128, strides=2)
    x = _residual(x, 144, strides=2)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    x = layers.Dropout(0.3, seed=1)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="ferlite-s")


NETWORKS: dict[str, Callable[..., keras.Model]] = {"ferlite-s": ferlite_s}


def build(name: str, classes: int = 8, size: int = 48) -> keras.Model:
    """The untrained network of that name."""
    if name not in NETWORKS:
        raise UsageError(f"no network {name!r}; choose from {', '.join(NETWORKS)}")
    return NETWORKS[name](classes=classes, size=size)

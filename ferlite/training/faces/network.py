"""ferlite-face: an anchor-free face detector of plain 3x3 convolutions, 188,621 parameters.

Takes BGR uint8 [n, h, w, 3], sides divisible by 32, and gives one map for each stride (8, 16, 32),
[n, h / stride, w / stride, 15]. Channels of a cell: the logit of the score; the logarithms of the
distances from the cell's centre to the left, top, right and bottom side of the box; the offsets
(x, y) of the five landmarks from that centre. Distances and offsets are in strides.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from ferlite.training.networks import conv_norm

STRIDES = (8, 16, 32)
LANDMARKS = 5
CHANNELS = 1 + 4 + 2 * LANDMARKS
INPUT_SCALE = 1 / 64  # exact in binary floating point
_PRIOR = 0.01  # score of every cell before training (Lin et al., "Focal Loss", ICCV 2017)


def _conv(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
    return layers.ReLU()(conv_norm(x, filters, kernel, strides))


def _wide(x: Any) -> Any:
    """A 5x5 depthwise convolution beside a shortcut: at stride 32 it sees a face of any size."""
    # In float32 under any policy: TensorFlow's depthwise convolution in bfloat16 crawls.
    y = layers.DepthwiseConv2D(5, padding="same", use_bias=False, dtype="float32")(x)
    y = layers.BatchNormalization(momentum=0.95)(y)
    y = conv_norm(y, x.shape[-1], kernel=1)
    return layers.ReLU()(layers.Add()([x, y]))


def ferlite_face(size: int | None = None) -> keras.Model:
    """The network for pictures of size x size, or of any size.

    A stride-4 stem, because half of a detector's time goes into its largest maps; a feature pyramid
    (Lin et al., CVPR 2017) gives the fine levels the context of the coarse ones.
    """
    inputs = keras.Input((size, size, 3), name="image", dtype="uint8")
    x = layers.Rescaling(INPUT_SCALE)(inputs)
    x = _conv(x, 32, kernel=6, strides=4)
    x = _conv(_conv(x, 48, strides=2), 48)
    fine = x
    x = _conv(_conv(x, 64, strides=2), 64)
    middle = x
    x = _wide(_wide(_conv(x, 64, strides=2)))
    coarse = _conv(x, 32, kernel=1)
    middle = layers.Add()([_conv(middle, 32, kernel=1), layers.UpSampling2D()(coarse)])
    fine = layers.Add()([_conv(fine, 32, kernel=1), layers.UpSampling2D()(middle)])
    maps = [
        layers.Conv2D(CHANNELS, 1, dtype="float32", name=f"stride{stride}")(_conv(level, 32))
        for stride, level in zip(STRIDES, (fine, middle, coarse), strict=True)
    ]
    model = keras.Model(inputs, maps, name="ferlite-face")
    for stride in STRIDES:
        bias = model.get_layer(f"stride{stride}").bias
        bias.assign([-math.log(1 / _PRIOR - 1)] + [0.0] * (CHANNELS - 1))
    return model


def flattened(model: keras.Model) -> keras.Model:
    """The same network with its cells in one list, [n, cells, 15]: what the loss takes.

    In float32 under any policy: bfloat16 would round a box's side by up to 1.6 %.
    """
    rows = [layers.Reshape((-1, CHANNELS), dtype="float32")(level) for level in model.outputs]
    return keras.Model(model.inputs, layers.Concatenate(axis=1, dtype="float32")(rows))

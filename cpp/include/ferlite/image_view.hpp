#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ferlite {

enum class Color { bgr, rgb, gray };

// A frame that somebody else owns. Strides are in bytes and may be negative, zero, or wider than a
// pixel, so a slice, a mirror image or the colour part of a BGRA frame needs no copy.
struct ImageView {
    const std::uint8_t* data;
    std::ptrdiff_t height;
    std::ptrdiff_t width;
    std::ptrdiff_t channels;  // 1 for gray, 3 for the others
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;
    Color color;

    const std::uint8_t* at(std::ptrdiff_t row, std::ptrdiff_t column) const {
        return data + row * row_stride + column * column_stride;
    }
};

// Where the pixels of one picture go. Strides are in elements, so one view serves both NHWC and
// NCHW, and a rectangle inside a larger canvas.
template <class T>
struct PixelsView {
    T* data;
    std::ptrdiff_t height;
    std::ptrdiff_t width;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;
};

template <class T>
struct BatchView {
    PixelsView<T> first;
    std::ptrdiff_t count;
    std::ptrdiff_t stride;

    PixelsView<T> operator[](std::ptrdiff_t index) const {
        PixelsView<T> picture = first;
        picture.data += index * stride;
        return picture;
    }
};

// Colour and range of what is written: pixel * scale + offset, which for uint8 is rounded and held
// to 0..255. Gray is 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601, as in OpenCV's cvtColor),
// not rounded before it is resampled.
struct Format {
    Color color = Color::gray;
    float scale = 1.0F;
    float offset = 0.0F;
};

}  // namespace ferlite

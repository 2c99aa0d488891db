#pragma once

#include <cstdint>
#include <vector>

#include "axis.hpp"
#include "ferlite/image_view.hpp"
#include "kernels/kernels.hpp"

namespace ferlite {

// Working memory of one thread, kept from one crop to the next.
struct Scratch {
    Axis columns;
    Axis rows;
    std::vector<kernels::Span> spans;  // the columns as a kernel takes them
    std::vector<float> weights;
    std::vector<std::uint8_t> packed;  // some frame rows, where the frame's pixels are not adjacent
    std::vector<float> line;           // one output row, before its columns are resampled
    std::vector<float> pixels;         // one output row
};

// The same pixels with channels that run forward where that takes no copy: frame[:, :, ::-1] of a
// BGR frame is an RGB view whose channel stride is -1.
ImageView with_forward_channels(ImageView image);

void require_pixels(const ImageView& image);  // throws std::invalid_argument for an empty frame

// Output rows [row_begin, row_end) of an upright rectangle, as scratch.columns and scratch.rows
// say. The view must come from with_forward_channels.
template <class T>
void resample_rows(const ImageView& image, std::ptrdiff_t row_begin, std::ptrdiff_t row_end,
                   const Format& format, const PixelsView<T>& out, Scratch& scratch);

// BT.601 in the order of the frame's channels.
const float* gray_weights(Color color);

// Writes one output row: `pixels` holds 1 or 3 channels in the order of `color`, which this may
// overwrite, each value to be multiplied by `factor` first.
template <class T>
void write_row(float* pixels, std::ptrdiff_t channels, Color color, float factor,
               const Format& format, const PixelsView<T>& out, std::ptrdiff_t row);

}  // namespace ferlite

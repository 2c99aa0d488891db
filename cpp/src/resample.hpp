#pragma once

#include <cstdint>
#include <vector>

#include "axis.hpp"
#include "ferlite/image_view.hpp"

namespace ferlite {

// Working memory of one thread, kept from one crop to the next.
struct Scratch {
    Axis columns;
    Axis rows;
    std::vector<std::uint8_t> packed;  // one frame row, where the frame's pixels are not adjacent
    std::vector<float> line;           // one output row, before its columns are resampled
    std::vector<float> pixels;         // one output row, in the frame's channels
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

// Writes one output row from `pixels` (`out.width` pixels in the frame's channels, which this may
// overwrite), each value times `factor` first.
template <class T>
void write_row(const ImageView& image, std::ptrdiff_t row, float* pixels, float factor,
               const Format& format, const PixelsView<T>& out);

}  // namespace ferlite

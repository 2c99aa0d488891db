#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "axis.hpp"
#include "ferlite/image_view.hpp"
#include "kernels/kernels.hpp"

namespace ferlite {

// Room for values that begins a cache line and is not cleared; grows, and forgets what it held.
class Room {
  public:
    static constexpr std::align_val_t line{64};

    float* of(std::ptrdiff_t values) {
        const auto size = static_cast<std::size_t>(values);
        if (size > size_) {
            values_.reset(new (line) float[size]);
            size_ = size;
        }
        return values_.get();
    }

    std::size_t bytes() const { return size_ * sizeof(float); }

  private:
    struct Delete {
        void operator()(float* values) const { ::operator delete[](values, line); }
    };

    std::unique_ptr<float[], Delete> values_;
    std::size_t size_ = 0;
};

// Working memory of one thread, kept from one crop to the next.
struct Scratch {
    Axis columns;
    Axis rows;
    std::vector<std::uint8_t> packed;  // some frame rows, where the frame's pixels are not adjacent
    Room lines;                        // some output rows, before their columns are resampled
    Room weighing;                     // what weigh_columns needs
    Room pixels;                       // some output rows
    std::vector<float> sums;           // of the samples of one output row of a turned crop
    std::vector<float> gray;           // the same, mixed

    std::size_t bytes() const {
        return columns.bytes() + rows.bytes() + packed.capacity() + lines.bytes() +
               weighing.bytes() + pixels.bytes() +
               (sums.capacity() + gray.capacity()) * sizeof(float);
    }
};

// The same pixels with channels that run forward where that takes no copy: frame[:, :, ::-1] of a
// BGR frame is an RGB view whose channel stride is -1.
ImageView with_forward_channels(ImageView image);

void require_pixels(const ImageView& image);  // throws std::invalid_argument: empty, or too large

// Output rows [row_begin, row_end) of an upright rectangle, as scratch.columns and scratch.rows
// say; the former are used up. The view must come from with_forward_channels.
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

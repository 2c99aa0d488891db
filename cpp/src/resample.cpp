#include "resample.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

// Lines = the weighted sums of the frame rows behind output rows, over the columns in use, mixed
// where there are shares of the channels.
class RowSums {
  public:
    RowSums(const kernels::Table& kernel, const ImageView& image, const float* shares,
            Scratch& scratch)
        : kernel_(kernel),
          image_(image),
          shares_(shares),
          rows_(scratch.rows),
          columns_(scratch.columns),
          packed_(scratch.packed),
          n_((columns_.end - columns_.begin) * image.channels),
          adjacent_(image.column_stride == image.channels &&
                    (image.channels == 1 || image.channel_stride == 1)) {}

    // `next` is the line that the next row will be asked for, and takes its part of a common row.
    void operator()(std::ptrdiff_t row, float* line, float* next) {
        const auto at = static_cast<std::size_t>(row);
        const kernels::Span span = rows_.spans[at];
        const float* weights = rows_.weights.data() + rows_.offsets[at];
        std::ptrdiff_t done = carried_ ? 1 : 0;
        const std::ptrdiff_t last = span.first + span.count - 1;
        carried_ = at + 1 < rows_.spans.size() && rows_.spans[at + 1].first == last &&
                   rows_.spans[at + 1].count > 1;
        prefetch(at + 3);
        // A few rows at a time: so many streams the processor follows.
        for (std::ptrdiff_t count = 0; done < span.count; done += count) {
            count = std::min(most, span.count - done);
            kernels::Rows rows = read(span.first + done, count);
            rows.weights = weights + done;
            if (carried_ && done + count == span.count) {
                rows.carry = next;
                rows.carry_weight = rows_.weights[rows_.offsets[at + 1]];
            }
            if (shares_ != nullptr) {
                kernel_.weigh_gray_rows(rows, shares_, n_ / 3, done > 0, line);
            } else {
                kernel_.weigh_rows(rows, n_, done > 0, line);
            }
        }
    }

  private:
    static constexpr std::ptrdiff_t most = 8;

    // Asks for the frame rows of an output row. Processors do so themselves along a row, but begin
    // anew with each; found by measurement: the distance, and that rows of 1,200 bytes gain
    // nothing.
    void prefetch(std::size_t row) const {
        constexpr std::ptrdiff_t most_bytes = 1024;
        constexpr auto step = static_cast<std::ptrdiff_t>(Room::line);
        if (!adjacent_ || n_ > most_bytes || row >= rows_.spans.size()) return;
        const kernels::Span& span = rows_.spans[row];
        if (span.count < 2) return;
        const std::uint8_t* begin = image_.at(span.first + 1, columns_.begin);
        for (std::ptrdiff_t k = 1; k < span.count; ++k, begin += image_.row_stride) {
            for (std::ptrdiff_t at = 0; at < n_; at += step) __builtin_prefetch(begin + at);
        }
    }

    // Where `count` rows of the frame lie in memory, pixel by pixel.
    kernels::Rows read(std::ptrdiff_t first, std::ptrdiff_t count) {
        if (adjacent_) {
            return {
                image_.at(first, columns_.begin), image_.row_stride, nullptr, count, nullptr, 0.0F};
        }
        packed_.resize(static_cast<std::size_t>(most * n_));
        std::uint8_t* to = packed_.data();
        for (std::ptrdiff_t row = first; row < first + count; ++row) {
            for (std::ptrdiff_t x = columns_.begin; x < columns_.end; ++x) {
                const std::uint8_t* pixel = image_.at(row, x);
                for (std::ptrdiff_t c = 0; c < image_.channels; ++c) {
                    *to++ = pixel[c * image_.channel_stride];
                }
            }
        }
        return {packed_.data(), n_, nullptr, count, nullptr, 0.0F};
    }

    const kernels::Table& kernel_;
    const ImageView& image_;
    const float* shares_;
    const Axis& rows_;
    const Axis& columns_;
    std::vector<std::uint8_t>& packed_;
    std::ptrdiff_t n_;      // bytes of a row in use
    bool adjacent_;         // whether they follow one another
    bool carried_ = false;  // whether the next row's line was begun
};

// Values from one line to the next: whole cache lines, an odd number, so that lines do not all meet
// in the same few places of a cache.
std::ptrdiff_t line_stride(std::ptrdiff_t values) {
    constexpr auto held = static_cast<std::ptrdiff_t>(Room::line) / std::ptrdiff_t{sizeof(float)};
    return ((values + kernels::slack + held - 1) / held | 1) * held;
}

// Pixels of the longest group of so many spans.
std::ptrdiff_t longest(const std::vector<kernels::Span>& spans, std::ptrdiff_t group) {
    std::ptrdiff_t most = 0;
    const auto n = static_cast<std::ptrdiff_t>(spans.size());
    for (std::ptrdiff_t begin = 0; begin < n; begin += group) {
        const kernels::Span& last = spans[static_cast<std::size_t>(std::min(begin + group, n) - 1)];
        const std::ptrdiff_t end = last.first + last.count;
        most = std::max(most, end - spans[static_cast<std::size_t>(begin)].first);
    }
    return most;
}

void store(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale, float offset,
           float* out, std::ptrdiff_t out_step) {
    kernels::active().store_floats(line, step, n, scale, offset, out, out_step);
}

void store(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale, float offset,
           std::uint8_t* out, std::ptrdiff_t out_step) {
    kernels::active().store_bytes(line, step, n, scale, offset, out, out_step);
}

}  // namespace

const float* gray_weights(Color color) {
    static constexpr float bgr[] = {0.114F, 0.587F, 0.299F};
    static constexpr float rgb[] = {0.299F, 0.587F, 0.114F};
    return color == Color::bgr ? bgr : rgb;
}

ImageView with_forward_channels(ImageView image) {
    if (image.channels == 3 && image.channel_stride == -1) {
        image.data -= 2;
        image.channel_stride = 1;
        image.color = image.color == Color::bgr ? Color::rgb : Color::bgr;
    }
    return image;
}

void require_pixels(const ImageView& image) {
    if (image.width < 1 || image.height < 1) {
        throw std::invalid_argument("the image is " + std::to_string(image.width) + "x" +
                                    std::to_string(image.height) + " pixels, so it is empty");
    }
    // Views that repeat one pixel reach any size; products of such sides would wrap.
    constexpr std::ptrdiff_t longest = std::numeric_limits<std::int32_t>::max();
    if (image.width > longest || image.height > longest) {
        throw std::invalid_argument("the image is " + std::to_string(image.width) + "x" +
                                    std::to_string(image.height) + " pixels; a side has at most " +
                                    std::to_string(longest));
    }
}

template <class T>
void resample_rows(const ImageView& image, std::ptrdiff_t row_begin, std::ptrdiff_t row_end,
                   const Format& format, const PixelsView<T>& out, Scratch& scratch) {
    const kernels::Table& kernel = kernels::active();
    Axis& columns = scratch.columns;
    const bool gray = format.color == Color::gray && image.channels == 3;
    const float* shares = gray ? gray_weights(image.color) : nullptr;
    // Channels are mixed as rows are read, or else with the columns.
    const bool mixed = gray && kernel.weigh_gray_rows != nullptr;
    const std::ptrdiff_t channels = gray ? 1 : image.channels;
    const std::ptrdiff_t values = (columns.end - columns.begin) * (mixed ? 1 : image.channels);
    const std::ptrdiff_t stride = line_stride(values);
    const std::ptrdiff_t out_stride = line_stride(out.width * channels);
    // Frames wider than any camera's are weighed line by line, to keep the memory small.
    constexpr std::ptrdiff_t widest = 65536;
    const kernels::Table& across = values > widest ? kernels::plain : kernel;
    const std::ptrdiff_t taken = across.lines;
    // One line more, for what a block of rows passes on to the next.
    float* lines = scratch.lines.of((taken + 1) * stride);
    for (std::ptrdiff_t i = 0; i < taken; ++i) {
        std::fill_n(lines + i * stride + values, kernels::slack, 0.0F);
    }
    constexpr std::ptrdiff_t group = 16;
    const std::ptrdiff_t held = longest(columns.spans, group) * (mixed ? 1 : image.channels);
    float* room = taken == 1 ? nullptr : scratch.weighing.of((held + kernels::slack) * group);
    float* made = scratch.pixels.of(taken * out_stride);
    for (kernels::Span& span : columns.spans) span.first -= columns.begin;
    // Rows first: whole frame rows are added up, which takes no shuffling, and only the few sums
    // are then resampled across.
    RowSums add_rows(kernel, image, mixed ? shares : nullptr, scratch);
    for (std::ptrdiff_t row = row_begin; row < row_end; row += taken) {
        const std::ptrdiff_t count = std::min(taken, row_end - row);
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            add_rows(row + i, lines + i * stride, lines + (i + 1) * stride);
        }
        across.weigh_columns({lines, stride, mixed ? 1 : image.channels, mixed ? nullptr : shares},
                             columns.spans.data(), columns.weights.data(), out.width, room, made,
                             out_stride);
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            write_row(made + i * out_stride, channels, gray ? Color::gray : image.color, 1.0F,
                      format, out, row + i);
        }
        std::copy_n(lines + taken * stride, values, lines);
    }
}

template <class T>
void write_row(float* pixels, std::ptrdiff_t channels, Color color, float factor,
               const Format& format, const PixelsView<T>& out, std::ptrdiff_t row) {
    T* to = out.data + row * out.row_stride;
    const float scale = format.scale * factor;
    const bool swapped = channels == 3 && color != format.color;
    if (channels == 3 && out.column_stride == 3 && out.channel_stride == 1) {
        for (std::ptrdiff_t i = 0; swapped && i < out.width; ++i) {
            std::swap(pixels[3 * i], pixels[3 * i + 2]);
        }
        store(pixels, 1, 3 * out.width, scale, format.offset, to, 1);
        return;
    }
    for (std::ptrdiff_t c = 0; c < (format.color == Color::gray ? 1 : 3); ++c) {
        const std::ptrdiff_t from = channels == 1 ? 0 : swapped ? 2 - c : c;
        store(pixels + from, channels, out.width, scale, format.offset, to + c * out.channel_stride,
              out.column_stride);
    }
}

template void resample_rows<float>(const ImageView&, std::ptrdiff_t, std::ptrdiff_t, const Format&,
                                   const PixelsView<float>&, Scratch&);
template void resample_rows<std::uint8_t>(const ImageView&, std::ptrdiff_t, std::ptrdiff_t,
                                          const Format&, const PixelsView<std::uint8_t>&, Scratch&);
template void write_row<float>(float*, std::ptrdiff_t, Color, float, const Format&,
                               const PixelsView<float>&, std::ptrdiff_t);
template void write_row<std::uint8_t>(float*, std::ptrdiff_t, Color, float, const Format&,
                                      const PixelsView<std::uint8_t>&, std::ptrdiff_t);

}  // namespace ferlite

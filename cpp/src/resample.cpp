#include "resample.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

// line = the weighted sum of the frame rows behind one output row, over the columns in use; mixed
// where there are shares of the channels.
void weigh_frame_rows(const ImageView& image, const kernels::Span& span, const float* weights,
                      const float* shares, Scratch& scratch) {
    const kernels::Table& kernel = kernels::active();
    const Axis& columns = scratch.columns;
    const std::ptrdiff_t n = (columns.end - columns.begin) * image.channels;
    const bool adjacent =
        image.column_stride == image.channels && (image.channels == 1 || image.channel_stride == 1);
    // A few rows at a time: so many streams the processor follows.
    constexpr std::ptrdiff_t most = 8;
    for (std::ptrdiff_t done = 0; done < span.count; done += most) {
        const std::ptrdiff_t count = std::min(most, span.count - done);
        const std::uint8_t* rows = image.at(span.first + done, columns.begin);
        std::ptrdiff_t stride = image.row_stride;
        if (!adjacent) {
            scratch.packed.resize(static_cast<std::size_t>(most * n));
            std::uint8_t* to = scratch.packed.data();
            for (std::ptrdiff_t k = 0; k < count; ++k) {
                for (std::ptrdiff_t x = columns.begin; x < columns.end; ++x) {
                    const std::uint8_t* pixel = image.at(span.first + done + k, x);
                    for (std::ptrdiff_t c = 0; c < image.channels; ++c) {
                        *to++ = pixel[c * image.channel_stride];
                    }
                }
            }
            rows = scratch.packed.data();
            stride = n;
        }
        float* line = scratch.line.data();
        if (shares != nullptr) {
            kernel.weigh_gray_rows(rows, stride, weights + done, count, shares, n / 3, done > 0,
                                   line);
        } else {
            kernel.weigh_rows(rows, stride, weights + done, count, n, done > 0, line);
        }
    }
}

// The columns for weigh_pixels: `weights` stay those of the axis.
void span_pixels(Scratch& scratch) {
    scratch.spans = scratch.columns.spans;
    for (kernels::Span& span : scratch.spans) span.first -= scratch.columns.begin;
}

// The columns for weigh_values: a pixel's channels, mixed with their shares, are values like those
// of its neighbours, and weights of zero fill up the spans.
template <std::ptrdiff_t channels>
void span_values(const float* shares, Scratch& scratch) {
    const std::ptrdiff_t lanes = kernels::active().lanes;
    const Axis& columns = scratch.columns;
    const auto n = static_cast<std::ptrdiff_t>(columns.spans.size());
    const std::ptrdiff_t end = (columns.end - columns.begin) * channels + kernels::slack;
    scratch.weights.clear();
    scratch.spans.clear();
    const float* weight = columns.weights.data();
    for (std::ptrdiff_t begin = 0; begin < n; begin += lanes) {
        const kernels::Span* from = columns.spans.data() + begin;
        const std::ptrdiff_t group = std::min(lanes, n - begin);
        std::ptrdiff_t longest = 0;
        for (std::ptrdiff_t i = 0; i < group; ++i) longest = std::max(longest, from[i].count);
        const std::ptrdiff_t count = (longest * channels + lanes - 1) / lanes * lanes;
        scratch.spans.resize(static_cast<std::size_t>(begin + lanes), {0, count});
        const std::size_t at = scratch.weights.size();
        scratch.weights.resize(at + static_cast<std::size_t>(count * lanes));
        for (std::ptrdiff_t i = 0; i < group; ++i) {
            // A span that would reach beyond the slack begins earlier.
            const std::ptrdiff_t first = (from[i].first - columns.begin) * channels;
            const std::ptrdiff_t begun = std::min(first, end - count);
            scratch.spans[static_cast<std::size_t>(begin + i)].first = begun;
            float* to = scratch.weights.data() + at + i * count + (first - begun);
            for (std::ptrdiff_t k = 0; k < from[i].count; ++k, ++weight) {
                for (std::ptrdiff_t c = 0; c < channels; ++c) *to++ = *weight * shares[c];
            }
        }
    }
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
}

template <class T>
void resample_rows(const ImageView& image, std::ptrdiff_t row_begin, std::ptrdiff_t row_end,
                   const Format& format, const PixelsView<T>& out, Scratch& scratch) {
    const kernels::Table& kernel = kernels::active();
    const Axis& columns = scratch.columns;
    const Axis& rows = scratch.rows;
    const bool gray = format.color == Color::gray || image.channels == 1;
    // Channels are mixed as rows are read, or else in the weights of the columns.
    const bool mixed = gray && image.channels == 3 && kernel.weigh_gray_rows != nullptr;
    const float* shares = mixed ? gray_weights(image.color) : nullptr;
    static constexpr float whole = 1.0F;
    if (mixed || image.channels == 1) {
        span_values<1>(&whole, scratch);
    } else if (gray) {
        span_values<3>(gray_weights(image.color), scratch);
    } else {
        span_pixels(scratch);
    }
    const std::ptrdiff_t values = (columns.end - columns.begin) * (mixed ? 1 : image.channels);
    scratch.line.assign(static_cast<std::size_t>(values + kernels::slack), 0.0F);
    scratch.pixels.resize(static_cast<std::size_t>(3 * out.width + kernels::slack));
    float* pixels = scratch.pixels.data();
    // Rows first: whole frame rows are added up, which takes no shuffling, and only the few sums
    // are then resampled across.
    for (std::ptrdiff_t row = row_begin; row < row_end; ++row) {
        const auto at = static_cast<std::size_t>(row);
        weigh_frame_rows(image, rows.spans[at], rows.weights.data() + rows.offsets[at], shares,
                         scratch);
        if (gray) {
            kernel.weigh_values(scratch.line.data(), scratch.spans.data(), scratch.weights.data(),
                                static_cast<std::ptrdiff_t>(scratch.spans.size()), pixels);
            write_row(pixels, 1, Color::gray, 1.0F, format, out, row);
        } else {
            kernel.weigh_pixels(scratch.line.data(), scratch.spans.data(), columns.weights.data(),
                                out.width, pixels);
            write_row(pixels, 3, image.color, 1.0F, format, out, row);
        }
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

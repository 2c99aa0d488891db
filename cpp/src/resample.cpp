#include "resample.hpp"

#include <array>
#include <stdexcept>
#include <string>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

// BT.601 in the order of the frame's channels.
const float* gray_weights(Color color) {
    static constexpr float bgr[] = {0.114F, 0.587F, 0.299F};
    static constexpr float rgb[] = {0.299F, 0.587F, 0.114F};
    return color == Color::bgr ? bgr : rgb;
}

// line = the weighted sum of the frame rows behind one output row, over [begin, end) columns.
void weigh_frame_rows(const ImageView& image, const kernels::Span& span, const float* weights,
                      std::ptrdiff_t begin, std::ptrdiff_t end, std::vector<std::uint8_t>& packed,
                      std::vector<float>& line) {
    const std::ptrdiff_t n = (end - begin) * image.channels;
    line.assign(static_cast<std::size_t>(n), 0.0F);
    const bool adjacent =
        image.column_stride == image.channels && (image.channels == 1 || image.channel_stride == 1);
    if (adjacent) {
        kernels::weigh_rows(image.at(span.first, begin), image.row_stride, weights, span.count, n,
                            line.data());
        return;
    }
    packed.resize(static_cast<std::size_t>(n));
    for (std::ptrdiff_t k = 0; k < span.count; ++k) {
        std::uint8_t* to = packed.data();
        for (std::ptrdiff_t x = begin; x < end; ++x) {
            const std::uint8_t* pixel = image.at(span.first + k, x);
            for (std::ptrdiff_t c = 0; c < image.channels; ++c) {
                *to++ = pixel[c * image.channel_stride];
            }
        }
        kernels::weigh_rows(packed.data(), 0, weights + k, 1, n, line.data());
    }
}

}  // namespace

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
    const Axis& columns = scratch.columns;
    const Axis& rows = scratch.rows;
    const bool to_gray = format.color == Color::gray && image.channels == 3;
    scratch.pixels.resize(static_cast<std::size_t>(out.width * image.channels));
    // Rows first: whole frame rows are added up, which vectorises for any channel count, and only
    // the few sums are then converted to gray and resampled across.
    for (std::ptrdiff_t row = row_begin; row < row_end; ++row) {
        const auto at = static_cast<std::size_t>(row);
        weigh_frame_rows(image, rows.spans[at], rows.weights.data() + rows.offsets[at],
                         columns.begin, columns.end, scratch.packed, scratch.line);
        float* line = scratch.line.data();
        ImageView seen = image;
        if (to_gray) {
            kernels::mix_channels(line, columns.end - columns.begin, gray_weights(image.color),
                                  line);
            seen.channels = 1;
            seen.color = Color::gray;
        }
        kernels::weigh_columns(line, seen.channels, columns.spans.data(), columns.weights.data(),
                               columns.begin, out.width, scratch.pixels.data());
        write_row(seen, row, scratch.pixels.data(), 1.0F, format, out);
    }
}

template <class T>
void write_row(const ImageView& image, std::ptrdiff_t row, float* pixels, float factor,
               const Format& format, const PixelsView<T>& out) {
    std::ptrdiff_t channels = image.channels;
    if (format.color == Color::gray && channels == 3) {
        kernels::mix_channels(pixels, out.width, gray_weights(image.color), pixels);
        channels = 1;
    }
    T* to = out.data + row * out.row_stride;
    const float scale = format.scale * factor;
    const std::ptrdiff_t wanted = format.color == Color::gray ? 1 : 3;
    const bool swapped = image.color != format.color;
    for (std::ptrdiff_t c = 0; c < wanted; ++c) {
        const std::ptrdiff_t from = channels == 1 ? 0 : swapped ? 2 - c : c;
        kernels::store(pixels + from, channels, out.width, scale, format.offset,
                       to + c * out.channel_stride, out.column_stride);
    }
}

template void resample_rows<float>(const ImageView&, std::ptrdiff_t, std::ptrdiff_t, const Format&,
                                   const PixelsView<float>&, Scratch&);
template void resample_rows<std::uint8_t>(const ImageView&, std::ptrdiff_t, std::ptrdiff_t,
                                          const Format&, const PixelsView<std::uint8_t>&, Scratch&);
template void write_row<float>(const ImageView&, std::ptrdiff_t, float*, float, const Format&,
                               const PixelsView<float>&);
template void write_row<std::uint8_t>(const ImageView&, std::ptrdiff_t, float*, float,
                                      const Format&, const PixelsView<std::uint8_t>&);

}  // namespace ferlite

#include "ferlite/letterbox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "resample.hpp"

namespace ferlite {

namespace {

template <class T>
void fill(const PixelsView<T>& canvas, std::ptrdiff_t channels, float level, const Format& format) {
    for (std::ptrdiff_t row = 0; row < canvas.height; ++row) {
        for (std::ptrdiff_t c = 0; c < channels; ++c) {
            // One level for all pixels: the step from one to the next is 0 channels.
            kernels::store(&level, 0, canvas.width, format.scale, format.offset,
                           canvas.data + row * canvas.row_stride + c * canvas.channel_stride,
                           canvas.column_stride);
        }
    }
}

}  // namespace

Placement place(std::ptrdiff_t frame_width, std::ptrdiff_t frame_height,
                std::ptrdiff_t canvas_width, std::ptrdiff_t canvas_height, bool enlarge) {
    const double scale =
        std::min({static_cast<double>(canvas_width) / static_cast<double>(frame_width),
                  static_cast<double>(canvas_height) / static_cast<double>(frame_height),
                  enlarge ? std::numeric_limits<double>::infinity() : 1.0});
    const auto side = [scale](std::ptrdiff_t frame, std::ptrdiff_t canvas) {
        const double exact = std::round(static_cast<double>(frame) * scale);
        return std::clamp<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(exact), 1, canvas);
    };
    const std::ptrdiff_t width = side(frame_width, canvas_width);
    const std::ptrdiff_t height = side(frame_height, canvas_height);
    return {scale, (canvas_width - width) / 2, (canvas_height - height) / 2, width, height};
}

template <class T>
Placement letterbox(const ImageView& image, const Format& format, float padding, bool enlarge,
                    const PixelsView<T>& canvas, int threads) {
    require_pixels(image);
    const ImageView forward = with_forward_channels(image);
    const Placement placement =
        place(image.width, image.height, canvas.width, canvas.height, enlarge);
    if (placement.width < canvas.width || placement.height < canvas.height) {
        fill(canvas, format.color == Color::gray ? 1 : 3, padding, format);
    }
    PixelsView<T> inner = canvas;
    inner.data += placement.y * canvas.row_stride + placement.x * canvas.column_stride;
    inner.width = placement.width;
    inner.height = placement.height;
    const double step = 1.0 / placement.scale;
    const std::ptrdiff_t bands = std::min<std::ptrdiff_t>(threads, inner.height);
    parallel_for<Scratch>(bands, threads, [&](std::ptrdiff_t band, Scratch& scratch) {
        scratch.columns.assign(0.0, step, inner.width, image.width);
        scratch.rows.assign(0.0, step, inner.height, image.height);
        resample_rows(forward, inner.height * band / bands, inner.height * (band + 1) / bands,
                      format, inner, scratch);
    });
    return placement;
}

template Placement letterbox<float>(const ImageView&, const Format&, float, bool,
                                    const PixelsView<float>&, int);
template Placement letterbox<std::uint8_t>(const ImageView&, const Format&, float, bool,
                                           const PixelsView<std::uint8_t>&, int);

}  // namespace ferlite

#include "ferlite/letterbox.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"
#include "resample.hpp"

namespace ferlite {

namespace {

template <class T>
void fill(const PixelsView<T>& pixels, std::ptrdiff_t channels, T value) {
    const bool adjacent = pixels.column_stride == channels && pixels.channel_stride == 1;
    for (std::ptrdiff_t row = 0; row < pixels.height; ++row) {
        T* to = pixels.data + row * pixels.row_stride;
        if (adjacent) {
            std::fill_n(to, pixels.width * channels, value);
            continue;
        }
        for (std::ptrdiff_t c = 0; c < channels; ++c) {
            for (std::ptrdiff_t i = 0; i < pixels.width; ++i) {
                to[c * pixels.channel_stride + i * pixels.column_stride] = value;
            }
        }
    }
}

template <class T>
PixelsView<T> part(PixelsView<T> pixels, std::ptrdiff_t x, std::ptrdiff_t y, std::ptrdiff_t width,
                   std::ptrdiff_t height) {
    pixels.data += y * pixels.row_stride + x * pixels.column_stride;
    pixels.width = width;
    pixels.height = height;
    return pixels;
}

// What lies beside the frame gets the level, normalised as the frame is.
template <class T>
void pad(const PixelsView<T>& canvas, const Placement& inner, const Format& format, float level) {
    T value{};
    write_row(&level, 1, Color::gray, 1.0F, {Color::gray, format.scale, format.offset},
              PixelsView<T>{&value, 1, 1, 1, 1, 1}, 0);
    const std::ptrdiff_t channels = format.color == Color::gray ? 1 : 3;
    const std::ptrdiff_t right = inner.x + inner.width;
    const std::ptrdiff_t bottom = inner.y + inner.height;
    fill(part(canvas, 0, 0, canvas.width, inner.y), channels, value);
    fill(part(canvas, 0, inner.y, inner.x, inner.height), channels, value);
    fill(part(canvas, right, inner.y, canvas.width - right, inner.height), channels, value);
    fill(part(canvas, 0, bottom, canvas.width, canvas.height - bottom), channels, value);
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
    pad(canvas, placement, format, padding);
    const PixelsView<T> inner =
        part(canvas, placement.x, placement.y, placement.width, placement.height);
    const double step = 1.0 / placement.scale;
    const auto bytes = static_cast<double>(image.width * image.height * image.channels);
    const int helpers = useful_threads(bytes, threads);
    const std::ptrdiff_t bands = std::min<std::ptrdiff_t>(helpers, inner.height);
    parallel_for<Scratch>(bands, helpers, [&](std::ptrdiff_t band, Scratch& scratch) {
        scratch.columns.assign(0.0, step, inner.width, image.width);
        scratch.rows.assign(0.0, step, inner.height, image.height);
        resample_rows(forward, inner.height * band / bands, inner.height * (band + 1) / bands,
                      format, inner, scratch);
    });
    return placement;
}

template <class T>
Placement letterbox(const Planes& image, const Format& format, float padding, bool enlarge,
                    const PixelsView<T>& canvas, int threads) {
    require_pixels(image.y);
    const Placement placement =
        place(image.y.width, image.y.height, canvas.width, canvas.height, enlarge);
    pad(canvas, placement, format, padding);
    const auto side = [&placement](std::ptrdiff_t inner) {
        return static_cast<float>(static_cast<double>(inner) / placement.scale);
    };
    const Box whole{0, 0, side(placement.width), side(placement.height)};
    const PixelsView<T> inner =
        part(canvas, placement.x, placement.y, placement.width, placement.height);
    crop_faces<T>(image, {&whole, 1}, {}, format, {inner, 1, 0}, threads);
    return placement;
}

template Placement letterbox<float>(const Planes&, const Format&, float, bool,
                                    const PixelsView<float>&, int);
template Placement letterbox<std::uint8_t>(const Planes&, const Format&, float, bool,
                                           const PixelsView<std::uint8_t>&, int);
template Placement letterbox<float>(const ImageView&, const Format&, float, bool,
                                    const PixelsView<float>&, int);
template Placement letterbox<std::uint8_t>(const ImageView&, const Format&, float, bool,
                                           const PixelsView<std::uint8_t>&, int);

}  // namespace ferlite

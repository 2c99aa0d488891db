#include "ferlite/crop.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "boxes.hpp"
#include "crop_one.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "resample.hpp"

namespace ferlite {

namespace {

template <class T>
void crop_upright(const ImageView& image, const Box& box, const Format& format,
                  const PixelsView<T>& out, Scratch& scratch) {
    const double x = box.x;
    const double y = box.y;
    scratch.columns.assign(x, box.width / static_cast<double>(out.width), out.width, image.width);
    scratch.rows.assign(y, box.height / static_cast<double>(out.height), out.height, image.height);
    resample_rows(image, 0, out.height, format, out, scratch);
}

template <class T>
void crop_turned(const ImageView& image, const Box& box, double angle, const Format& format,
                 const PixelsView<T>& out, Scratch& scratch) {
    const auto samples = [](double step) {
        const double most = static_cast<double>(most_samples);
        return static_cast<std::ptrdiff_t>(std::ceil(std::clamp(step, 1.0, most)));
    };
    const double width = box.width;
    const double height = box.height;
    const std::ptrdiff_t across = samples(width / static_cast<double>(out.width));
    const std::ptrdiff_t down = samples(height / static_cast<double>(out.height));
    const double step_u = width / static_cast<double>(out.width * across);
    const double step_v = height / static_cast<double>(out.height * down);
    const double cosine = std::cos(angle);
    const double sine = std::sin(angle);
    // Sample positions count from the first pixel's centre, hence the half.
    const double centre_x = box.x + width / 2 - 0.5;
    const double centre_y = box.y + height / 2 - 0.5;
    const double u = step_u / 2 - width / 2;

    const kernels::Table& kernel = kernels::active();
    const bool to_gray = format.color == Color::gray && image.channels == 3;
    const float factor = 1.0F / static_cast<float>(across * down);
    scratch.gray.resize(static_cast<std::size_t>(out.width));
    for (std::ptrdiff_t row = 0; row < out.height; ++row) {
        scratch.sums.assign(static_cast<std::size_t>(out.width * image.channels), 0.0F);
        float* pixels = scratch.sums.data();
        for (std::ptrdiff_t k = 0; k < down; ++k) {
            const double v = (static_cast<double>(row * down + k) + 0.5) * step_v - height / 2;
            kernel.add_samples(image, centre_x + u * cosine - v * sine,
                               centre_y + u * sine + v * cosine, step_u * cosine, step_u * sine,
                               across, out.width, pixels);
        }
        if (to_gray) {
            kernel.mix_channels(pixels, out.width, gray_weights(image.color), scratch.gray.data());
            write_row(scratch.gray.data(), 1, Color::gray, factor, format, out, row);
        } else {
            write_row(pixels, image.channels, image.color, factor, format, out, row);
        }
    }
}

}  // namespace

void require_angles(std::span<const Box> boxes, std::span<const double> angles) {
    if (!angles.empty() && angles.size() != boxes.size()) {
        throw std::invalid_argument("there are " + std::to_string(angles.size()) + " angles for " +
                                    std::to_string(boxes.size()) + " boxes");
    }
    for (std::size_t i = 0; i < angles.size(); ++i) {
        if (!std::isfinite(angles[i])) {
            throw std::invalid_argument("angles[" + std::to_string(i) + "] is " +
                                        std::to_string(angles[i]) +
                                        "; give a finite number of radians");
        }
    }
}

double bytes_read(const ImageView& image, std::span<const Box> boxes,
                  std::span<const double> angles) {
    double bytes = 0;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
        const double width = std::min<double>(boxes[i].width, static_cast<double>(image.width));
        const double height = std::min<double>(boxes[i].height, static_cast<double>(image.height));
        const bool turned = !angles.empty() && angles[i] != 0.0;
        bytes += width * height * static_cast<double>(image.channels) * (turned ? 4 : 1);
    }
    return bytes;
}

template <class T>
void crop_one(const ImageView& image, const Box& box, double angle, const Format& format,
              const PixelsView<T>& out, Scratch& scratch) {
    if (angle == 0.0) {
        crop_upright(image, box, format, out, scratch);
    } else {
        crop_turned(image, box, angle, format, out, scratch);
    }
}

template <class T>
void crop_faces(const ImageView& image, std::span<const Box> boxes, std::span<const double> angles,
                const Format& format, const BatchView<T>& out, int threads) {
    require_pixels(image);
    require_boxes(boxes, true);
    require_angles(boxes, angles);
    const ImageView forward = with_forward_channels(image);
    const auto crop = [&](std::ptrdiff_t i, Scratch& scratch) {
        const auto at = static_cast<std::size_t>(i);
        crop_one(forward, boxes[at], angles.empty() ? 0.0 : angles[at], format, out[i], scratch);
    };
    parallel_for<Scratch>(static_cast<std::ptrdiff_t>(boxes.size()),
                          useful_threads(bytes_read(image, boxes, angles), threads), crop);
}

template void crop_one<float>(const ImageView&, const Box&, double, const Format&,
                              const PixelsView<float>&, Scratch&);
template void crop_one<std::uint8_t>(const ImageView&, const Box&, double, const Format&,
                                     const PixelsView<std::uint8_t>&, Scratch&);
template void crop_faces<float>(const ImageView&, std::span<const Box>, std::span<const double>,
                                const Format&, const BatchView<float>&, int);
template void crop_faces<std::uint8_t>(const ImageView&, std::span<const Box>,
                                       std::span<const double>, const Format&,
                                       const BatchView<std::uint8_t>&, int);

}  // namespace ferlite

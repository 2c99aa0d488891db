#pragma once

#include "kernels/kernels.hpp"

// In an anonymous namespace, so that each instruction set has its own.
namespace ferlite::kernels {
namespace {

inline double held(double value, double last) {
    const double positive = value > 0.0 ? value : 0.0;
    return positive < last ? positive : last;
}

// Table::add_samples for any frame, one sample at a time.
template <int channels>
void sample(const ImageView& image, double x, double y, double dx, double dy, std::ptrdiff_t group,
            std::ptrdiff_t n, float* sums) {
    const auto right = static_cast<double>(image.width - 1);
    const auto bottom = static_cast<double>(image.height - 1);
    for (std::ptrdiff_t t = 0; t < n * group; ++t) {
        // Holding the position to the frame repeats the edge, and keeps the casts below in range
        // however far away the box lies.
        const double column = held(x + static_cast<double>(t) * dx, right);
        const double row = held(y + static_cast<double>(t) * dy, bottom);
        const auto left = static_cast<std::ptrdiff_t>(column);
        const auto top = static_cast<std::ptrdiff_t>(row);
        const auto across = static_cast<float>(column - static_cast<double>(left));
        const auto down = static_cast<float>(row - static_cast<double>(top));
        const std::uint8_t* pixel =
            image.data + top * image.row_stride + left * image.column_stride;
        const std::ptrdiff_t beside = left + 1 < image.width ? image.column_stride : 0;
        const std::ptrdiff_t below = top + 1 < image.height ? image.row_stride : 0;
        float* sum = sums + t / group * channels;
        for (int c = 0; c < channels; ++c) {
            const std::uint8_t* p = pixel + c * image.channel_stride;
            const auto a = static_cast<float>(p[0]);
            const auto b = static_cast<float>(p[beside]);
            const auto d = static_cast<float>(p[below]);
            const auto e = static_cast<float>(p[below + beside]);
            const float upper = a + across * (b - a);
            const float lower = d + across * (e - d);
            sum[c] += upper + down * (lower - upper);
        }
    }
}

inline void sample_any(const ImageView& image, double x, double y, double dx, double dy,
                       std::ptrdiff_t group, std::ptrdiff_t n, float* sums) {
    if (image.channels == 1) {
        sample<1>(image, x, y, dx, dy, group, n, sums);
    } else {
        sample<3>(image, x, y, dx, dy, group, n, sums);
    }
}

}  // namespace
}  // namespace ferlite::kernels

#include <algorithm>

#include "kernels/kernels.hpp"

namespace ferlite::kernels {

namespace {

template <int channels>
void sample(const ImageView& image, double x, double y, double dx, double dy, std::ptrdiff_t n,
            float* line) {
    const auto right = static_cast<double>(image.width - 1);
    const auto bottom = static_cast<double>(image.height - 1);
    for (std::ptrdiff_t t = 0; t < n; ++t) {
        // Holding the position to the frame repeats the edge, and keeps the casts below in range
        // however far away the box lies.
        const double column = std::clamp(x + static_cast<double>(t) * dx, 0.0, right);
        const double row = std::clamp(y + static_cast<double>(t) * dy, 0.0, bottom);
        const auto left = static_cast<std::ptrdiff_t>(column);
        const auto top = static_cast<std::ptrdiff_t>(row);
        const auto across = static_cast<float>(column - static_cast<double>(left));
        const auto down = static_cast<float>(row - static_cast<double>(top));
        const std::uint8_t* pixel = image.at(top, left);
        const std::ptrdiff_t beside = left + 1 < image.width ? image.column_stride : 0;
        const std::ptrdiff_t below = top + 1 < image.height ? image.row_stride : 0;
        for (int c = 0; c < channels; ++c) {
            const std::uint8_t* p = pixel + c * image.channel_stride;
            const auto a = static_cast<float>(p[0]);
            const auto b = static_cast<float>(p[beside]);
            const auto d = static_cast<float>(p[below]);
            const auto e = static_cast<float>(p[below + beside]);
            const float upper = a + across * (b - a);
            const float lower = d + across * (e - d);
            line[t * channels + c] = upper + down * (lower - upper);
        }
    }
}

template <int channels>
void add(const float* line, std::ptrdiff_t group, std::ptrdiff_t n, float* sums) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        for (std::ptrdiff_t k = 0; k < group; ++k) {
            for (int c = 0; c < channels; ++c) {
                sums[i * channels + c] += line[(i * group + k) * channels + c];
            }
        }
    }
}

}  // namespace

void sample_line(const ImageView& image, double x, double y, double dx, double dy, std::ptrdiff_t n,
                 float* line) {
    if (image.channels == 1) {
        sample<1>(image, x, y, dx, dy, n, line);
    } else {
        sample<3>(image, x, y, dx, dy, n, line);
    }
}

void add_groups(const float* line, std::ptrdiff_t channels, std::ptrdiff_t group, std::ptrdiff_t n,
                float* sums) {
    if (channels == 1) {
        add<1>(line, group, n, sums);
    } else {
        add<3>(line, group, n, sums);
    }
}

}  // namespace ferlite::kernels

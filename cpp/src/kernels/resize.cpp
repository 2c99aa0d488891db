#include "kernels/kernels.hpp"

namespace ferlite::kernels {

namespace {

// Several rows in one pass, so that a sum is loaded and stored once for all of them.
template <int count>
void add_rows(const std::uint8_t* __restrict rows, std::ptrdiff_t stride, const float* weights,
              std::ptrdiff_t n, float* __restrict line) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        float sum = line[i];
        for (int k = 0; k < count; ++k) {
            sum += weights[k] * static_cast<float>(rows[k * stride + i]);
        }
        line[i] = sum;
    }
}

}  // namespace

void weigh_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                std::ptrdiff_t count, std::ptrdiff_t n, float* line) {
    for (; count >= 4; count -= 4, rows += 4 * stride, weights += 4) {
        add_rows<4>(rows, stride, weights, n, line);
    }
    if (count == 3) add_rows<3>(rows, stride, weights, n, line);
    if (count == 2) add_rows<2>(rows, stride, weights, n, line);
    if (count == 1) add_rows<1>(rows, stride, weights, n, line);
}

void mix_channels(const float* line, std::ptrdiff_t n, const float weights[3], float* gray) {
    const float first = weights[0];
    const float second = weights[1];
    const float third = weights[2];
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        gray[i] = first * line[3 * i] + second * line[3 * i + 1] + third * line[3 * i + 2];
    }
}

namespace {

template <int channels>
void weigh(const float* line, const Span* spans, const float* weights, std::ptrdiff_t begin,
           std::ptrdiff_t n, float* out) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const float* pixel = line + (spans[i].first - begin) * channels;
        float sums[3] = {};
        for (std::ptrdiff_t k = 0; k < spans[i].count; ++k) {
            for (int c = 0; c < channels; ++c) sums[c] += weights[k] * pixel[k * channels + c];
        }
        for (int c = 0; c < channels; ++c) out[i * channels + c] = sums[c];
        weights += spans[i].count;
    }
}

}  // namespace

void weigh_columns(const float* line, std::ptrdiff_t channels, const Span* spans,
                   const float* weights, std::ptrdiff_t begin, std::ptrdiff_t n, float* out) {
    if (channels == 1) {
        weigh<1>(line, spans, weights, begin, n, out);
    } else {
        weigh<3>(line, spans, weights, begin, n, out);
    }
}

}  // namespace ferlite::kernels

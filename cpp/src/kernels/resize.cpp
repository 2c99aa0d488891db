#include "kernels/kernels.hpp"

namespace ferlite::kernels {

void weigh_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                std::ptrdiff_t count, std::ptrdiff_t n, float* line) {
    // Blocks small enough that their sums stay in registers over all rows.
    constexpr std::ptrdiff_t block = 16;
    std::ptrdiff_t i = 0;
    for (; i + block <= n; i += block) {
        float sums[block];
        for (std::ptrdiff_t j = 0; j < block; ++j) sums[j] = line[i + j];
        for (std::ptrdiff_t k = 0; k < count; ++k) {
            const std::uint8_t* row = rows + k * stride + i;
            for (std::ptrdiff_t j = 0; j < block; ++j) {
                sums[j] += weights[k] * static_cast<float>(row[j]);
            }
        }
        for (std::ptrdiff_t j = 0; j < block; ++j) line[i + j] = sums[j];
    }
    for (; i < n; ++i) {
        for (std::ptrdiff_t k = 0; k < count; ++k) {
            line[i] += weights[k] * static_cast<float>(rows[k * stride + i]);
        }
    }
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

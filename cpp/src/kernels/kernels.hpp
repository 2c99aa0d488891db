#pragma once

#include <cstddef>
#include <cstdint>

#include "ferlite/image_view.hpp"
#include "ferlite/planes.hpp"

// The hot loops, once in plain C++ (plain.cpp) and once in vectors (vector.cpp), which is compiled
// for each instruction set. They allocate nothing and know no threads. They call no inline function
// that other files could share either, so no standard container or algorithm: the linker keeps one
// copy for everybody, and that could be the one compiled for instructions that the machine lacks.
namespace ferlite::kernels {

// Values that follow one another: frame rows, pixels or single values, as each function says.
struct Span {
    std::ptrdiff_t first;
    std::ptrdiff_t count;
};

// `line` and `out` below have room for this many values more, of which those of `line` are finite:
// vectors may reach beyond the end.
inline constexpr std::ptrdiff_t slack = 16;

// One instruction set's versions.
struct Table {
    const char* name;
    std::ptrdiff_t lanes;  // values in a vector, at most `slack`

    // line[i] = the sum over k < count of weights[k] * rows[k * stride + i], for i < n; added to
    // what `line` holds where `add`.
    void (*weigh_rows)(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                       std::ptrdiff_t count, std::ptrdiff_t n, bool add, float* line);

    // The same of n pixels of three bytes, each mixed: shares . rows[k * stride + 3 i ... + 2].
    // Shares are positive, below 1 and make 1 together, the second below 0.99; they are rounded to
    // 16 bits. Null where mixing in the columns is better.
    void (*weigh_gray_rows)(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                            std::ptrdiff_t count, const float* shares, std::ptrdiff_t n, bool add,
                            float* line);

    // out[i] = the weighted sum of the values spans[i] of `line`, for i < n. Counts are multiples
    // of `lanes` above 0, equal for every `lanes` spans, and n is a multiple of `lanes`. The
    // weights of all spans follow one another.
    void (*weigh_values)(const float* line, const Span* spans, const float* weights,
                         std::ptrdiff_t n, float* out);

    // The same for pixels of three values: spans count pixels.
    void (*weigh_pixels)(const float* line, const Span* spans, const float* weights,
                         std::ptrdiff_t n, float* out);

    // sums[i] += the sum over k < group of the frame at (x + t * dx, y + t * dy), t = i * group +
    // k, for i < n; bilinear between pixel centres that lie on the integers, edge pixels repeated.
    void (*add_samples)(const ImageView& image, double x, double y, double dx, double dy,
                        std::ptrdiff_t group, std::ptrdiff_t n, float* sums);

    // gray[i] = weights . pixels[3 i .. 3 i + 2], for i < n.
    void (*mix_channels)(const float* pixels, std::ptrdiff_t n, const float* weights, float* gray);

    // out[i * out_step] = line[i * step] * scale + offset, for i < n.
    void (*store_floats)(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                         float offset, float* out, std::ptrdiff_t out_step);

    // The same, rounded to the nearest level and held to 0..255.
    void (*store_bytes)(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                        float offset, std::uint8_t* out, std::ptrdiff_t out_step);

    // n pixels of three planes as n pixels in BGR.
    void (*join_planes)(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v,
                        std::ptrdiff_t n, const YuvMatrix& matrix, std::uint8_t* bgr);

    // The first i >= from with values[i] >= least, or n.
    std::ptrdiff_t (*find_at_least)(const float* values, std::ptrdiff_t from, std::ptrdiff_t n,
                                    float least);
};

extern const Table plain;
extern const Table sse2;
extern const Table avx2;
extern const Table avx512;
extern const Table neon;

// The version in use: see ferlite/cpu.hpp.
const Table& active();

}  // namespace ferlite::kernels

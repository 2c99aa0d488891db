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

// Pixels that follow one another, frame rows or columns.
struct Span {
    std::ptrdiff_t first;
    std::ptrdiff_t count;
};

// Frame rows that are added up, `stride` bytes apart, each times its weight.
struct Rows {
    const std::uint8_t* first;
    std::ptrdiff_t stride;
    const float* weights;
    std::ptrdiff_t count;
    // Unless null, takes the last row times carry_weight: two neighbouring sums mostly share a row,
    // which is then read once.
    float* carry;
    float carry_weight;
};

// Lines of values, `stride` values apart, of pixels of `channels` values. Unless null, shares say
// how the channels are mixed into one.
struct Lines {
    const float* first;
    std::ptrdiff_t stride;
    std::ptrdiff_t channels;
    const float* shares;
};

// Lines have so many finite values more, as vectors may reach beyond the end. (Lines that nobody
// asked for may hold anything: none reaches into another.)
inline constexpr std::ptrdiff_t slack = 16;

// One instruction set's versions.
struct Table {
    const char* name;
    std::ptrdiff_t lines;  // that weigh_columns takes

    // line[i] = the weighted sum of byte i of the rows, for i < n; added to what `line` holds where
    // `add`.
    void (*weigh_rows)(const Rows& rows, std::ptrdiff_t n, bool add, float* line);

    // The same of n pixels of three bytes, each mixed: shares . row[3 i ... 3 i + 2]. Shares are
    // positive, below 1 and make 1 together, the second below 0.99; they are rounded to 16 bits.
    // Null where mixing in the columns is better.
    void (*weigh_gray_rows)(const Rows& rows, const float* shares, std::ptrdiff_t n, bool add,
                            float* line);

    // Pixel i of output line r = the weighted sum of the pixels spans[i] of line r, for i < n and
    // all lines; spans never go back, and their weights follow one another. Output lines are
    // `stride` values apart. `scratch` has room for the values of any 16 spans and slack, times 16;
    // the plain version needs none.
    // Channels are mixed here only where there is no weigh_gray_rows.
    void (*weigh_columns)(const Lines& lines, const Span* spans, const float* weights,
                          std::ptrdiff_t n, float* scratch, float* out, std::ptrdiff_t stride);

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

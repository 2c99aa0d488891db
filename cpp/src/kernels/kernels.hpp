#pragma once

#include <cstddef>
#include <cstdint>

#include "ferlite/image_view.hpp"

// The hot loops. They allocate nothing, know no threads, and are written so that the compiler can
// vectorise them for whichever instruction set their file is compiled for. For that reason they
// take no standard container either: an inline function of one, compiled here with newer
// instructions, could be the copy that the linker keeps for everybody.
namespace ferlite::kernels {

// The frame pixels behind one output pixel along one axis.
struct Span {
    std::ptrdiff_t first;
    std::ptrdiff_t count;
};

// line[i] += sum over k < count of weights[k] * rows[k * stride + i], for i < n.
void weigh_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                std::ptrdiff_t count, std::ptrdiff_t n, float* line);

// gray[i] = weights . line[3 i .. 3 i + 2], for i < n. `gray` may be `line`.
void mix_channels(const float* line, std::ptrdiff_t n, const float weights[3], float* gray);

// out[i] = the weighted sum of the pixels of spans[i], channel by channel, for i < n; line[0] is
// the frame pixel `begin`, and the weights of all spans follow one another.
void weigh_columns(const float* line, std::ptrdiff_t channels, const Span* spans,
                   const float* weights, std::ptrdiff_t begin, std::ptrdiff_t n, float* out);

// line[t] = the frame at (x + t * dx, y + t * dy), bilinear between pixel centres that lie on the
// integers, edge pixels repeated; n samples of image.channels values.
void sample_line(const ImageView& image, double x, double y, double dx, double dy, std::ptrdiff_t n,
                 float* line);

// sums[i] += the sum of the `group` pixels of `line` from i * group, for i < n.
void add_groups(const float* line, std::ptrdiff_t channels, std::ptrdiff_t group, std::ptrdiff_t n,
                float* sums);

// out[i * stride] = line[i * channels] * scale + offset, for i < n.
void store(const float* line, std::ptrdiff_t channels, std::ptrdiff_t n, float scale, float offset,
           float* out, std::ptrdiff_t stride);

// The same, rounded to the nearest level and held to 0..255.
void store(const float* line, std::ptrdiff_t channels, std::ptrdiff_t n, float scale, float offset,
           std::uint8_t* out, std::ptrdiff_t stride);

}  // namespace ferlite::kernels

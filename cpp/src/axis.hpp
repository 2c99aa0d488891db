#pragma once

#include <cstddef>
#include <vector>

#include "kernels/kernels.hpp"

namespace ferlite {

// How one axis is resampled: output pixel i is the sum of weights * frame pixels over spans[i].
// The weights of all spans follow one another.
struct Axis {
    std::vector<kernels::Span> spans;
    std::vector<float> weights;
    std::vector<std::size_t> offsets;  // where the weights of spans[i] begin
    std::ptrdiff_t begin = 0;          // the frame pixels that any span touches
    std::ptrdiff_t end = 0;

    // `count` output pixels of `step` frame pixels each, from `origin`, over a frame of `length`
    // pixels. Time and memory are bounded by length + count, however large the numbers.
    void assign(double origin, double step, std::ptrdiff_t count, std::ptrdiff_t length);

    std::size_t bytes() const {
        return spans.capacity() * sizeof(kernels::Span) + weights.capacity() * sizeof(float) +
               offsets.capacity() * sizeof(std::size_t);
    }
};

}  // namespace ferlite

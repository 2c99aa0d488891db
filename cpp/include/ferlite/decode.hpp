#pragma once

#include <cstddef>

#include "ferlite/crop.hpp"

namespace ferlite {

// One output map of a network, float32 [rows, columns, channels] with any strides (in elements).
struct MapView {
    const float* data;
    std::ptrdiff_t channels;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;

    float at(std::ptrdiff_t row, std::ptrdiff_t column, std::ptrdiff_t channel) const {
        return data[row * row_stride + column * column_stride + channel * channel_stride];
    }
};

// What an anchor-free detector says of one stride: for each cell a score, the distances from the
// cell's centre to the left, top, right and bottom side of the box, and the offsets (x, y) of each
// landmark from that centre; distances and offsets are in units of the stride.
struct Level {
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    double stride;  // input pixels a cell
    MapView scores;
    MapView distances;
    MapView landmarks;  // 2 channels a point; none is fine
};

// Room for every cell of the level.
struct Candidates {
    Box* boxes;
    float* scores;
    float* landmarks;
};

// Writes the candidates with a score of at least `threshold`, row by row, in pixels of the network
// input, and returns how many. A cell is passed over when its score is NaN or when its box or a
// landmark is not finite or has no area: a network can say that, a crop cannot be cut from it.
std::ptrdiff_t decode(const Level& level, float threshold, const Candidates& out);

}  // namespace ferlite

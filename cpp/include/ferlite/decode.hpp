#pragma once

#include <cstddef>
#include <vector>

#include "ferlite/crop.hpp"

namespace ferlite {

// One output map of an anchor-free detector, float32 [channels, rows, columns] with any strides in
// elements. Of a cell, channel 0 is the logit of the score; 1 to 4 are the natural logarithms of
// the distances from its centre to the left, top, right and bottom side of the box; then come the
// offsets x, y of each landmark from that centre. Distances and offsets are in cells.
struct MapView {
    const float* data;
    std::ptrdiff_t channels;
    std::ptrdiff_t rows;
    std::ptrdiff_t columns;
    std::ptrdiff_t channel_stride;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    double cell;  // side of a cell in pixels of the network's input
};

// Logarithms above this are taken as this: no side is 3000 cells away.
inline constexpr double largest_log_distance = 8.0;

// Input = frame * scale + (x, y), as letterbox places a frame.
struct Zoom {
    double scale = 1.0;
    double x = 0.0;
    double y = 0.0;
};

struct Candidates {
    std::vector<Box> boxes;
    std::vector<float> scores;
    std::vector<float> landmarks;  // x, y of each point, box after box
};

// Appends the cells whose score, the sigmoid of the logit, is at least `threshold` (0..1), row by
// row, in pixels of the frame. A cell is passed over when one of its channels is not finite, or
// when its box has no area or is too large for float32: a crop cannot be cut from that.
void decode(const MapView& map, double threshold, const Zoom& zoom, Candidates& found);

}  // namespace ferlite

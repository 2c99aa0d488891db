#include "ferlite/decode.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

// Appends the cell unless it is no box. `cell` points to channel 0; (x, y) is the centre.
void append_cell(const MapView& map, const float* cell, double x, double y, const Zoom& zoom,
                 Candidates& found) {
    for (std::ptrdiff_t c = 0; c < map.channels; ++c) {
        if (!std::isfinite(cell[c * map.channel_stride])) return;
    }
    const auto value = [&](std::ptrdiff_t channel) {
        return static_cast<double>(cell[channel * map.channel_stride]);
    };
    const auto distance = [&](std::ptrdiff_t side) {
        return std::exp(std::min(value(1 + side), largest_log_distance)) * map.cell;
    };
    const double left = distance(0);
    const double top = distance(1);
    const Box box{static_cast<float>((x - left - zoom.x) / zoom.scale),
                  static_cast<float>((y - top - zoom.y) / zoom.scale),
                  static_cast<float>((left + distance(2)) / zoom.scale),
                  static_cast<float>((top + distance(3)) / zoom.scale)};
    bool usable = std::isfinite(box.x) && std::isfinite(box.y) && std::isfinite(box.width) &&
                  std::isfinite(box.height) && box.width > 0 && box.height > 0;
    const std::size_t before = found.landmarks.size();
    for (std::ptrdiff_t c = 5; c + 1 < map.channels; c += 2) {
        const double across = x + value(c) * map.cell - zoom.x;
        const double down = y + value(c + 1) * map.cell - zoom.y;
        found.landmarks.push_back(static_cast<float>(across / zoom.scale));
        found.landmarks.push_back(static_cast<float>(down / zoom.scale));
        usable = usable && std::isfinite(found.landmarks.end()[-2]) &&
                 std::isfinite(found.landmarks.back());
    }
    if (!usable) {
        found.landmarks.resize(before);
        return;
    }
    found.boxes.push_back(box);
    found.scores.push_back(static_cast<float>(1.0 / (1.0 + std::exp(-value(0)))));
}

}  // namespace

void decode(const MapView& map, double threshold, const Zoom& zoom, Candidates& found) {
    // Comparing logits leaves the exponential to the few cells that count.
    const auto least = static_cast<float>(std::log(threshold) - std::log1p(-threshold));
    const kernels::Table& kernel = kernels::active();
    for (std::ptrdiff_t row = 0; row < map.rows; ++row) {
        const float* cells = map.data + row * map.row_stride;
        for (std::ptrdiff_t column = 0; column < map.columns; ++column) {
            if (map.column_stride == 1) {
                column = kernel.find_at_least(cells, column, map.columns, least);
                if (column == map.columns) break;
            }
            const float* cell = cells + column * map.column_stride;
            if (!(*cell >= least)) continue;  // written so that NaN is passed over
            append_cell(map, cell, (static_cast<double>(column) + 0.5) * map.cell,
                        (static_cast<double>(row) + 0.5) * map.cell, zoom, found);
        }
    }
}

}  // namespace ferlite

#pragma once

#include <cstdint>
#include <span>

#include "ferlite/crop.hpp"

namespace ferlite {

// Greedy non-maximum suppression: takes boxes from the best score down (the earlier of equals
// first) and drops those whose intersection over union with one already taken is above `iou`.
// Writes the indices taken to `kept` and returns how many; stops when `kept` is full. Throws
// std::invalid_argument for a box that is not finite or a score that is NaN.
std::size_t nms(std::span<const Box> boxes, std::span<const float> scores, double iou,
                std::span<std::int64_t> kept);

}  // namespace ferlite

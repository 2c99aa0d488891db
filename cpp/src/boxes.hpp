#pragma once

#include <span>

#include "ferlite/crop.hpp"

namespace ferlite {

// Throws std::invalid_argument, naming the box, for one that is not finite or, where
// `with_area`, has no area.
void require_boxes(std::span<const Box> boxes, bool with_area);

}  // namespace ferlite

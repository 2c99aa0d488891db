#include "boxes.hpp"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace ferlite {

void require_boxes(std::span<const Box> boxes, bool with_area) {
    for (std::size_t i = 0; i < boxes.size(); ++i) {
        const Box& box = boxes[i];
        const bool finite = std::isfinite(box.x) && std::isfinite(box.y) &&
                            std::isfinite(box.width) && std::isfinite(box.height);
        if (finite && (!with_area || (box.width > 0 && box.height > 0))) continue;
        std::ostringstream message;
        message << "boxes[" << i << "] is (" << box.x << ", " << box.y << ", " << box.width << ", "
                << box.height << "); give finite x, y, width, height"
                << (with_area ? ", width and height above 0" : "");
        throw std::invalid_argument(message.str());
    }
}

}  // namespace ferlite

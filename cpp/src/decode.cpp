#include "ferlite/decode.hpp"

#include <cmath>

namespace ferlite {

std::ptrdiff_t decode(const Level& level, float threshold, const Candidates& out) {
    const std::ptrdiff_t values = level.landmarks.channels;
    std::ptrdiff_t count = 0;
    for (std::ptrdiff_t row = 0; row < level.rows; ++row) {
        for (std::ptrdiff_t column = 0; column < level.columns; ++column) {
            const float score = level.scores.at(row, column, 0);
            if (!(score >= threshold)) continue;  // written so that NaN is passed over
            const double x = (static_cast<double>(column) + 0.5) * level.stride;
            const double y = (static_cast<double>(row) + 0.5) * level.stride;
            const auto distance = [&](std::ptrdiff_t side) {
                return static_cast<double>(level.distances.at(row, column, side)) * level.stride;
            };
            const double left = distance(0);
            const double top = distance(1);
            const Box box{static_cast<float>(x - left), static_cast<float>(y - top),
                          static_cast<float>(left + distance(2)),
                          static_cast<float>(top + distance(3))};
            bool usable = std::isfinite(box.x) && std::isfinite(box.y) &&
                          std::isfinite(box.width) && std::isfinite(box.height) && box.width > 0 &&
                          box.height > 0;
            float* landmarks = out.landmarks + count * values;
            for (std::ptrdiff_t i = 0; i < values; ++i) {
                const double offset =
                    static_cast<double>(level.landmarks.at(row, column, i)) * level.stride;
                landmarks[i] = static_cast<float>((i % 2 == 0 ? x : y) + offset);
                usable = usable && std::isfinite(landmarks[i]);
            }
            if (!usable) continue;
            out.boxes[count] = box;
            out.scores[count] = score;
            ++count;
        }
    }
    return count;
}

}  // namespace ferlite

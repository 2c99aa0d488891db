#include "axis.hpp"

#include <algorithm>
#include <cmath>

namespace ferlite {

void Axis::assign(double origin, double step, std::ptrdiff_t count, std::ptrdiff_t length) {
    spans.clear();
    weights.clear();
    offsets.clear();
    begin = length;
    end = 0;
    // A unit box over unit pixels is linear interpolation between their centres, so one rule
    // covers growing and shrinking, and nothing jumps where one becomes the other.
    const double reach = std::max(step, 1.0) / 2;
    const auto edge = static_cast<double>(length - 1);
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        const double centre = origin + (static_cast<double>(i) + 0.5) * step;
        const double low = centre - reach;
        const double high = centre + reach;
        offsets.push_back(weights.size());
        // Wholly in an edge pixel or beyond it. Far out `low` and `high` can round to the same
        // number, so this is decided before dividing by their difference.
        if (high <= 1.0 || low >= edge) {
            spans.push_back({high <= 1.0 ? 0 : length - 1, 1});
            weights.push_back(1.0F);
        } else {
            const std::ptrdiff_t first = low <= 0.0 ? 0 : static_cast<std::ptrdiff_t>(low);
            const std::ptrdiff_t last =
                high > edge ? length - 1 : static_cast<std::ptrdiff_t>(std::ceil(high)) - 1;
            spans.push_back({first, last - first + 1});
            // Whole pixels have equal shares. The edge pixels reach out to infinity.
            const double share = 1.0 / (high - low);
            const std::size_t at = weights.size();
            weights.resize(at + static_cast<std::size_t>(last - first + 1),
                           static_cast<float>(share));
            if (first == last) {
                weights[at] = 1.0F;
            } else {
                weights[at] = static_cast<float>((static_cast<double>(first + 1) - low) * share);
                weights.back() = static_cast<float>((high - static_cast<double>(last)) * share);
            }
        }
        begin = std::min(begin, spans.back().first);
        end = std::max(end, spans.back().first + spans.back().count);
    }
}

}  // namespace ferlite

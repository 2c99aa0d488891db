#include "axis.hpp"

#include <algorithm>

namespace ferlite {

void Axis::assign(double origin, double step, std::ptrdiff_t count, std::ptrdiff_t length) {
    const auto n = static_cast<std::size_t>(count);
    spans.resize(n);
    offsets.resize(n);
    // A unit box over unit pixels is linear interpolation between their centres, so one rule
    // covers growing and shrinking, and nothing jumps where one becomes the other.
    const double reach = std::max(step, 1.0) / 2;
    const double share = 1.0 / (2 * reach);  // of a whole pixel
    const auto edge = static_cast<double>(length - 1);
    // Neighbouring spans have at most their outer pixels in common.
    const double most = std::min(2 * reach + 2, static_cast<double>(length));
    weights.resize(
        std::min(n * static_cast<std::size_t>(most), 2 * n + static_cast<std::size_t>(length)));
    std::size_t at = 0;
    begin = length;
    end = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double centre = origin + (static_cast<double>(i) + 0.5) * step;
        const double low = centre - reach;
        const double high = centre + reach;
        // The edge pixels reach out to infinity. Far out, positions are too coarse to compute
        // with: what lies wholly in an edge pixel or beyond it is decided before.
        std::ptrdiff_t first = 0;
        std::ptrdiff_t last = 0;
        if (low >= edge) {
            first = last = length - 1;
        } else if (high > 1.0) {
            first = low <= 0.0 ? 0 : static_cast<std::ptrdiff_t>(low);
            last = high > edge ? length - 1 : static_cast<std::ptrdiff_t>(high);
            if (static_cast<double>(last) == high) --last;  // touched, not covered
        }
        spans[i] = {first, last - first + 1};
        offsets[i] = at;
        if (first == last) {
            weights[at++] = 1.0F;
        } else {
            weights[at++] = static_cast<float>((static_cast<double>(first + 1) - low) * share);
            for (std::ptrdiff_t k = first + 1; k < last; ++k) {
                weights[at++] = static_cast<float>(share);
            }
            weights[at++] = static_cast<float>((high - static_cast<double>(last)) * share);
        }
        begin = std::min(begin, first);
        end = std::max(end, last + 1);
    }
    weights.resize(at);
}

}  // namespace ferlite

#include "ferlite/nms.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "boxes.hpp"

namespace ferlite {

namespace {

// In double: the squares of float sides do not overflow. A negative side has no length.
double area(const Box& box) {
    return std::max(0.0, static_cast<double>(box.width)) *
           std::max(0.0, static_cast<double>(box.height));
}

double overlap(double a, double a_length, double b, double b_length) {
    return std::max(0.0, std::min(a + a_length, b + b_length) - std::max(a, b));
}

bool overlaps_more(const Box& a, const Box& b, double iou) {
    const double shared =
        overlap(a.x, a.width, b.x, b.width) * overlap(a.y, a.height, b.y, b.height);
    return shared > iou * (area(a) + area(b) - shared);
}

// Sorting by a NaN is undefined, and nothing overlaps an infinite box in a useful way.
void require_scores(std::span<const Box> boxes, std::span<const float> scores) {
    if (boxes.size() != scores.size()) {
        throw std::invalid_argument("there are " + std::to_string(scores.size()) + " scores for " +
                                    std::to_string(boxes.size()) + " boxes");
    }
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (std::isnan(scores[i])) {
            throw std::invalid_argument("scores[" + std::to_string(i) + "] is nan; give a number");
        }
    }
}

}  // namespace

std::size_t nms(std::span<const Box> boxes, std::span<const float> scores, double iou,
                std::span<std::int64_t> kept) {
    require_boxes(boxes, false);
    require_scores(boxes, scores);
    std::vector<std::int64_t> order(boxes.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [scores](std::int64_t a, std::int64_t b) {
        return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    std::size_t count = 0;
    for (const std::int64_t candidate : order) {
        if (count == kept.size()) break;
        const Box& box = boxes[static_cast<std::size_t>(candidate)];
        const auto taken = kept.first(count);
        const bool suppressed = std::any_of(taken.begin(), taken.end(), [&](std::int64_t other) {
            return overlaps_more(boxes[static_cast<std::size_t>(other)], box, iou);
        });
        if (!suppressed) kept[count++] = candidate;
    }
    return count;
}

}  // namespace ferlite

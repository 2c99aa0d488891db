#include "axis.hpp"

#include <limits>
#include <numeric>

#include "check.hpp"

namespace {

using ferlite::Axis;

// Every weight is a share, the shares of each output pixel make one, and no frame pixel is missed.
void check_sound(const Axis& axis, std::ptrdiff_t count, std::ptrdiff_t length) {
    CHECK(axis.spans.size() == static_cast<std::size_t>(count));
    CHECK(0 <= axis.begin && axis.begin < axis.end && axis.end <= length);
    std::size_t at = 0;
    for (std::size_t i = 0; i < axis.spans.size(); ++i) {
        const auto span = axis.spans[i];
        CHECK(axis.offsets[i] == at);
        CHECK(span.count >= 1 && span.first >= axis.begin && span.first + span.count <= axis.end);
        double sum = 0;
        for (std::ptrdiff_t k = 0; k < span.count; ++k, ++at) {
            CHECK(axis.weights[at] >= 0.0F);
            sum += static_cast<double>(axis.weights[at]);
        }
        CHECK_NEAR(sum, 1.0, 1e-4);
    }
    CHECK(at == axis.weights.size());
}

}  // namespace

TEST(axis_of_the_same_size_copies) {
    Axis axis;
    axis.assign(2.0, 1.0, 3, 10);
    check_sound(axis, 3, 10);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(axis.spans[i].first == static_cast<std::ptrdiff_t>(i) + 2);
        CHECK(axis.spans[i].count == 1);
    }
}

TEST(axis_shares_a_pixel_between_neighbours) {
    Axis axis;
    axis.assign(0.0, 1.5, 2, 3);
    check_sound(axis, 2, 3);
    CHECK_NEAR(axis.weights[0], 2.0 / 3, 1e-6);
    CHECK_NEAR(axis.weights[1], 1.0 / 3, 1e-6);
    CHECK_NEAR(axis.weights[2], 1.0 / 3, 1e-6);
}

TEST(axis_grows_by_interpolating_between_centres) {
    Axis axis;
    axis.assign(0.0, 0.5, 4, 2);
    check_sound(axis, 4, 2);
    // Centres 0.25, 0.75, 1.25, 1.75 between pixel centres 0.5 and 1.5.
    CHECK(axis.spans[0].count == 1 && axis.spans[0].first == 0);
    CHECK_NEAR(axis.weights[axis.offsets[1]], 0.75, 1e-6);
    CHECK_NEAR(axis.weights[axis.offsets[2]], 0.25, 1e-6);
}

TEST(axis_is_bounded_by_the_frame) {
    const double largest = std::numeric_limits<float>::max();
    for (const double origin : {-largest, -1e9, -3.0, 0.0, 0.5, 99.0, 100.0, 1e9, largest}) {
        for (const double step : {1e-45, 1e-3, 0.999, 1.0, 7.3, 100.0, 1e9, largest}) {
            for (const std::ptrdiff_t length : {1, 2, 100}) {
                Axis axis;
                axis.assign(origin, step, 48, length);
                check_sound(axis, 48, length);
                CHECK(axis.weights.size() <= static_cast<std::size_t>(length + 2 * 48));
            }
        }
    }
}

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "check.hpp"
#include "ferlite/decode.hpp"
#include "ferlite/nms.hpp"

namespace {

using namespace ferlite;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float largest = std::numeric_limits<float>::max();

}  // namespace

TEST(nms_keeps_the_best_of_each_pile) {
    const std::array boxes{Box{0, 0, 10, 10}, Box{1, 0, 10, 10}, Box{30, 30, 5, 5},
                           Box{30, 30, 5, 5}};
    const std::array scores{0.5F, 0.9F, 0.7F, 0.7F};
    std::array<std::int64_t, 4> kept{};
    CHECK(nms(boxes, scores, 0.5, kept) == 2);
    CHECK(kept[0] == 1 && kept[1] == 2);
    CHECK(nms(boxes, scores, 1.0, kept) == 4);
    CHECK(kept[1] == 2 && kept[2] == 3 && kept[3] == 0);
    CHECK(nms(boxes, scores, 0.5, std::span(kept).first(1)) == 1);
    CHECK(nms({}, {}, 0.5, {}) == 0);
}

TEST(nms_survives_boxes_without_area_and_without_bounds) {
    const std::array boxes{Box{0, 0, 0, 0}, Box{0, 0, 0, 0}, Box{-largest, -largest, largest, 1},
                           Box{5, 5, -3, -3}, Box{largest, largest, largest, largest}};
    const std::array scores{infinity, -infinity, largest, 0.0F, 1.0F};
    std::array<std::int64_t, 5> kept{};
    CHECK(nms(boxes, scores, 0.0, kept) == 5);
}

TEST(nms_refuses_what_cannot_be_sorted) {
    const std::array boxes{Box{0, 0, 1, 1}, Box{0, 0, 1, 1}};
    std::array<std::int64_t, 2> kept{};
    CHECK_INVALID(nms(boxes, std::array{1.0F, not_a_number}, 0.5, kept), "scores[1]");
    CHECK_INVALID(nms(boxes, std::array{1.0F}, 0.5, kept), "1 scores for 2 boxes");
    CHECK_INVALID(nms(std::array{Box{0, not_a_number, 1, 1}}, std::array{1.0F}, 0.5, kept),
                  "boxes[0]");
}

namespace {

// A map of channels [5 + 2 k][rows][columns], as a network answers it.
MapView view_of(const std::vector<float>& values, std::ptrdiff_t rows, std::ptrdiff_t columns,
                double cell) {
    const std::ptrdiff_t plane = rows * columns;
    const auto channels = static_cast<std::ptrdiff_t>(values.size()) / plane;
    return {values.data(), channels, rows, columns, plane, columns, 1, cell};
}

}  // namespace

TEST(decode_places_boxes_at_cell_centres) {
    std::vector<float> values(7 * 4, 0.0F);  // distances of one cell, landmarks on the centre
    values[1] = -1.0F;
    values[2] = not_a_number;
    values[4 + 3] = std::log(0.25F);  // left of cell (1, 1)
    values[6 * 4 + 3] = -2.0F;        // y of its landmark
    Candidates found;
    decode(view_of(values, 2, 2, 8.0), 0.5, {}, found);
    CHECK(found.boxes.size() == 2 && found.scores == std::vector<float>({0.5F, 0.5F}));
    CHECK(found.boxes[0].x == -4 && found.boxes[0].y == -4);
    CHECK(found.boxes[0].width == 16 && found.boxes[0].height == 16);
    CHECK_NEAR(found.boxes[1].x, 10, 1e-5);
    CHECK_NEAR(found.boxes[1].width, 10, 1e-5);
    CHECK(found.landmarks == std::vector<float>({4, 4, 12, -4}));
    decode(view_of(values, 2, 2, 8.0), 0.5, {0.5, 2.0, -6.0}, found);  // appends
    CHECK(found.boxes.size() == 4 && found.boxes[2].x == -12 && found.boxes[2].y == 4);
    CHECK(found.boxes[2].width == 32 && found.landmarks[6] == 20 && found.landmarks[7] == 4);
    Candidates none;
    decode(view_of(values, 2, 2, 8.0), 1.0, {}, none);
    decode(view_of(values, 2, 2, 8.0), not_a_number, {}, none);
    CHECK(none.boxes.empty() && none.landmarks.empty());
    decode(view_of(values, 2, 2, 8.0), 0.0, {}, none);
    CHECK(none.boxes.size() == 3);
}

TEST(decode_holds_distances_to_their_limit) {
    std::vector<float> values(5, 100.0F);
    Candidates found;
    decode(view_of(values, 1, 1, 2.0), 0.9, {}, found);
    CHECK_NEAR(found.boxes[0].width, 4 * std::exp(8.0), 1e-2);
    CHECK(found.scores[0] == 1.0F);
}

TEST(decode_passes_over_what_is_no_box) {
    for (const float value : {not_a_number, infinity, -infinity}) {
        for (std::size_t channel = 0; channel < 7; ++channel) {
            std::vector<float> values(7, 1.0F);
            values[channel] = value;
            Candidates found;
            decode(view_of(values, 1, 1, 16.0), 0.0, {}, found);
            CHECK(found.boxes.empty() && found.scores.empty() && found.landmarks.empty());
        }
    }
    Candidates found;
    const std::vector<float> thin{9.0F, -largest, 1.0F, -largest, 1.0F};
    decode(view_of(thin, 1, 1, 16.0), 0.5, {}, found);
    const std::vector<float> far{9.0F, 1.0F, 1.0F, 1.0F, 1.0F, largest, 0.0F};
    decode(view_of(far, 1, 1, 16.0), 0.5, {}, found);
    decode(view_of(std::vector<float>(5, 8.0F), 1, 1, 16.0), 0.5, {1e-38, 0.0, 0.0}, found);
    CHECK(found.boxes.empty() && found.landmarks.empty());
}

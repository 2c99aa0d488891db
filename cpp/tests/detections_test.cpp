#include <array>
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

TEST(decode_places_boxes_at_cell_centres) {
    const std::array scores{0.9F, 0.1F, not_a_number, 0.5F};
    std::vector<float> distances(16, 1.0F);
    std::vector<float> landmarks(8, 0.0F);
    distances[12] = 0.25F;  // left of cell (1, 1)
    landmarks[7] = -2.0F;   // its y
    const Level level{2,
                      2,
                      8.0,
                      {scores.data(), 1, 2, 1, 1},
                      {distances.data(), 4, 8, 4, 1},
                      {landmarks.data(), 2, 4, 2, 1}};
    std::array<Box, 4> boxes{};
    std::array<float, 4> found{};
    std::array<float, 8> points{};
    const Candidates out{boxes.data(), found.data(), points.data()};
    CHECK(decode(level, 0.5F, out) == 2);
    CHECK(boxes[0].x == -4 && boxes[0].y == -4 && boxes[0].width == 16 && boxes[0].height == 16);
    CHECK(boxes[1].x == 10 && boxes[1].width == 10);
    CHECK(found[0] == 0.9F && found[1] == 0.5F);
    CHECK(points[0] == 4 && points[1] == 4 && points[2] == 12 && points[3] == -4);
    CHECK(decode(level, not_a_number, out) == 0);
}

TEST(decode_passes_over_what_is_no_box) {
    const std::array bad{not_a_number, infinity, -infinity, largest, -largest, -5.0F};
    for (const float value : bad) {
        for (std::size_t side = 0; side < 4; ++side) {
            const float score = 1.0F;
            std::array distances{1.0F, 1.0F, 1.0F, 1.0F};
            distances[side] = value;
            const Level level{1,
                              1,
                              16.0,
                              {&score, 1, 0, 0, 0},
                              {distances.data(), 4, 0, 0, 1},
                              {nullptr, 0, 0, 0, 0}};
            Box box{};
            float found = 0;
            CHECK(decode(level, 0.5F, {&box, &found, nullptr}) == 0);
        }
    }
}

#include "ferlite/crop.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "check.hpp"
#include "picture.hpp"

namespace {

using namespace ferlite;
using namespace ferlite::tests;

constexpr float largest = std::numeric_limits<float>::max();
constexpr float smallest = std::numeric_limits<float>::denorm_min();
constexpr std::array colors{Color::bgr, Color::rgb, Color::gray};

template <class T>
void crop_one(const ImageView& image, const Box& box, double angle, const Format& format,
              const BatchView<T>& out) {
    const std::array boxes{box};
    const std::array angles{angle};
    crop_faces<T>(image, boxes, angles, format, out, 1);
}

}  // namespace

TEST(crop_of_the_same_size_is_the_frame) {
    for (const Color color : colors) {
        const Picture picture = noise(5, 7, color, 1);
        Output<std::uint8_t> out(1, 5, 7, color);
        crop_one(picture.view, {0, 0, 7, 5}, 0.0, {color}, out.view);
        CHECK(out.values == picture.bytes);
        // Turned by a whole circle less rounding: still the frame, interpolated.
        crop_one(picture.view, {0, 0, 7, 5}, 6.283185307179586, {color}, out.view);
        CHECK(out.values == picture.bytes);
    }
}

TEST(crop_shrinks_to_the_mean) {
    const Picture picture = noise(6, 9, Color::gray, 2);
    Output<float> out(1, 2, 3, Color::gray);
    crop_one(picture.view, {0, 0, 9, 6}, 0.0, {}, out.view);
    for (std::ptrdiff_t row = 0; row < 2; ++row) {
        for (std::ptrdiff_t column = 0; column < 3; ++column) {
            double sum = 0;
            for (std::ptrdiff_t y = 0; y < 3; ++y) {
                for (std::ptrdiff_t x = 0; x < 3; ++x) {
                    sum += *picture.view.at(3 * row + y, 3 * column + x);
                }
            }
            CHECK_NEAR(out.at(0, row, column), sum / 9, 1e-3);
        }
    }
}

TEST(crop_turned_by_half_a_circle_is_upside_down_and_mirrored) {
    const Picture picture = noise(8, 8, Color::rgb, 3);
    Output<float> straight(1, 8, 8, Color::rgb);
    Output<float> turned(1, 8, 8, Color::rgb);
    crop_one(picture.view, {0, 0, 8, 8}, 0.0, {Color::rgb}, straight.view);
    crop_one(picture.view, {0, 0, 8, 8}, 3.141592653589793, {Color::rgb}, turned.view);
    for (std::ptrdiff_t row = 0; row < 8; ++row) {
        for (std::ptrdiff_t column = 0; column < 8; ++column) {
            for (std::ptrdiff_t c = 0; c < 3; ++c) {
                CHECK_NEAR(turned.at(0, 7 - row, 7 - column, c), straight.at(0, row, column, c),
                           1e-2);
            }
        }
    }
}

TEST(crop_gray_is_bt601_whatever_the_order) {
    Picture picture(1, 1, Color::bgr);
    picture.bytes = {10, 100, 200};
    picture.view.data = picture.bytes.data();
    Output<float> out(1, 3, 3, Color::gray);
    for (const double angle : {0.0, 1.0}) {
        crop_one(picture.view, {0, 0, 1, 1}, angle, {Color::gray, 2.0F, -5.0F}, out.view);
        const double blue_first = 0.114 * 10 + 0.587 * 100 + 0.299 * 200;
        for (const float value : out.values) CHECK_NEAR(value, 2 * blue_first - 5, 1e-3);
        ImageView rgb = picture.view;
        rgb.color = Color::rgb;
        crop_one(rgb, {0, 0, 1, 1}, angle, {}, out.view);
        const double red_first = 0.299 * 10 + 0.587 * 100 + 0.114 * 200;
        for (const float value : out.values) CHECK_NEAR(value, red_first, 1e-3);
    }
}

TEST(crop_survives_hostile_boxes) {
    // Every combination of these for x, y, width, height, on frames in tight buffers.
    const std::array places{-largest, -1e9F, -2.5F, 0.0F, 3.0F, 1e9F, largest};
    const std::array sides{smallest, 0.3F, 5.0F, 1e9F, largest};
    for (const auto& [height, width] :
         {std::array<std::ptrdiff_t, 2>{1, 1}, {1, 6}, {5, 1}, {5, 6}}) {
        const Picture picture = noise(height, width, Color::bgr, 4);
        const auto [low, high] = std::minmax_element(picture.bytes.begin(), picture.bytes.end());
        Output<float> out(1, 3, 4, Color::bgr);
        for (const float x : places) {
            for (const float y : places) {
                for (const float w : sides) {
                    for (const float h : sides) {
                        for (const double angle : {0.0, 0.7, -1e300}) {
                            crop_one(picture.view, {x, y, w, h}, angle, {Color::bgr}, out.view);
                            for (const float value : out.values) {
                                CHECK(value >= static_cast<float>(*low) - 0.1F);
                                CHECK(value <= static_cast<float>(*high) + 0.1F);
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST(crop_reads_any_strides_and_writes_only_its_own) {
    std::mt19937 random(5);
    std::uniform_real_distribution<float> place(-20, 20);
    std::uniform_real_distribution<float> side(0.1F, 40);
    for (unsigned round = 0; round < 200; ++round) {
        const auto length = [&random](unsigned most) {
            return static_cast<std::ptrdiff_t>(1 + random() % most);
        };
        const Color color = colors[random() % 3];
        const Color wanted = colors[random() % 3];
        const Picture picture = noise(length(20), length(20), color, round);
        const unsigned flips = static_cast<unsigned>(random());
        const ImageView view = seen(picture.view, (flips & 1U) != 0, (flips & 2U) != 0,
                                    (flips & 4U) != 0, (flips & 8U) != 0);
        // The same pixels, packed, give the same crop.
        Picture packed(view.height, view.width, color);
        std::size_t at = 0;
        for (std::ptrdiff_t y = 0; y < view.height; ++y) {
            for (std::ptrdiff_t x = 0; x < view.width; ++x) {
                for (std::ptrdiff_t c = 0; c < view.channels; ++c) {
                    packed.bytes[at++] = view.at(y, x)[c * view.channel_stride];
                }
            }
        }
        const Box box{place(random), place(random), side(random), side(random)};
        const double angle = round % 2 == 0 ? 0.0 : static_cast<double>(place(random));
        const std::ptrdiff_t height = length(12);
        const std::ptrdiff_t width = length(12);
        Output<float> first(1, height, width, wanted);
        Output<float> second(1, height, width, wanted);
        crop_one(view, box, angle, {wanted}, first.view);
        crop_one(packed.view, box, angle, {wanted}, second.view);
        for (std::size_t i = 0; i < first.values.size(); ++i) {
            CHECK_NEAR(first.values[i], second.values[i], 1e-3);
        }
        // Planes instead of interleaved channels: the view alone decides.
        Output<float> planes(1, height, width, wanted);
        BatchView<float> by_plane = planes.view;
        by_plane.first.row_stride = width;
        by_plane.first.column_stride = 1;
        by_plane.first.channel_stride = height * width;
        crop_one(view, box, angle, {wanted}, by_plane);
        const std::ptrdiff_t channels = wanted == Color::gray ? 1 : 3;
        for (std::ptrdiff_t i = 0; i < height * width; ++i) {
            for (std::ptrdiff_t c = 0; c < channels; ++c) {
                CHECK(planes.values[static_cast<std::size_t>(c * height * width + i)] ==
                      first.values[static_cast<std::size_t>(i * channels + c)]);
            }
        }
    }
}

TEST(crop_rounds_bytes_and_holds_them_to_their_range) {
    Picture picture(1, 2, Color::gray);
    picture.bytes = {10, 251};
    picture.view.data = picture.bytes.data();
    Output<std::uint8_t> out(1, 1, 2, Color::gray);
    crop_one(picture.view, {0, 0, 2, 1}, 0.0, {Color::gray, 2.0F, -20.6F}, out.view);
    CHECK(out.values[0] == 0 && out.values[1] == 255);
    crop_one(picture.view, {0, 0, 2, 1}, 0.0, {Color::gray, 1.0F, 0.6F}, out.view);
    CHECK(out.values[0] == 11 && out.values[1] == 252);
    crop_one(picture.view, {0, 0, 2, 1}, 0.0, {Color::gray, largest, -largest}, out.view);
    CHECK(out.values[0] == 255 && out.values[1] == 255);
}

TEST(crop_does_not_depend_on_threads) {
    const Picture picture = noise(600, 800, Color::bgr, 6);  // large enough for many threads
    std::mt19937 random(7);
    std::uniform_real_distribution<float> place(-400, 800);
    std::vector<Box> boxes;
    std::vector<double> angles;
    for (int i = 0; i < 50; ++i) {
        boxes.push_back({place(random), place(random), 500 + place(random), 500 + place(random)});
        angles.push_back(i % 3 == 0 ? 0.0 : static_cast<double>(place(random)));
    }
    Output<float> alone(50, 12, 16, Color::gray);
    crop_faces(picture.view, boxes, angles, {}, alone.view, 1);
    for (const int threads : {2, 7, 1000}) {
        Output<float> together(50, 12, 16, Color::gray);
        crop_faces(picture.view, boxes, angles, {}, together.view, threads);
        CHECK(together.values == alone.values);
    }
    crop_faces(picture.view, {}, {}, {}, alone.view, 4);
}

TEST(crop_names_what_is_wrong) {
    const Picture picture = noise(4, 4, Color::gray, 8);
    Output<float> out(2, 2, 2, Color::gray);
    const float not_a_number = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    const std::array good{Box{0, 0, 1, 1}, Box{0, 0, 1, 1}};
    for (const Box& bad :
         {Box{not_a_number, 0, 1, 1}, Box{0, -infinity, 1, 1}, Box{0, 0, infinity, 1},
          Box{0, 0, 1, not_a_number}, Box{0, 0, 0, 1}, Box{0, 0, 1, -2}}) {
        const std::array boxes{good[0], bad};
        CHECK_INVALID(crop_faces(picture.view, boxes, {}, {}, out.view, 1), "boxes[1] is (");
    }
    const std::array bad_angles{0.0, std::numeric_limits<double>::quiet_NaN()};
    CHECK_INVALID(crop_faces(picture.view, good, bad_angles, {}, out.view, 1), "angles[1] is nan");
    const std::array one_angle{0.0};
    CHECK_INVALID(crop_faces(picture.view, good, one_angle, {}, out.view, 1),
                  "1 angles for 2 boxes");
    ImageView empty = picture.view;
    empty.width = 0;
    CHECK_INVALID(crop_faces(empty, good, {}, {}, out.view, 1), "0x4 pixels");
}

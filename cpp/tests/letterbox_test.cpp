#include "ferlite/letterbox.hpp"

#include <array>

#include "check.hpp"
#include "picture.hpp"

namespace {

using namespace ferlite;
using namespace ferlite::tests;

}  // namespace

TEST(letterbox_keeps_the_aspect) {
    const Placement wide = place(1920, 1080, 640, 640, true);
    CHECK_NEAR(wide.scale, 1.0 / 3, 1e-12);
    CHECK(wide.x == 0 && wide.y == 140 && wide.width == 640 && wide.height == 360);
    const Placement tall = place(1, 100000, 64, 32, true);
    CHECK(tall.width == 1 && tall.height == 32 && tall.x == 31 && tall.y == 0);
    const Placement exact = place(5, 7, 5, 7, true);
    CHECK(exact.scale == 1.0 && exact.width == 5 && exact.height == 7);
    const Placement small = place(5, 7, 32, 64, false);
    CHECK(small.scale == 1.0 && small.width == 5 && small.height == 7);
    CHECK(small.x == 13 && small.y == 28);
    CHECK(place(64, 7, 32, 64, false).scale == 0.5);
}

TEST(letterbox_fills_every_pixel_once) {
    for (const auto& [height, width] :
         {std::array<std::ptrdiff_t, 2>{1, 1}, {1, 9}, {50, 3}, {7, 7}, {31, 64}}) {
        Picture picture(height, width, Color::bgr);
        for (auto& byte : picture.bytes) byte = 200;
        for (const Color color : {Color::gray, Color::rgb}) {
            Output<std::uint8_t> out(1, 20, 24, color);
            const Placement placed = letterbox(picture.view, {color}, 50.4F, true, out.view[0], 1);
            const std::ptrdiff_t channels = color == Color::gray ? 1 : 3;
            for (std::ptrdiff_t at = 0; at < 20 * 24 * channels; ++at) {
                const std::ptrdiff_t row = at / channels / 24;
                const std::ptrdiff_t column = at / channels % 24;
                const bool inside = row >= placed.y && row < placed.y + placed.height &&
                                    column >= placed.x && column < placed.x + placed.width;
                CHECK(out.at(0, row, column, at % channels) == (inside ? 200 : 50));
            }
        }
    }
}

TEST(letterbox_does_not_depend_on_threads) {
    const Picture picture = noise(700, 900, Color::bgr, 9);  // large enough for some threads
    Output<float> alone(1, 100, 200, Color::gray);
    letterbox(picture.view, {}, 0.0F, true, alone.view[0], 1);
    for (const int threads : {2, 3, 99}) {
        Output<float> together(1, 100, 200, Color::gray);
        letterbox(picture.view, {}, 0.0F, true, together.view[0], threads);
        CHECK(together.values == alone.values);
    }
}

TEST(letterbox_normalises_frame_and_padding_alike) {
    Picture picture(2, 4, Color::gray);
    for (auto& byte : picture.bytes) byte = 100;
    Output<float> out(1, 4, 4, Color::rgb);
    letterbox(picture.view, {Color::rgb, 0.5F, -1.0F}, 20.0F, true, out.view[0], 2);
    for (std::ptrdiff_t c = 0; c < 3; ++c) {
        CHECK_NEAR(out.at(0, 0, 0, c), 9.0, 1e-5);
        CHECK_NEAR(out.at(0, 1, 3, c), 49.0, 1e-4);
        CHECK_NEAR(out.at(0, 3, 2, c), 9.0, 1e-5);
    }
}

TEST(letterbox_refuses_an_empty_frame) {
    const Picture picture = noise(4, 4, Color::gray, 1);
    Output<float> out(1, 4, 4, Color::gray);
    ImageView empty = picture.view;
    empty.height = 0;
    CHECK_INVALID(letterbox(empty, {}, 0.0F, true, out.view[0], 1), "4x0 pixels");
}

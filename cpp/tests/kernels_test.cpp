#include "kernels/kernels.hpp"

#include <array>

#include "check.hpp"
#include "ferlite/cpu.hpp"
#include "ferlite/crop.hpp"
#include "ferlite/decode.hpp"
#include "ferlite/letterbox.hpp"
#include "picture.hpp"

namespace {

using namespace ferlite;
using namespace ferlite::tests;

// What `compute` returns with the plain kernels and with those under test.
template <class Compute>
auto plain_and_active(const Compute& compute) {
    const std::string active = instruction_set();
    use_instruction_set("plain");
    const auto plain = compute();
    use_instruction_set(active);
    return std::pair(plain, compute());
}

}  // namespace

TEST(kernels_agree_with_their_plain_twin) {
    std::mt19937 random(11);
    std::uniform_real_distribution<float> place(-150, 200);
    std::uniform_real_distribution<float> side(0.5F, 300);
    for (unsigned round = 0; round < 60; ++round) {
        // Every remainder of a vector's lanes, for the frame and for the crop.
        const auto width = static_cast<std::ptrdiff_t>(1 + round * 3);
        const Color color = round % 3 == 0 ? Color::gray : Color::bgr;
        const Picture picture = noise(150, width, color, round);
        const std::array boxes{Box{place(random), place(random), side(random), side(random)},
                               Box{0, 0, static_cast<float>(width), 150}};
        const std::array angles{round % 2 == 0 ? 0.0 : 0.01 * static_cast<double>(round), 0.0};
        for (const Color wanted : {Color::gray, Color::bgr, Color::rgb}) {
            const auto crop = [&]<class T>(T) {
                Output<T> out(2, 9, 1 + static_cast<std::ptrdiff_t>(round), wanted);
                crop_faces<T>(picture.view, boxes, angles, {wanted, 1.5F, -20.0F}, out.view, 1);
                return out.values;
            };
            const auto [plain, active] = plain_and_active([&] { return crop(0.0F); });
            // Shares of 16 bits mix gray to 0.0015 of a level, times the scale.
            for (std::size_t i = 0; i < plain.size(); ++i) CHECK_NEAR(active[i], plain[i], 3e-3);
            const auto [levels, same] = plain_and_active([&] { return crop(std::uint8_t{0}); });
            for (std::size_t i = 0; i < levels.size(); ++i) {
                CHECK(std::abs(int{same[i]} - int{levels[i]}) <= 1);  // where a half is rounded
            }
        }
    }
}

TEST(kernels_join_planes_as_their_plain_twin) {
    const YuvMatrix matrix{16, 1.164F, 2.017F, -0.392F, -0.813F, 1.596F};
    for (const std::ptrdiff_t width : {1, 2, 15, 16, 33, 255, 256, 257, 700}) {
        const Picture y = noise(3, width, Color::gray, 1);
        const Picture u = noise(3, width, Color::gray, 2);
        const Picture v = noise(3, width, Color::gray, 3);
        const Planes planes{y.view, u.view, v.view, matrix};
        const auto join = [&](Color color) {
            Output<std::uint8_t> out(1, 3, width, color);
            letterbox(planes, {color}, 0.0F, false, out.view[0], 1);
            return out.values;
        };
        const auto [plain, active] = plain_and_active([&] { return join(Color::bgr); });
        const std::vector<std::uint8_t> swapped = join(Color::rgb);
        for (std::size_t i = 0; i < plain.size(); ++i) {
            CHECK(std::abs(int{active[i]} - int{plain[i]}) <= 1);  // where a half is rounded
            CHECK(std::abs(int{swapped[i - i % 3 + 2 - i % 3]} - int{active[i]}) <= 1);
        }
    }
}

TEST(kernels_find_the_first_value) {
    const kernels::Table& kernel = kernels::active();
    for (const std::ptrdiff_t n : {0, 1, 15, 64, 65, 200}) {
        std::vector<float> values(static_cast<std::size_t>(n), -1.0F);
        CHECK(kernel.find_at_least(values.data(), 0, n, 0.0F) == n);
        for (std::ptrdiff_t at = 0; at < n; ++at) {
            values[static_cast<std::size_t>(at)] = 0.0F;
            for (std::ptrdiff_t from = 0; from <= n; ++from) {
                CHECK(kernel.find_at_least(values.data(), from, n, 0.0F) == (from <= at ? at : n));
            }
            values[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
        }
    }
}

TEST(instruction_sets_are_named) {
    CHECK(instruction_sets().front() == "plain");
    CHECK_INVALID(use_instruction_set("mmx"), "'mmx', which is no instruction set");
#if defined(__x86_64__)
    CHECK_INVALID(use_instruction_set("neon"), "lacks; it has plain, sse2");
#else
    CHECK_INVALID(use_instruction_set("avx2"), "lacks; it has plain");
#endif
}

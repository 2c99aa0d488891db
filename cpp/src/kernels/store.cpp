#include <algorithm>

#include "kernels/kernels.hpp"

namespace ferlite::kernels {

void store(const float* line, std::ptrdiff_t channels, std::ptrdiff_t n, float scale, float offset,
           float* out, std::ptrdiff_t stride) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i * stride] = line[i * channels] * scale + offset;
}

void store(const float* line, std::ptrdiff_t channels, std::ptrdiff_t n, float scale, float offset,
           std::uint8_t* out, std::ptrdiff_t stride) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const float level = std::clamp(line[i * channels] * scale + offset, 0.0F, 255.0F);
        out[i * stride] = static_cast<std::uint8_t>(static_cast<int>(level + 0.5F));
    }
}

}  // namespace ferlite::kernels

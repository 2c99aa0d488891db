#include "ferlite/planes.hpp"

#include <cmath>
#include <stdexcept>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

void require(bool holds, const char* otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
}

}  // namespace

void join_planes(const ImageView& y, const ImageView& u, const ImageView& v,
                 const YuvMatrix& matrix, const PixelsView<std::uint8_t>& out) {
    for (const ImageView* plane : {&y, &u, &v}) {
        require(plane->channels == 1 && plane->height == out.height && plane->width == out.width,
                "the planes and the picture differ in size");
        require(plane->column_stride == 1, "the pixels of a plane's row must follow one another");
    }
    require(out.column_stride == 3 && out.channel_stride == 1,
            "the pixels of a picture's row must follow one another");
    for (const float share :
         {matrix.y_gain, matrix.u_blue, matrix.u_green, matrix.v_green, matrix.v_red}) {
        require(std::abs(share) <= 4, "the matrix is out of range");
    }
    require(matrix.black >= 0 && matrix.black <= 255, "the level of black is not in 0..255");
    const kernels::Table& kernel = kernels::active();
    for (std::ptrdiff_t row = 0; row < out.height; ++row) {
        kernel.join_planes(y.at(row, 0), u.at(row, 0), v.at(row, 0), out.width, matrix,
                           out.data + row * out.row_stride);
    }
}

}  // namespace ferlite

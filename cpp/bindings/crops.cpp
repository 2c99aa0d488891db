#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "arrays.hpp"
#include "ferlite/cpu.hpp"
#include "ferlite/crop.hpp"
#include "ferlite/letterbox.hpp"
#include "ferlite/planes.hpp"
#include "register.hpp"

namespace ferlite::bindings {

namespace py = pybind11;

namespace {

void require_threads(int threads) {
    if (threads < 1) {
        throw std::invalid_argument("threads is " + std::to_string(threads) +
                                    "; it must be at least 1");
    }
}

float finite(const char* name, float value) {
    if (!std::isfinite(value)) {
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) +
                                    "; it must be finite");
    }
    return value;
}

Format format_of(const std::string& color, float scale, float offset) {
    return {color_named(color), finite("scale", scale), finite("offset", offset)};
}

template <class T, class Picture>
void crop(const Picture& picture, const Array<float>& boxes, const Array<double>& angles,
          const Array<T>& out, const Format& format, int threads) {
    require_threads(threads);
    const std::vector<Box> where = boxes_of(boxes);
    crop_faces(picture, where, values_of(angles, "angles"), format,
               batch_view(out, std::ssize(where), format.color), threads);
}

using Placed = std::tuple<double, std::ptrdiff_t, std::ptrdiff_t>;

template <class T, class Picture>
Placed place(const Picture& picture, const Array<T>& out, const Format& format, float padding,
             bool enlarge, int threads) {
    require_threads(threads);
    const Placement placement = letterbox(picture, format, finite("padding", padding), enlarge,
                                          batch_view(out, 1, format.color)[0], threads);
    return {placement.scale, placement.x, placement.y};
}

template <class T>
void crop_into(const Array<std::uint8_t>& image, const Array<float>& boxes,
               const Array<double>& angles, const Array<T>& out, const std::string& image_color,
               const std::string& color, float scale, float offset, int threads) {
    crop(image_view(image, image_color), boxes, angles, out, format_of(color, scale, offset),
         threads);
}

template <class T>
Placed letterbox_into(const Array<std::uint8_t>& image, const Array<T>& out,
                      const std::string& image_color, const std::string& color, float scale,
                      float offset, float padding, bool enlarge, int threads) {
    return place(image_view(image, image_color), out, format_of(color, scale, offset), padding,
                 enlarge, threads);
}

// The fields of ferlite.planes.Planes come one by one: a tuple of arrays would be taken apart, and
// references counted, without the GIL.
using Levels = Array<std::uint8_t>;
using Matrix = std::array<float, 6>;

Planes planes_view(const Levels& y, const Levels& u, const Levels& v, const Matrix& matrix) {
    const auto [black, y_gain, u_blue, u_green, v_green, v_red] = matrix;
    return {image_view(y, "gray"),
            image_view(u, "gray"),
            image_view(v, "gray"),
            {black, y_gain, u_blue, u_green, v_green, v_red}};
}

template <class T>
void crop_planes_into(const Levels& y, const Levels& u, const Levels& v, const Matrix& matrix,
                      const Array<float>& boxes, const Array<double>& angles, const Array<T>& out,
                      const std::string& color, float scale, float offset, int threads) {
    crop(planes_view(y, u, v, matrix), boxes, angles, out, format_of(color, scale, offset),
         threads);
}

template <class T>
Placed letterbox_planes_into(const Levels& y, const Levels& u, const Levels& v,
                             const Matrix& matrix, const Array<T>& out, const std::string& color,
                             float scale, float offset, float padding, bool enlarge, int threads) {
    return place(planes_view(y, u, v, matrix), out, format_of(color, scale, offset), padding,
                 enlarge, threads);
}

// The GIL is released for the whole of each call: see arrays.hpp.
template <class T>
void register_for(py::module_& module) {
    module.def("crop_faces", &crop_into<T>, py::arg("image").noconvert(),
               py::arg("boxes").noconvert(), py::arg("angles").noconvert(),
               py::arg("out").noconvert(), py::arg("image_color"), py::arg("color"),
               py::arg("scale"), py::arg("offset"), py::arg("threads"),
               py::call_guard<py::gil_scoped_release>());
    module.def("crop_planes", &crop_planes_into<T>, py::arg("y").noconvert(),
               py::arg("u").noconvert(), py::arg("v").noconvert(), py::arg("matrix"),
               py::arg("boxes").noconvert(), py::arg("angles").noconvert(),
               py::arg("out").noconvert(), py::arg("color"), py::arg("scale"), py::arg("offset"),
               py::arg("threads"), py::call_guard<py::gil_scoped_release>());
    module.def("letterbox_planes", &letterbox_planes_into<T>, py::arg("y").noconvert(),
               py::arg("u").noconvert(), py::arg("v").noconvert(), py::arg("matrix"),
               py::arg("out").noconvert(), py::arg("color"), py::arg("scale"), py::arg("offset"),
               py::arg("padding"), py::arg("enlarge"), py::arg("threads"),
               py::call_guard<py::gil_scoped_release>());
    module.def("letterbox", &letterbox_into<T>, py::arg("image").noconvert(),
               py::arg("out").noconvert(), py::arg("image_color"), py::arg("color"),
               py::arg("scale"), py::arg("offset"), py::arg("padding"), py::arg("enlarge"),
               py::arg("threads"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void register_crops(py::module_& module) {
    register_for<float>(module);
    register_for<std::uint8_t>(module);
    module.attr("LARGEST_SIDE") = largest_side;
    module.def("instruction_sets", &instruction_sets);
    module.def("instruction_set", &instruction_set);
    module.def("use_instruction_set", &use_instruction_set, py::arg("name"));
}

}  // namespace ferlite::bindings

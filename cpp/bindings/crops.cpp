#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <tuple>

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

template <class T>
void crop_into(const Array<std::uint8_t>& image, const Array<float>& boxes,
               const Array<double>& angles, const Array<T>& out, const std::string& image_color,
               const std::string& color, float scale, float offset, int threads) {
    require_threads(threads);
    const Format format{color_named(color), scale, offset};
    const auto box_span = boxes_span(boxes);
    crop_faces(image_view(image, image_color), box_span, vector_span(angles, "angles"), format,
               batch_view(out, boxes.shape(0), format.color), threads);
}

template <class T>
std::tuple<double, std::ptrdiff_t, std::ptrdiff_t> letterbox_into(
    const Array<std::uint8_t>& image, const Array<T>& out, const std::string& image_color,
    const std::string& color, float scale, float offset, float padding, bool enlarge, int threads) {
    require_threads(threads);
    const Format format{color_named(color), scale, offset};
    const Placement placement = letterbox(image_view(image, image_color), format, padding, enlarge,
                                          batch_view(out, 1, format.color)[0], threads);
    return {placement.scale, placement.x, placement.y};
}

void join_into(const Array<std::uint8_t>& y, const Array<std::uint8_t>& u,
               const Array<std::uint8_t>& v, const std::array<float, 6>& matrix,
               const Array<std::uint8_t>& out) {
    const auto [black, y_gain, u_blue, u_green, v_green, v_red] = matrix;
    join_planes(image_view(y, "gray"), image_view(u, "gray"), image_view(v, "gray"),
                {black, y_gain, u_blue, u_green, v_green, v_red},
                batch_view(out, 1, Color::bgr)[0]);
}

std::tuple<double, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t> placed(
    std::ptrdiff_t width, std::ptrdiff_t height, std::ptrdiff_t canvas_width,
    std::ptrdiff_t canvas_height, bool enlarge) {
    if (std::min({width, height, canvas_width, canvas_height}) < 1) {
        throw std::invalid_argument("a side is under 1");
    }
    const Placement at = place(width, height, canvas_width, canvas_height, enlarge);
    return {at.scale, at.x, at.y, at.width, at.height};
}

// The GIL is released for the whole of each call: see arrays.hpp.
template <class T>
void register_for(py::module_& module) {
    module.def("crop_faces", &crop_into<T>, py::arg("image").noconvert(),
               py::arg("boxes").noconvert(), py::arg("angles").noconvert(),
               py::arg("out").noconvert(), py::arg("image_color"), py::arg("color"),
               py::arg("scale"), py::arg("offset"), py::arg("threads"),
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
    module.def("join_planes", &join_into, py::arg("y").noconvert(), py::arg("u").noconvert(),
               py::arg("v").noconvert(), py::arg("matrix"), py::arg("out").noconvert(),
               py::call_guard<py::gil_scoped_release>());
    module.def("place", &placed, py::arg("width"), py::arg("height"), py::arg("canvas_width"),
               py::arg("canvas_height"), py::arg("enlarge"));
    module.attr("LARGEST_SIDE") = largest_side;
    module.def("instruction_sets", &instruction_sets);
    module.def("instruction_set", &instruction_set);
    module.def("use_instruction_set", &use_instruction_set, py::arg("name"));
}

}  // namespace ferlite::bindings

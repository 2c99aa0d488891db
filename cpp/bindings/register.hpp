#pragma once

#include <pybind11/pybind11.h>

namespace ferlite::bindings {

void register_crops(pybind11::module_& module);
void register_detections(pybind11::module_& module);

}  // namespace ferlite::bindings

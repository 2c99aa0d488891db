#include "register.hpp"

// The only state is which kernels run, an atomic pointer: a free-threaded interpreter needs no
// lock.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    module.doc() = "C++ core of ferlite; call it through ferlite.crops, which checks arguments.";
    ferlite::bindings::register_crops(module);
    ferlite::bindings::register_detections(module);
}

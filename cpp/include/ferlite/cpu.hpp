#pragma once

#include <string>
#include <vector>

namespace ferlite {

// Names of the instruction sets that the kernels were compiled for and that this machine runs,
// from "plain" (one value at a time, the reference of the others) to the fastest.
std::vector<std::string> instruction_sets();

// The one in use: the fastest, unless the environment variable FERLITE_FORCE_ISA names another.
// Throws std::invalid_argument where that is unknown or does not run here.
std::string instruction_set();

// Another one from now on, in all threads: for tests and measurements. Throws as above.
void use_instruction_set(const std::string& name);

}  // namespace ferlite

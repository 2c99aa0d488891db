#include "ferlite/cpu.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "kernels/kernels.hpp"

namespace ferlite {

namespace {

using kernels::Table;

constexpr std::array known{"plain", "sse2", "avx2", "avx512", "neon"};

std::vector<const Table*> runnable() {
    std::vector<const Table*> tables{&kernels::plain};
#if defined(__x86_64__)
    // These ask the operating system too, which must save the wider registers.
    tables.push_back(&kernels::sse2);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        tables.push_back(&kernels::avx2);
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            tables.push_back(&kernels::avx512);
        }
    }
#elif defined(__aarch64__)
    tables.push_back(&kernels::neon);
#endif
    return tables;
}

std::string listed() {
    std::string text;
    for (const Table* table : runnable())
        text += (text.empty() ? "" : ", ") + std::string(table->name);
    return text;
}

// `what` is where the name comes from.
const Table& named(const std::string& name, const std::string& what) {
    for (const Table* table : runnable()) {
        if (name == table->name) return *table;
    }
    const bool exists = std::find(known.begin(), known.end(), name) != known.end();
    throw std::invalid_argument(what + " is '" + name + "', which " +
                                (exists ? "this machine or build lacks; it has "
                                        : "is no instruction set; this machine has ") +
                                listed());
}

const Table& chosen_at_start() {
    const char* forced = std::getenv("FERLITE_FORCE_ISA");
    if (forced != nullptr && *forced != '\0') return named(forced, "FERLITE_FORCE_ISA");
    return *runnable().back();
}

std::atomic<const Table*> in_use{nullptr};

}  // namespace

const Table& kernels::active() {
    const Table* table = in_use.load(std::memory_order_relaxed);
    if (table == nullptr) {
        table = &chosen_at_start();
        in_use.store(table, std::memory_order_relaxed);
    }
    return *table;
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Table* table : runnable()) names.emplace_back(table->name);
    return names;
}

std::string instruction_set() { return kernels::active().name; }

void use_instruction_set(const std::string& name) { in_use.store(&named(name, "instruction set")); }

}  // namespace ferlite

#include <exception>

#include "check.hpp"
#include "ferlite/cpu.hpp"

// Every test with every instruction set that this machine has.
int main() {
    int failures = 0;
    std::size_t count = 0;
    for (const std::string& set : ferlite::instruction_sets()) {
        ferlite::use_instruction_set(set);
        for (const auto& test : ferlite::tests::all_tests()) {
            ++count;
            try {
                test.body();
                std::cout << "ok      " << set << " " << test.name << "\n";
            } catch (const std::exception& error) {
                std::cout << "FAILED  " << set << " " << test.name << ": " << error.what() << "\n";
                ++failures;
            }
        }
    }
    std::cout << count << " tests, " << failures << " failed\n";
    return failures == 0 ? 0 : 1;
}

#include <exception>

#include "check.hpp"

int main() {
    int failures = 0;
    for (const auto& test : ferlite::tests::all_tests()) {
        try {
            test.body();
            std::cout << "ok      " << test.name << "\n";
        } catch (const std::exception& error) {
            std::cout << "FAILED  " << test.name << ": " << error.what() << "\n";
            ++failures;
        }
    }
    std::cout << ferlite::tests::all_tests().size() << " tests, " << failures << " failed\n";
    return failures == 0 ? 0 : 1;
}

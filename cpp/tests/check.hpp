#pragma once

#include <cmath>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// As much of a test framework as these tests need: a test is a function that throws.
namespace ferlite::tests {

struct Test {
    std::string name;
    std::function<void()> body;
};

inline std::vector<Test>& all_tests() {
    static std::vector<Test> tests;
    return tests;
}

struct Registration {
    Registration(std::string name, std::function<void()> body) {
        all_tests().push_back({std::move(name), std::move(body)});
    }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
    std::ostringstream message;
    message << file << ":" << line << ": " << what;
    throw std::runtime_error(message.str());
}

}  // namespace ferlite::tests

#define TEST(name)                                                              \
    static void name();                                                         \
    static const ferlite::tests::Registration name##_registration(#name, name); \
    static void name()

#define CHECK(condition) \
    if (!(condition)) ferlite::tests::fail(__FILE__, __LINE__, #condition)

#define CHECK_NEAR(actual, wanted, tolerance)                             \
    do {                                                                  \
        const double actual_ = static_cast<double>(actual);               \
        const double wanted_ = static_cast<double>(wanted);               \
        if (!(std::abs(actual_ - wanted_) <= (tolerance))) {              \
            std::ostringstream text_;                                     \
            text_ << #actual << " is " << actual_ << ", not " << wanted_; \
            ferlite::tests::fail(__FILE__, __LINE__, text_.str());        \
        }                                                                 \
    } while (false)

// The statement throws std::invalid_argument with `part` in its message.
#define CHECK_INVALID(statement, part)                                            \
    do {                                                                          \
        std::string message_ = "nothing thrown";                                  \
        try {                                                                     \
            statement;                                                            \
        } catch (const std::invalid_argument& error) {                            \
            message_ = error.what();                                              \
        }                                                                         \
        if (message_.find(part) == std::string::npos) {                           \
            ferlite::tests::fail(__FILE__, __LINE__, #statement ": " + message_); \
        }                                                                         \
    } while (false)

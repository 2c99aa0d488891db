#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace ferlite {

// Starting a thread takes some 20 microseconds, in which one that runs resamples about this many
// bytes of a frame, upright, or 4 times fewer, turned.
inline constexpr double bytes_worth_a_thread = 5e5;

inline int useful_threads(double bytes, int threads) {
    return static_cast<int>(
        std::clamp(bytes / bytes_worth_a_thread, 1.0, static_cast<double>(threads)));
}

// A calling thread's working memory, of one kind, of up to so many bytes waits for its next call.
inline constexpr std::size_t bytes_kept = 4 << 20;

template <class Scratch>
Scratch& kept_scratch() {
    static thread_local Scratch scratch;
    return scratch;
}

// Calls work(i, scratch) once for every i in [0, count), on up to `threads` threads of which the
// caller is one. Each thread has its own Scratch. The first exception is thrown again here, after
// all threads have ended. No work calls this again with the same kind of Scratch.
template <class Scratch, class Work>
void parallel_for(std::ptrdiff_t count, int threads, const Work& work) {
    Scratch& kept = kept_scratch<Scratch>();
    std::atomic<std::ptrdiff_t> next{0};
    std::exception_ptr error;
    std::mutex error_mutex;
    const auto run = [&](Scratch& scratch) {
        try {
            for (std::ptrdiff_t i = next++; i < count; i = next++) work(i, scratch);
        } catch (...) {
            next = count;
            const std::lock_guard lock(error_mutex);
            if (!error) error = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> helpers;
        const std::ptrdiff_t wanted = std::min<std::ptrdiff_t>(threads, count) - 1;
        try {
            for (std::ptrdiff_t i = 0; i < wanted; ++i) {
                helpers.emplace_back([&run] {
                    Scratch own;
                    run(own);
                });
            }
        } catch (const std::system_error&) {
            // The system grants no more threads: those that run do the work.
        }
        run(kept);
    }
    if (kept.bytes() > bytes_kept) kept = Scratch{};
    if (error) std::rethrow_exception(error);
}

}  // namespace ferlite

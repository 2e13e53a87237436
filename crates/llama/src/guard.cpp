// Calls into llama.cpp that may throw. Rust cannot catch what C++ throws, so it is caught here.

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>

// Runs `call` with `argument`. Returns whether it returned; if it threw instead, `what` has the reason, cut to `n` bytes
// with the NUL at the end.
extern "C" bool assay_caught(void (*call)(void *), void * argument, char * what, size_t n) noexcept {
    try {
        call(argument);
        return true;
    } catch (const std::exception & error) {
        int status = 0;
        char * type = abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status);
        std::snprintf(what, n, "%s: %s", status == 0 ? type : typeid(error).name(), error.what());
        std::free(type);
    } catch (...) {
        std::snprintf(what, n, "something that is not a std::exception");
    }
    return false;
}

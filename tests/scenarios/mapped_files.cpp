// SPDX-License-Identifier: LGPL-2.1-or-later
// More mapped files than a process has descriptors, as an editor with hundreds of libraries has them.
#include "scenario.h"

#include <sys/mman.h>
#include <vector>

using namespace scenario;

namespace {

constexpr int files = 300;

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    std::vector<const char *> places;
    for (int i = 0; i < files; ++i) {
        const std::string name = path("file" + std::to_string(i));
        write_file(name, "this is " + std::to_string(i));
        const int fd = SYS(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
        places.push_back(static_cast<const char *>(SYS(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0))));
        SYS(::close(fd));
    }
    ready();
    wait();
    for (int i = 0; i < files; ++i)
        EQUAL("this is " + std::to_string(i), std::string(places[static_cast<size_t>(i)]));
    pass();
}

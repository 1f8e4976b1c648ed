// SPDX-License-Identifier: LGPL-2.1-or-later
//
// teller FILE: counts, and tells with each number which version of its library it sees, each time in another page of
// it.
#include <cstdio>
#include <ctime>

extern "C" int greeting_version(unsigned page);

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    for (unsigned number = 1;; number++) {
        std::FILE *file = std::fopen(arguments[1], "a");
        if (file == nullptr)
            return 1;
        std::fprintf(file, "%u %d\n", number, greeting_version(number));
        std::fclose(file);
        const struct timespec pause = {0, 50'000'000};
        ::nanosleep(&pause, nullptr);
    }
}

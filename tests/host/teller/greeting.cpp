// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A library as a package brings it: a megabyte that is never written, and all of which says which version it is.
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

asm(".section .rodata\n"
    ".globl greeting_table\n"
    ".type greeting_table, @object\n"
    ".size greeting_table, 1048576\n"
    "greeting_table: .fill 1048576, 1, " TEXT(VERSION) "\n"
                                                       ".text\n");

extern "C" const unsigned char greeting_table[1048576];

extern "C" [[gnu::visibility("default")]] int greeting_version(unsigned page) {
    return greeting_table[page % 256 * 4096UL];
}

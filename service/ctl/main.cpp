// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abeyctl: the client of abeyd. Here the command line is read; what is done stands in one file for each subcommand.
#include "ctl/program.h"

int main(int argc, char **argv) { return abey::ctl::program(argc, argv); }

// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abey-engine: checkpoint and restart of process trees, without daemon, D-Bus or home.
#include "ctl/engine/program.h"

int main(int argc, char **argv) { return abey::ctl::engine::program(argc, argv); }

// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abeyd: the bus service of Abeyance. It keeps no state of its own that matters: checkpoints are in the store, jobs in
// files and units, so it may be started again at any moment.
#include "daemon/program.h"

int main(int argc, char **argv) { return abey::daemon::program(argc, argv); }

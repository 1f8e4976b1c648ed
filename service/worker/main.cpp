// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abey-worker: carries out one job of abeyd and ends. Started by systemd only (units/): NUMBER names a file in
// /run/abeyance/jobs, and what came of it is written beside it. Without a job: what is to be done at a boot.
#include "worker/program.h"

int main(int argc, char **argv) { return abey::worker::program(argc, argv); }

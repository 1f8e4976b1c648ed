// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abey-keeper JOB: the main process of abeyance-resume@JOB.service and abeyance-run@JOB.service. Carries out a resume
// job, or starts a command in a session of its own, and stays with the session until it ends. Exit status 0: the
// session was there and has ended; 1: it was never there.
#include "session/keeper/program.h"

int main(int argc, char **argv) { return abey::session::program(argc, argv); }

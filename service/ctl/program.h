// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace abey::ctl {

// All of abeyctl but main(), so that it is compiled together with what it calls. The exit status.
int program(int argc, char **argv);

} // namespace abey::ctl

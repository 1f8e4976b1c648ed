// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace abey::ctl::engine {

// All of abey-engine but main(), so that it is compiled together with what it calls. The exit status.
int program(int argc, char **argv);

} // namespace abey::ctl::engine

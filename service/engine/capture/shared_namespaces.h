// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// Namespaces of the tree that processes outside are in, too, or that have a name in the file system (ip-netns(8)): a
// restore makes new ones, which nobody else is in. Each becomes a finding that is not fatal.
void tell_shared_namespaces(Context &context);

} // namespace abey::capture

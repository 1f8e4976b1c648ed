// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the network namespace in which we are looks like, as far as it matters for one with nothing but a loopback
// device (network_namespaces(7)).
#pragma once

#include "engine/os/result.h"

#include <map>
#include <string>

namespace abey::os {

struct Network {
    bool loopback_up = false;
    std::map<std::string, std::string> settings; // those that can be changed, by the path below /proc/sys
    std::map<std::string, std::string> parts;    // what it consists of, as text or bytes, by a name for people

    static Result<Network> look();
};

Result<> raise_loopback();

} // namespace abey::os

// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// A pseudo-terminal: master and slave together.
struct Terminal {
    ObjRef id = 0;
    uint32_t index = 0;   // N of /dev/pts/N
    std::string replaced; // "/dev/tty1": it was none, this one is to take its place, and index is one that is free
    bool master_inside = false; // a task of the tree holds the master; otherwise restore makes one for the keeper
    Bytes settings;             // struct termios2, TCGETS2
    Bytes locked_settings;      // struct termios, TIOCGLCKTRMIOS
    uint16_t rows = 0, columns = 0, x_pixels = 0, y_pixels = 0;
    int32_t session = 0;    // leader's pid (see Task::session), 0: nobody's controlling terminal
    int32_t foreground = 0; // process group
    bool packet_mode = false, exclusive = false, locked = false;
    uint32_t mode = 0, uid = 0, gid = 0; // of the slave's device node
    // Written by the master, not yet read by the slave: in canonical mode what each read(2) gives (an end by VEOF is
    // not part of it), then what is not ended yet, or all of it in other modes.
    std::vector<Bytes> lines;
    Bytes input;
    Bytes output; // written by the slave, not yet read by the master
};

} // namespace abey::model

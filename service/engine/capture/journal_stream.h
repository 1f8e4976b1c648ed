// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Standard output that goes to the journal (systemd-cat(1), services): a connection that begins with seven lines which
// say whose output it is, then lines of the log. Source: sd_journal_stream_fd(3), and stdout_stream_line() and
// stdout_stream_save() in src/journal/journald-stream.c of systemd.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace abey::capture {

constexpr std::string_view journal_socket = "/run/systemd/journal/stdout";

// The lines to begin a new connection with. What the journal knows about the present one lies under
// /run/systemd/journal/streams, named by the number of the socket at its end, `peer`; when it does not, `comm` is what
// the lines of the log will be labelled with.
std::string journal_greeting(uint64_t peer, std::string_view comm);

// The same from the text of such a file.
std::string journal_greeting_from(std::string_view state, std::string_view comm);

} // namespace abey::capture

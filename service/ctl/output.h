// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The JSON side of the output: the same facts as the text, one document on standard output.
#pragma once

#include "ctl/client.h"
#include "ctl/job_watch.h"

#include <nlohmann/json_fwd.hpp>

namespace abey::ctl {

nlohmann::json to_json(const CheckpointEntry &entry);
nlohmann::json to_json(const capture::Finding &finding);
// Of a job that is done; a failure is printed by main.
nlohmann::json to_json(const JobEnd &end);

// Never throws: bytes that are no UTF-8 are replaced.
void print_json(const nlohmann::json &document);

// What --json prints when a command has failed.
void print_failure(const std::string &message);

// The figures that people ask for, one line: "12 processes, frozen 12.3 ms"; empty without figures.
std::string figures_line(const std::map<std::string, uint64_t> &figures);

} // namespace abey::ctl

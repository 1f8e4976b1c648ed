// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The rules of a policy file that are lists: [[file]], [[area]], [[peer]], [[device]], [[pin]], [[changed]], [[hook]].
#pragma once

#include "policy/values.h"

namespace abey::policy {

Result<> read_file_rule(const Reader &reader, const toml::table &table, FileRule &rule);
Result<> read_area_rule(const Reader &reader, const toml::table &table, AreaRule &rule);
Result<> read_peer_rule(const Reader &reader, const toml::table &table, PeerRule &rule);
Result<> read_device_rule(const Reader &reader, const toml::table &table, DeviceRule &rule);
Result<> read_pin_rule(const Reader &reader, const toml::table &table, PinRule &rule);
Result<> read_changed_rule(const Reader &reader, const toml::table &table, ChangedRule &rule);
Result<> read_hook_rule(const Reader &reader, const toml::table &table, HookRule &rule);

} // namespace abey::policy

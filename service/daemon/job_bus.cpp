// SPDX-License-Identifier: LGPL-2.1-or-later
//
// org.abeyance1.Job on the bus.
#include "daemon/glue.h"
#include "daemon/manager.h"

#include <string>
#include <vector>

namespace abey::daemon {
namespace {

const RunningJob &running_of(void *userdata) { return *static_cast<RunningJob *>(userdata); }

int on_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    auto &manager = *running_of(userdata).manager;
    const auto number = running_of(userdata).job.number;
    const auto asked = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        const auto owner = TRY(manager.owner_of_job(number));
        // By number: the job may end before the answer comes
        manager.authority().ask(message, {"cancel", {caller, owner}, fmt::format("job {}", number), {}},
                                [&manager, number](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    TRY(manager.cancel(permit, number));
                                    (void)::sd_bus_reply_method_return(request, "");
                                    return {};
                                });
        return {};
    }();
    return asked ? 1 : set_error(error, asked.error());
}

int get_job_property(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error * /*error*/) {
    const auto &running = running_of(userdata);
    const std::string_view name(property);
    const auto text = [&](const std::string &value) { return ::sd_bus_message_append(reply, "s", value.c_str()); };
    if (name == "Kind")
        return text(std::string(job::name_of(running.job.kind)));
    if (name == "Session")
        return text(running.job.session);
    if (name == "Checkpoint")
        return text(running.job.checkpoint);
    if (name == "Phase")
        return text(running.phase);
    if (name == "Error")
        return text(running.error);
    if (name == "UID")
        return ::sd_bus_message_append(reply, "u", running.job.uid);
    if (name == "Percent")
        return ::sd_bus_message_append(reply, "u", running.percent);
    if (name == "TimeLeft")
        return ::sd_bus_message_append(reply, "t", time_left(running));
    int result = ::sd_bus_message_open_container(reply, 'a', "{st}");
    for (const auto &[figure, value] : running.figures)
        if (result >= 0)
            result = ::sd_bus_message_append(reply, "{st}", bus::printable(figure).c_str(), value);
    return result < 0 ? result : ::sd_bus_message_close_container(reply);
}

const sd_bus_vtable job_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Kind", "s", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("UID", "u", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Session", "s", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Checkpoint", "s", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Phase", "s", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Percent", "u", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("TimeLeft", "t", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Error", "s", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Figures", "a{st}", get_job_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_VTABLE_END,
};

// What a job is about is no secret (loginctl shows as much), so its object is there for everybody.
int find_job_object(sd_bus * /*bus*/, const char *path, const char * /*interface*/, void *userdata, void **found,
                    sd_bus_error * /*error*/) {
    const auto number = bus::job_number(path);
    auto *running = number ? static_cast<Manager *>(userdata)->find_job(*number) : nullptr;
    *found = running;
    return running != nullptr ? 1 : 0;
}

int list_job_objects(sd_bus * /*bus*/, const char * /*path*/, void *userdata, char ***found, sd_bus_error * /*error*/) {
    std::vector<std::string> paths;
    for (const auto *running : static_cast<Manager *>(userdata)->visible_jobs(0))
        paths.push_back(bus::job_path(running->job.number));
    return hand_over(paths, found);
}

} // namespace

Result<> Manager::export_jobs() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_add_node_enumerator(bus_, &slot, bus::job_prefix, list_job_objects, this),
                     "cannot list the jobs"));
    slots_.emplace_back(slot);
    TRY(bus::checked(::sd_bus_add_fallback_vtable(bus_, &slot, bus::job_prefix, bus::job_interface, job_vtable,
                                                  find_job_object, this),
                     "cannot export the jobs"));
    slots_.emplace_back(slot);
    return {};
}

void Manager::emit_job_changed(const RunningJob &running, std::initializer_list<const char *> properties) const {
    // sd-bus wants them writable
    std::vector<std::string> copies(properties.begin(), properties.end());
    std::vector<char *> names;
    names.reserve(copies.size() + 1);
    for (auto &copy : copies)
        names.push_back(copy.data());
    names.push_back(nullptr);
    (void)::sd_bus_emit_properties_changed_strv(bus_, bus::job_path(running.job.number).c_str(), bus::job_interface,
                                                names.data());
}

} // namespace abey::daemon

// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/image.h"

#include "engine/image/convert.h"
#include "engine/image/records.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <nlohmann/json.hpp>

namespace abey::image {

namespace {

using nlohmann::json;

constexpr const char *format_name = "abeyance-image";
constexpr const char *pages_name = "pages-1";
constexpr size_t manifest_limit = 64U << 20U;
constexpr size_t most_files = 1000000;
constexpr std::string_view damaged = "the checkpoint is damaged and cannot be resumed; use another one";

std::string checksum_of(const json &manifest) {
    const std::string text = manifest.dump();
    return to_hex(digest(std::as_bytes(std::span(text))));
}

// The files of an image by names relative to it: those at the top, and those in deleted/.
Result<std::vector<std::string>> files_in(const std::string &directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error))
        if (at->symlink_status(error).type() == std::filesystem::file_type::regular)
            names.push_back(std::filesystem::path(at->path()).lexically_relative(directory).string());
    if (error)
        return fail(error.value(), "cannot list {}", directory);
    return names;
}

// An image's directories: those within it, itself, and the one that has its name.
Result<std::vector<std::string>> directories_of(const std::string &image) {
    std::vector<std::string> paths;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator at(image, error), end; !error && at != end; at.increment(error))
        if (at->symlink_status(error).type() == std::filesystem::file_type::directory)
            paths.push_back(at->path().string());
    const auto whole = std::filesystem::canonical(image, error);
    if (error)
        return fail(error.value(), "cannot list {}", image);
    paths.insert(paths.end(), {whole.string(), whole.parent_path().string()});
    return paths;
}

Result<> write_new(const Fd &directory, const std::string &name, std::string_view data) {
    const Fd file = TRY(open_at(directory.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    TRY_IN(write_all(file, data), "{}", name);
    return {};
}

// The digest of a file, and its data on disk.
Result<std::vector<Digest>> digest_and_size(const Fd &directory, const std::string &name, uint64_t &size) {
    const Fd file = TRY(open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW));
    size = static_cast<uint64_t>(TRY(stat_of(file)).st_size);
    return TRY_IN(digest_blocks(file, size), "{}", name);
}

Result<> sync_file(const Fd &directory, const std::string &name) {
    const Fd file = TRY(open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW));
    if (::fdatasync(file.get()) < 0)
        return fail(errno, "cannot bring {} to disk", name);
    return {};
}

// The names in a directory. fsync(2): syncing a file promises nothing about its name.
Result<> sync_directory(const std::string &path) {
    const Fd directory = TRY(open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fsync(directory.get()) < 0)
        return fail(errno, "cannot bring the directory {} to disk", path);
    return {};
}

} // namespace

Result<Writer> Writer::create(const std::string &directory) {
    Writer writer;
    writer.directory_ = directory;
    if (::mkdir(directory.c_str(), 0700) == 0)
        writer.made_ = true;
    else if (errno != EEXIST)
        return fail(errno, "cannot make the image directory {}", directory);
    std::error_code error;
    if (!writer.made_ && !std::filesystem::is_empty(directory, error)) {
        writer.committed_ = true; // what is there is not ours to remove
        return fail(error ? error.value() : ENOTEMPTY, "the image directory {} is not empty; give a new one",
                    directory);
    }
    writer.handle_ = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
    writer.pages_ = TRY(open_at(writer.handle_.get(), pages_name, O_RDWR | O_CREAT | O_EXCL, 0600));
    TRY(writer.tasks_.open(writer.handle_, "tasks"));
    TRY(writer.objects_.open(writer.handle_, "objects"));
    return writer;
}

Writer::~Writer() {
    if (handle_ && !committed_)
        discard();
}

void Writer::discard() noexcept {
    committed_ = true;
    std::error_code ignored;
    if (const auto names = files_in(directory_))
        for (const std::string &name : *names)
            ::unlinkat(handle_.get(), name.c_str(), 0);
    ::unlinkat(handle_.get(), "deleted", AT_REMOVEDIR);
    if (made_)
        std::filesystem::remove(directory_, ignored);
}

Result<> Writer::Metadata::open(const Fd &directory, const std::string &name) {
    name_ = name;
    file_ = TRY(open_at(directory.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    return {};
}

Result<> Writer::Metadata::append(std::string_view bytes) {
    constexpr size_t enough = 1U << 16U;
    size_ += bytes.size();
    if (size_ > records_limit)
        return fail(EFBIG,
                    "\"{}\" would be larger than the {} bytes that are read at a restore: let the programs read what "
                    "waits in their sockets, pipes and queues, or end some of them",
                    name_, records_limit);
    unwritten_ += bytes;
    return unwritten_.size() < enough ? Result<>() : flush();
}

Result<> Writer::Metadata::flush() {
    TRY_IN(write_all(file_, unwritten_), "{}", name_);
    unwritten_.clear();
    return {};
}

Result<> Writer::add(const model::Task &task) {
    return encode(task, [this](std::string_view bytes) { return tasks_.append(bytes); });
}

Result<> Writer::add(const model::AddressSpace &space) {
    return encode(space, [this](std::string_view bytes) { return objects_.append(bytes); });
}

Result<> Writer::write(const model::Tree &tree) {
    TRY(encode(
        tree, [this](std::string_view bytes) { return tasks_.append(bytes); },
        [this](std::string_view bytes) { return objects_.append(bytes); }));
    TRY(tasks_.flush());
    return objects_.flush();
}

Result<> Writer::commit(const json &about) {
    json files = json::array();
    for (const std::string &name : TRY(files_in(directory_))) {
        uint64_t size = 0;
        std::vector<Digest> blocks;
        if (const auto known = digests_.find(name); known != digests_.end()) {
            struct stat st = {};
            if (::fstatat(handle_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(errno, "cannot stat {}/{}", directory_, name);
            size = static_cast<uint64_t>(st.st_size);
            blocks = known->second;
        } else {
            blocks = TRY(digest_and_size(handle_, name, size));
        }
        files.push_back({{"name", name}, {"size", size}, {"xxh3-128", to_hex(combine(blocks))}});
        TRY(sync_file(handle_, name));
    }
    for (const std::string &path : TRY(directories_of(directory_)))
        TRY(sync_directory(path));
    json manifest = about.is_object() ? about : json::object();
    manifest["format"] = format_name;
    manifest["version"] = format_version;
    manifest["files"] = std::move(files);
    manifest["checksum"] = checksum_of(manifest);
    TRY(write_new(handle_, "manifest.tmp", manifest.dump(1) + "\n"));
    TRY(sync_file(handle_, "manifest.tmp"));
    if (::renameat(handle_.get(), "manifest.tmp", handle_.get(), "manifest") < 0)
        return fail(errno, "cannot commit the checkpoint {}", directory_);
    if (::fsync(handle_.get()) < 0)
        return fail(errno, "cannot bring the directory {} to disk", directory_);
    committed_ = true;
    return {};
}

struct Reader::Manifest {
    json about;
    struct File {
        std::string name;
        uint64_t size = 0;
        std::string checksum;
    };
    std::vector<File> files;

    [[nodiscard]] const File *find(std::string_view name) const {
        for (const File &file : files)
            if (file.name == name)
                return &file;
        return nullptr;
    }
};

Reader::Reader() : manifest_(std::make_unique<Manifest>()) {}
Reader::Reader(Reader &&) noexcept = default;
Reader::~Reader() = default;

Result<Reader> Reader::open(const std::string &directory) {
    Reader reader;
    reader.directory_ = directory;
    auto handle = open_file(directory, O_RDONLY | O_DIRECTORY);
    if (!handle)
        return fail(handle.error().code(), "there is no checkpoint in {}", directory);
    reader.handle_ = std::move(*handle);
    auto text = read_file_at(reader.handle_.get(), "manifest", manifest_limit);
    if (!text && text.error().code() == ENOENT)
        return fail(0, "there is no checkpoint in {}: it has no manifest (it was never finished)", directory);
    if (!text)
        return within(std::move(text).error(), "{}", directory);
    json manifest = json::parse(*text, nullptr, false);
    if (!manifest.is_object())
        return fail(0, "{}/manifest: {}", directory, damaged);
    const json stated = manifest.value("checksum", json());
    manifest.erase("checksum");
    if (manifest.value("format", json()) != format_name)
        return fail(0, "{}/manifest: {}", directory, damaged);
    if (const json version = manifest.value("version", json()); version.is_number() && version != format_version)
        return fail(
            0,
            "{}: the checkpoint has format version {}, this program reads version {}; resume it with the release "
            "that made it",
            directory, version.dump(), format_version);
    if (!stated.is_string() || stated.get<std::string>() != checksum_of(manifest))
        return fail(0, "{}/manifest: {}", directory, damaged);
    const json files = manifest.value("files", json());
    if (!files.is_array() || files.size() > most_files)
        return fail(0, "{}/manifest: {}", directory, damaged);
    for (const json &file : files) {
        if (!file.is_object() || !file.value("name", json()).is_string() ||
            !file.value("size", json()).is_number_unsigned() || !file.value("xxh3-128", json()).is_string())
            return fail(0, "{}/manifest: {}", directory, damaged);
        Manifest::File known{file["name"], file["size"], file["xxh3-128"]};
        if (known.name.starts_with('/') || known.name.find("..") != std::string::npos)
            return fail(0, "{}/manifest names the file {}; {}", directory, known.name, damaged);
        reader.manifest_->files.push_back(std::move(known));
    }
    manifest.erase("files");
    reader.manifest_->about = std::move(manifest);
    return reader;
}

Result<> Reader::verify() const {
    for (const char *needed : {"tasks", "objects", pages_name})
        if (manifest_->find(needed) == nullptr)
            return fail(0, "{}: the manifest does not name {}; {}", directory_, needed, damaged);
    for (const auto &file : manifest_->files) {
        uint64_t size = 0;
        struct stat st = {};
        if (::fstatat(handle_.get(), file.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
            return fail(errno, "{}/{}: {}", directory_, file.name, damaged);
        if (static_cast<uint64_t>(st.st_size) != file.size)
            return fail(0, "{}/{} has {} bytes instead of {}; {}", directory_, file.name, st.st_size, file.size,
                        damaged);
        const auto blocks = TRY_IN(digest_and_size(handle_, file.name, size), "{}", directory_);
        if (to_hex(combine(blocks)) != file.checksum)
            return fail(0, "{}/{} has changed (its checksum is wrong); {}", directory_, file.name, damaged);
    }
    return {};
}

Result<uint64_t> Reader::size_of_pages() const {
    const auto *pages = manifest_->find(pages_name);
    if (pages == nullptr)
        return fail(0, "{}: the manifest does not name {}; {}", directory_, pages_name, damaged);
    return pages->size;
}

Result<> Reader::check_kept(const model::Tree &tree) const {
    for (const auto &[id, inode] : tree.inodes)
        if (!inode.kept.blob.empty() && manifest_->find("deleted/" + inode.kept.blob) == nullptr)
            return fail(0, "{}: the manifest does not name deleted/{}; {}", directory_, inode.kept.blob, damaged);
    return {};
}

Result<model::Tree> Reader::tree() const {
    const std::string tasks = TRY_IN(read_file_at(handle_.get(), "tasks", records_limit), "{}", directory_);
    const std::string objects = TRY_IN(read_file_at(handle_.get(), "objects", records_limit), "{}", directory_);
    const uint64_t pages_size = TRY(size_of_pages());
    auto tree = TRY_IN(decode(tasks, objects, pages_size), "{}", directory_);
    TRY(check_kept(tree));
    return tree;
}

Result<Outline> Reader::outline() const {
    const Fd tasks = TRY(open_at(handle_.get(), "tasks", O_RDONLY | O_NOFOLLOW));
    const Fd objects = TRY(open_at(handle_.get(), "objects", O_RDONLY | O_NOFOLLOW));
    const uint64_t pages_size = TRY(size_of_pages());
    auto outline = TRY_IN(
        decode_outline([&](const EachRecord &each) { return for_each_record(tasks, "tasks", each); },
                       [&](const EachRecord &each) { return for_each_record(objects, "objects", each); }, pages_size),
        "{}", directory_);
    TRY(check_kept(outline.tree));
    return outline;
}

Result<std::string> Reader::piece(const std::string &file, const Extent &extent) const {
    const Fd from = TRY(open_at(handle_.get(), file, O_RDONLY | O_NOFOLLOW));
    std::string bytes(extent.size, '\0');
    TRY_IN(read_at(from, std::as_writable_bytes(std::span(bytes)), extent.offset), "{}/{}", directory_, file);
    return bytes;
}

engine::Details Reader::details(const Outline &outline) const {
    return {.task = [this, &outline](const model::Task &task) -> Result<model::Task> {
                return decode_task(TRY(piece("tasks", outline.tasks.at(task.pid))));
            },
            .address_space = [this, &outline](model::ObjRef id) -> Result<model::AddressSpace> {
                const auto where = outline.address_spaces.find(id);
                if (where == outline.address_spaces.end())
                    return fail(EBADMSG, "the checkpoint has no address space {}", id);
                return decode_address_space(TRY(piece("objects", where->second)));
            }};
}

Result<Fd> Reader::pages() const { return open_at(handle_.get(), pages_name, O_RDONLY | O_NOFOLLOW); }

std::vector<std::pair<std::string, uint64_t>> Reader::files() const {
    std::vector<std::pair<std::string, uint64_t>> all;
    for (const auto &file : manifest_->files)
        all.emplace_back(file.name, file.size);
    return all;
}

const json &Reader::about() const { return manifest_->about; }

} // namespace abey::image

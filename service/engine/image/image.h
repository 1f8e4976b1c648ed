// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A checkpoint's image directory (docs/IMAGE-FORMAT.md): "tasks", "objects", "pages-1", "deleted/", and the "manifest",
// which is written last and names all others with size and checksum. Without a manifest there is no checkpoint.
#pragma once

#include "engine/image/convert.h"
#include "engine/image/digest.h"
#include "engine/model/tree.h"
#include "engine/os/fd.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace abey::image {

inline constexpr int format_version = 1;

class Writer {
  public:
    // The directory is made (0700) when missing; it must be empty.
    static Result<Writer> create(const std::string &directory);
    Writer(Writer &&) noexcept = default;
    Writer &operator=(Writer &&) = delete;
    Writer(const Writer &) = delete;
    Writer &operator=(const Writer &) = delete;
    ~Writer(); // discards, unless committed

    // For page contents; offsets are those of model::PageRun.
    [[nodiscard]] const Fd &pages() const { return pages_; }
    // The digests of a file whose writer took them, so that it need not be read again.
    void add_digests(const std::string &file, std::vector<Digest> blocks) { digests_[file] = std::move(blocks); }

    // What is large can be written as soon as it is complete, and need not be in the tree any more: a worker that had
    // it all in memory would grow with the tree.
    Result<> add(const model::Task &task);
    Result<> add(const model::AddressSpace &space);
    // All else.
    Result<> write(const model::Tree &tree);
    // Data to disk, then the manifest, then its name. `about` goes into the manifest: an object, its members as they
    // are.
    Result<> commit(const nlohmann::json &about);
    void discard() noexcept;

  private:
    Writer() = default;
    std::string directory_;
    bool made_ = false; // the directory is ours
    Fd handle_;
    Fd pages_;
    // "tasks" or "objects"
    class Metadata {
      public:
        Result<> open(const Fd &directory, const std::string &name);
        Result<> append(std::string_view bytes);
        Result<> flush();

      private:
        std::string name_;
        Fd file_;
        std::string unwritten_;
        uint64_t size_ = 0; // with what is not written yet
    };
    Metadata tasks_, objects_;
    std::map<std::string, std::vector<Digest>> digests_;
    bool committed_ = false;
};

class Reader {
  public:
    // Reads and checks the manifest.
    static Result<Reader> open(const std::string &directory);
    Reader(Reader &&) noexcept;
    Reader &operator=(Reader &&) = delete;
    Reader(const Reader &) = delete;
    Reader &operator=(const Reader &) = delete;
    ~Reader();

    // All files are there, with the sizes and checksums of the manifest.
    Result<> verify() const;
    Result<model::Tree> tree() const;
    // The same without what is large (convert.h), and that by pieces. The reader must live as long as the details are
    // used.
    Result<Outline> outline() const;
    [[nodiscard]] engine::Details details(const Outline &outline) const;
    Result<Fd> pages() const;
    // Name and size of each file that the manifest names, in its order; they need not be there.
    [[nodiscard]] std::vector<std::pair<std::string, uint64_t>> files() const;
    // What commit() was given.
    [[nodiscard]] const nlohmann::json &about() const;

  private:
    Reader();
    struct Manifest;
    [[nodiscard]] Result<uint64_t> size_of_pages() const;
    // What the manifest does not name has not been verified.
    [[nodiscard]] Result<> check_kept(const model::Tree &tree) const;
    [[nodiscard]] Result<std::string> piece(const std::string &file, const Extent &extent) const;
    std::string directory_;
    Fd handle_;
    std::unique_ptr<Manifest> manifest_;
};

} // namespace abey::image

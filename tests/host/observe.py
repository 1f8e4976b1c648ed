# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be seen of a session and a home from outside, to compare it later. Asks nothing of the product."""

import hashlib
import json
import os
import pathlib
import re
import stat

BLOCK = 1 << 20


def file_digest(path, limit=None):
    result = hashlib.sha256()
    with open(path, "rb") as file:
        left = limit if limit is not None else 1 << 62
        while left > 0 and (data := file.read(min(BLOCK, left))):
            result.update(data)
            left -= len(data)
    return result.hexdigest()


def home_tree(home):
    """Path -> what it is, for every name below a home. Contents, mode, owner, times of files; directories without
    their times, which change with each name that comes and goes."""
    tree = {}
    for folder, folders, files in os.walk(home):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            entry = {"mode": oct(info.st_mode), "owner": (info.st_uid, info.st_gid)}
            if stat.S_ISLNK(info.st_mode):
                entry["target"] = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                entry.update(size=info.st_size, mtime=info.st_mtime_ns, links=info.st_nlink, sha256=file_digest(path))
            tree[os.path.relpath(path, home)] = entry
    return tree


def tree_difference(old, new, growing=()):
    """Names of what differs. A file of `growing` may have become longer: the caller compares its beginning."""
    changes = [f"{path} is gone" for path in old.keys() - new.keys()]
    changes += [f"{path} is new" for path in new.keys() - old.keys()]
    for path in old.keys() & new.keys():
        if path not in growing and old[path] != new[path]:
            fields = [key for key in old[path] if old[path].get(key) != new[path].get(key)]
            changes.append(f"{path}: {', '.join(fields)}")
    return sorted(changes)


class Process:
    """One process of the host, seen from the machine; pid is the machine's, inner the one it sees itself."""

    def __init__(self, pid):
        self.pid = pid
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.name = re.search(r"^Name:\t(.*)$", status, re.MULTILINE)[1]
        self.pids = [int(number) for number in re.search(r"^NSpid:\t(.*)$", status, re.MULTILINE)[1].split()]
        self.inner = self.pids[-1]
        self.command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        self.zombie = "\nState:\tZ" in status

    def threads(self):
        return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self):
        """Number -> what it is, without what may differ after a restore: inode numbers without a name, pty indices."""
        found = {}
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            target = os.readlink(f"/proc/{self.pid}/fd/{name}")
            # docs/LIMITS.md: what /proc shows of a deleted file whose name is taken by now
            target = re.sub(r"/\.([^/]*)\.abeyance-[^/]* \(deleted\)$", r"/\1 (deleted)", target)
            target = re.sub(r"^(pipe|socket):\[\d+\]$", r"\1", target)
            found[int(name)] = re.sub(r"^/dev/pts/\d+$", "/dev/pts/*", target)
        return found

    def mappings(self):
        """(permissions, name) of each named mapping."""
        found = []
        for line in pathlib.Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6:
                found.append((fields[1], fields[5]))
        return found

    def map_file(self, name):
        """The map_files entry of the first mapping whose file has this name."""
        for line in pathlib.Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and name in fields[5]:
                begin, end = fields[0].split("-")
                return f"/proc/{self.pid}/map_files/{int(begin, 16):x}-{int(end, 16):x}"
        return None

    def descriptor_file(self, name):
        for number, target in self.descriptors().items():
            if name in target:
                return f"/proc/{self.pid}/fd/{number}"
        return None


def cgroup_processes(cgroup):
    """The processes of a cgroup and of those below it."""
    found = []
    for folder, _, _ in os.walk(cgroup):
        try:
            for pid in pathlib.Path(folder, "cgroup.procs").read_text().split():
                found.append(Process(int(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


class Log:
    """counter.log, read as what it proves."""

    def __init__(self, text):
        self.counts, self.beats, self.reports, self.clock = [], [], [], []
        self.broken = []
        for line in text.splitlines():
            fields = line.split(" ", 1)
            try:
                if fields[0] == "A":
                    number, time = fields[1].split()
                    self.counts.append(int(number))
                    self.clock.append(int(time))
                elif fields[0] == "B":
                    number, answer, time = fields[1].split()
                    self.beats.append(int(number))
                    self.clock.append(int(time))
                    if int(answer) != 2 * int(number):
                        self.broken.append(line)
                elif fields[0] in "SR":
                    self.reports.append(json.loads(fields[1]))
                else:
                    self.broken.append(line)
            except (ValueError, IndexError):
                self.broken.append(line)

    @staticmethod
    def gap(numbers):
        """The first place where a row of numbers that starts at 1 does not go on by one, as a text; None when there is none."""
        for index, number in enumerate(numbers):
            if number != index + 1:
                return f"line {index + 1} says {number}"
        return None

    def clock_back(self):
        """The largest step back in nanoseconds. The two threads stamp and write without a lock, so a step of a
        scheduling delay between them is theirs."""
        return max((a - b for a, b in zip(self.clock, self.clock[1:])), default=0)

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The three kinds of packages: how each is built of what is committed, and what its tool is told on a test host.

An RPM is built and installed by Debian's rpmbuild and rpm with stand-ins for Fedora's macros, an Arch package by Debian's makepkg and pacman
with one for arch-meson (tests/packaging/): without the dependencies, whose names are those of the other systems.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
STAND_INS = SOURCE / "tests/packaging"
VERSION = "0.1.0"
MESSAGE = "suspended sessions stay in /var/lib/abeyance"
# What each kind puts elsewhere is its own.
PATHS = ["usr/bin/abeyctl", "etc/pam.d/abeyance", "run/abeyance", "usr/share/polkit-1/actions/org.abeyance1.policy",
         "usr/share/dbus-1/system.d/org.abeyance1.conf"]
NOBODY = 65534


class BuildFailed(Exception):
    pass


def build_step(command, log, **options):
    with open(log, "ab") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        tail = "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-20:])
        raise BuildFailed(f"{' '.join(map(str, command))}: status {done.returncode}: the end of {log}:\n{tail}")


def archive(path):
    """As of a release: what is committed."""
    subprocess.run(["git", "-C", SOURCE, "archive", f"--prefix=abeyance-{VERSION}/", "--format=tar.gz", "-o", path, "HEAD"], check=True)


class Deb:
    name = "deb"
    paths = PATHS + ["usr/lib/abeyance", "lib/systemd/system/abeyd.service"]  # /lib is a link where it is not in it
    commands = ["dpkg-buildpackage", "dpkg-deb"]

    def build(self, folder, log):
        """Three packages of rising versions."""
        build_step([SOURCE / "packaging/build-deb", folder], log)
        first = next(folder.glob("abeyance_*_amd64.deb"))
        return [first] + [self.newer(first, number, folder) for number in (1, 2)]

    def newer(self, package, number, folder):
        """The same package with a higher version."""
        tree, made = folder / f"tree-{number}", folder / f"abeyance-{number}.deb"
        subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
        control = tree / "DEBIAN/control"
        lines = control.read_text().splitlines()
        control.write_text("\n".join(f"{line}+{number}" if line.startswith("Version:") else line for line in lines) + "\n")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
        return made

    def prepare(self, host):
        pass

    def install(self, host, package):
        return host.run(["dpkg", "-i", package], env={"DEBIAN_FRONTEND": "noninteractive"})

    def installed(self, host):
        return host.run(["dpkg-query", "-W", "-f", "${Status} ${Version}", "abeyance"]).stdout

    def version(self, package):
        return "install ok installed " + subprocess.run(["dpkg-deb", "-f", package, "Version"], check=True, capture_output=True,
                                                        text=True).stdout.strip()

    def changed(self, host):
        return host.run(["dpkg", "--verify", "abeyance"]).stdout

    def remove(self, host):
        return host.run(["dpkg", "--remove", "abeyance"])

    def remove_all(self, host):
        return host.run(["dpkg", "--purge", "abeyance"])

    # What then is still there. Homes are not touched.
    left = []


class Foreign:
    """What a package of another system has in common on Debian."""

    # Only Debian's tools know a purge: users' data stay, and, until the next boot, what is about running jobs.
    left = ["run/abeyance", "var/lib/abeyance"]

    def after(self, host):
        """What systemd's own triggers and hooks do there after each transaction."""
        host.run(["systemctl", "daemon-reload"], check=True)
        host.run(["systemctl", "reload", "dbus.service"], check=True)

    def stack(self, host, name):
        """The stack of PAM files that the other system has under this name, made of Debian's."""
        host.path(f"etc/pam.d/{name}").write_text("".join(f"@include common-{kind}\n" for kind in ("auth", "account", "password", "session")))


class Rpm(Foreign):
    name = "rpm"
    paths = PATHS + ["usr/libexec/abeyance", "usr/lib/abeyance", "usr/lib/systemd/system/abeyd.service"]
    commands = ["rpmbuild", "rpm"]

    def build(self, folder, log):
        for name in ("SOURCES", "BUILD"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        archive(folder / f"SOURCES/abeyance-{VERSION}.tar.gz")
        command = ["rpmbuild", "-bb", "--nodeps", "--noclean", "--define", f"_topdir {folder}", "--buildroot", folder / "root"]
        if subprocess.run(["rpm", "--eval", "%meson"], check=True, capture_output=True, text=True).stdout.strip() == "%meson":
            command += ["--load", STAND_INS / "fedora.macros"]
        spec = SOURCE / "packaging/rpm/abeyance.spec"
        made = []
        for number in range(3):
            # The second and third are what was built for the first, packed again
            again = ["--short-circuit"] if number else []
            build_step(command + again + ["--define", f"dist .test{number}", spec], log)
            made += folder.glob(f"RPMS/x86_64/abeyance-{VERSION}-1.test{number}.x86_64.rpm")
        return made

    def prepare(self, host):
        self.stack(host, "password-auth")

    def install(self, host, package):
        done = host.run(["rpm", "-U", "--nodeps", package])
        self.after(host)
        return done

    def installed(self, host):
        return host.run(["rpm", "-q", "abeyance"]).stdout.strip()

    def version(self, package):
        return subprocess.run(["rpm", "-qp", package], check=True, capture_output=True, text=True).stdout.strip()

    def changed(self, host):
        return host.run(["rpm", "-V", "--nodeps", "abeyance"]).stdout

    def remove(self, host):
        done = host.run(["rpm", "-e", "abeyance"])
        self.after(host)
        return done

    remove_all = remove


class Arch(Foreign):
    name = "arch"
    paths = PATHS + ["usr/lib/abeyance", "usr/lib/systemd/system/abeyd.service"]
    commands = ["makepkg", "pacman"]

    def build(self, folder, log):
        # makepkg will not be root, and nobody may not read root's own folders
        with tempfile.TemporaryDirectory(prefix="abeyance-arch-", dir="/var/tmp") as name:
            work = pathlib.Path(name)
            archive(work / f"abeyance-{VERSION}.tar.gz")
            for one in ("PKGBUILD", "abeyance.install"):
                shutil.copy(SOURCE / "packaging/arch" / one, work)
            shutil.copytree(STAND_INS, work / "stand-ins")
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", work], check=True)
            path = os.environ["PATH"] if shutil.which("arch-meson") else f"{work}/stand-ins:{os.environ['PATH']}"
            environment = {"HOME": name, "PATH": path, "PACKAGER": "nobody <nobody@localhost>", "LC_ALL": "C.UTF-8"}
            recipe = (work / "PKGBUILD").read_text()
            for number in range(1, 4):
                (work / "PKGBUILD").write_text(re.sub(r"^pkgrel=.*$", f"pkgrel={number}", recipe, flags=re.MULTILINE))
                again = ["--repackage"] if number > 1 else []
                build_step(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "makepkg", "--nodeps", "--config",
                            work / "stand-ins/makepkg.conf"] + again, log, cwd=work, env=environment)
            return sorted(pathlib.Path(shutil.copy(one, folder)) for one in work.glob("*.pkg.tar.zst"))

    def prepare(self, host):
        self.stack(host, "system-login")

    def install(self, host, package):
        done = host.run(["pacman", "-U", "--noconfirm", "-dd", package])
        self.after(host)
        host.run(["systemd-tmpfiles", "--create", "abeyance.conf"], check=True)
        return done

    def installed(self, host):
        return host.run(["pacman", "-Q", "abeyance"]).stdout.strip()

    def version(self, package):
        found = re.fullmatch(r"abeyance-(.+)-x86_64\.pkg\.tar\.zst", package.name)
        return f"abeyance {found.group(1)}"

    def changed(self, host):
        shown = host.run(["pacman", "-Qkk", "abeyance"])
        return shown.stderr if shown.returncode else ""

    def remove(self, host):
        done = host.run(["pacman", "-R", "--noconfirm", "abeyance"])
        self.after(host)
        return done

    remove_all = remove


KINDS = {kind.name: kind for kind in (Deb, Rpm, Arch)}

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole story, for all to see: a login session is suspended, its host reboots, and the session comes back.

    demo.py --build DIR

Each step is told in one line with its time, each check in one line with what was expected and what was found. The last
line is `demo: N of N checks passed, suspend S s (frozen F ms), resume R s`; exit status 0 only if all passed.
"""

import argparse
import os
import subprocess
import sys
import time

from adas_session import (HOME, LOG, PROGRAMS, PROMISE, SWAP, UNSAVED, AdasSession, abeyctl, complaint, descriptors_of,
                          json_of, restored_session, sessions_of, still_alive, wait_until)
from checks import Checks, StepFailed, first_line, frame
from host import Host, HostError
from observe import Log, file_digest, tree_difference
from terminal import Terminal, TerminalError

PLAN = [
    "check says the session can be suspended", "suspend succeeds", "loginctl no longer lists the session",
    "no process of the session is left", "the terminal was logged out", "clocks start over", "her pids belong to others",
    "the session is back after login", "it is a logind session of ada", "processes have the pids they know",
    "counter goes on without gap or repeat", "second thread goes on without gap or repeat", "both threads are alive",
    "pipe to the child works", "deleted open file: contents", "deleted open file: links, size, position",
    "deleted mapped file: contents", "deleted mapped file: links, no descriptor", "renamed-over file: old contents held",
    "renamed-over file: name means the new one", "home is as at the suspend", "log continues gapless",
    "displaced home is kept", "no file of ours in the home", "CLOCK_MONOTONIC did not go back",
    "no descriptor of ours in a restored process", "vim shows the unsaved text", "vim can save it", "variable is there",
    "background job is there",
]

# The two threads stamp their lines and write them without a lock: a line may be written this much after a younger one.
CLOCK_TOLERANCE = 200_000_000


class Demo:
    def __init__(self, host, checks):
        self.host = host
        self.checks = checks
        self.suspend_seconds = self.frozen_ms = self.resume_seconds = None

    def home(self, name=""):
        return self.host.path(f"{HOME}/{name}")

    def set_up(self):
        host, checks = self.host, self.checks
        version = host.run(["systemctl", "--version"], check=True).stdout.splitlines()[0].split(" ", 2)[1]
        checks.step(f"1. The test host has booted: systemd {version}, up for {host.run(['cat', '/proc/uptime']).stdout.split()[0]} s, "
                    f"{host.run(['systemctl', 'is-system-running']).stdout.strip()}")
        self.session = AdasSession(host)
        subvolume = host.run(["btrfs", "subvolume", "show", HOME]).returncode == 0
        if not subvolume:
            raise StepFailed(f"{HOME} is not a btrfs subvolume")
        checks.step(f"   ada logged in through PAM on {sessions_of(host)[self.session.id]['TTY']}, logind session "
                    f"{self.session.id}; her home is a btrfs subvolume")
        self.session.start_programs()
        names = sorted(process.name for process in self.session.processes())
        checks.step(f"2. Her session: {', '.join(names)}; vim holds text that was never saved:")
        checks.say(frame(self.session.screen))
        if UNSAVED not in self.session.screen or UNSAVED in self.home("notes.txt").read_text():
            raise StepFailed("vim does not hold unsaved text")
        counter = self.session.counter()
        self.told = self.session.ask(counter)
        facts = self.told
        if facts["scratch"]["links"] or facts["state"]["links"] or facts["state"]["same"]:
            raise StepFailed(f"the counter does not hold what it should: {facts}")
        mapped = counter.map_file("mapped.bin")
        if not mapped or os.stat(mapped).st_nlink or counter.descriptor_file("mapped.bin"):
            raise StepFailed("the counter does not hold mapped.bin deleted, mapped and without descriptor")
        if not file_digest(mapped) == facts["mapped"]["sha256"] != facts["scratch"]["sha256"]:
            raise StepFailed("the counter's own view of mapped.bin is not ours")
        self.descriptors = descriptors_of(self.session.processes())
        self.pids = {process.inner: process.name for process in self.session.processes()}
        checks.step(f"   the counter (pid {facts['pid']}, threads {len(facts['threads'])}) is at {facts['count']}; deleted "
                    f"and open {facts['scratch']['sha256'][:12]}, deleted and mapped {facts['mapped']['sha256'][:12]}")

    def suspend(self):
        host, checks, session = self.host, self.checks, self.session
        checks.step("3. abeyctl check, abeyctl suspend")
        result = abeyctl(host, "check", session.id)
        checks.check("check says the session can be suspended", "status 0",
                     "status 0" if result.returncode == 0 else complaint(result))
        names = set(session.home())
        watched = session.watch()
        begin = time.monotonic()
        result = abeyctl(host, "suspend", session.id, "--json")
        took = time.monotonic() - begin
        answer = json_of(result)
        figures = answer.get("figures", answer)
        if not checks.check("suspend succeeds", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
            for _, fd in watched:
                os.close(fd)
            raise StepFailed("there is no checkpoint to go on with")
        self.suspend_seconds = figures["total_time"] / 1e6 if figures.get("total_time") else took
        if figures.get("frozen_time"):
            self.frozen_ms = figures["frozen_time"] / 1e3
        checks.step(f"   abeyctl suspend took {took:.2f} s, checkpoint {answer.get('checkpoint', '?')}")
        alive = still_alive(watched)
        checks.check("no process of the session is left", "none", ", ".join(alive) or "none")
        checks.attempt("the terminal was logged out", "login ended",
                       lambda: "login ended" if session.terminal.wait_end() is not None else "login runs on")
        session.terminal.close()
        listed = session.id in sessions_of(host)
        checks.check("loginctl no longer lists the session", "not listed", "listed" if listed else "not listed")
        # nothing of hers runs any more: the home as it is to be found again, without what the checkpoint keeps in it
        self.tree = {path: entry for path, entry in session.home().items() if path in names}
        self.log_before = self.home(LOG).read_bytes()
        self.checkpoints = abeyctl(host, "list").stdout.strip()

    def meddle(self):
        log, notes = self.home(LOG), self.home("notes.txt")
        os.truncate(log, 100)
        self.host.run(["sh", "-c", f"echo 'somebody else was here' >{HOME}/notes.new; chown ada: {HOME}/notes.new; "
                                   f"mv {HOME}/notes.new {HOME}/notes.txt; echo {{}} >{HOME}/state.json; "
                                   f"echo 'not hers' >{HOME}/stranger.txt"], check=True)
        if log.stat().st_size != 100 or "somebody else" not in notes.read_text():
            raise StepFailed("the home was not changed")
        self.checks.step("4. Somebody else changed her home: the log is truncated, notes.txt and state.json are replaced, "
                         "stranger.txt is new")

    def reboot(self):
        host, checks = self.host, self.checks
        clock = "import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))"
        before = int(host.run(["/usr/bin/python3", "-c", clock], check=True).stdout)
        host.reboot()
        after = int(host.run(["/usr/bin/python3", "-c", clock], check=True).stdout)
        checks.step("5. The test host has rebooted")
        checks.check("clocks start over", f"CLOCK_MONOTONIC below {before / 1e9:.2f} s", f"{after / 1e9:.2f} s",
                     after < before)
        self.occupy()

    def occupy(self):
        host, checks = self.host, self.checks
        host.run(["systemd-run", "--quiet", "--unit=occupy", "/usr/bin/python3", f"{PROGRAMS}/occupy.py",
                  *map(str, self.pids)], check=True)
        wait_until(lambda: "taken" in host.run(["journalctl", "-b", "-u", "occupy", "-o", "cat"]).stdout, "occupy.py")
        free = [pid for pid in self.pids if not host.path(f"proc/{pid}").exists()]
        checks.check("her pids belong to others", f"all {len(self.pids)} taken", f"free: {free}" if free else
                     f"all {len(self.pids)} taken")

    def come_back(self):
        host, checks = self.host, self.checks
        begin = time.monotonic()  # from the login on, until her programs have done something again
        self.terminal = Terminal.login(host, "ada")
        checks.step("6. ada has logged in again")
        logins = [session for session, properties in sessions_of(host).items() if properties["Service"] == "login"
                  and "TTY" in properties and host.path(f"proc/{properties['Leader']}/comm").read_text() == "login\n"]
        try:
            counted = Log(self.log_before.decode()).counts[-1]
            found = wait_until(lambda: restored_session(host, logins, counted), "the resumed session", 60)
        except HostError as error:
            checks.check("the session is back after login", "a second session of hers", first_line(error), False)
            checks.say(frame(self.terminal.settle()))
            raise StepFailed("the session did not come back") from error
        new_id, properties, self.restored = found
        self.resume_seconds = time.monotonic() - begin
        checks.check("the session is back after login", "a second session of hers", f"session {new_id}", True)
        leader = host.path(f"proc/{properties['Leader']}/comm").read_text().strip()
        checks.check("it is a logind session of ada", "ada, led by the keeper",
                     f"{properties['Name']}, led by {leader} ({properties['Leader']})",
                     properties["Name"] == "ada" and leader.startswith("abey"))
        # before anything is touched: is all as it was?
        self.tree_after = self.session.home()
        self.log_after = self.home(LOG).read_bytes()
        self.terminal.type("abeyctl attach\n")
        try:
            self.terminal.wait_for(UNSAVED[:30])
        except TerminalError:
            pass  # the check says what is there instead
        self.screen = self.terminal.settle_on(self.session.screen)
        checks.step("   abeyctl attach shows:")
        checks.say(frame(self.screen))

    def log(self):
        return Log(self.home(LOG).read_text(errors="replace"))

    def check_processes(self):
        checks = self.checks
        now = {process.inner: process.name for process in self.restored if process.inner in self.pids}
        checks.check("processes have the pids they know", self.pids, now)
        time.sleep(0.3)  # so that "goes on" is more than one step
        counter = self.session.counter(self.restored)
        facts = self.session.ask(counter)
        log = self.log()
        old = self.told

        def row(numbers, least):
            gap = Log.gap(numbers)
            return gap or f"1 to {numbers[-1]}", gap is None and numbers[-1] > least

        checks.attempt("counter goes on without gap or repeat", f"1 to more than {old['count']}",
                       lambda: row(log.counts, Log(self.log_before.decode()).counts[-1]))
        checks.attempt("second thread goes on without gap or repeat", f"1 to more than {old['beats']}",
                       lambda: row(log.beats, Log(self.log_before.decode()).beats[-1]))
        checks.check("both threads are alive", (old["threads"], 2), (facts["threads"], len(counter.threads())))
        answers = len(log.beats) - len(Log(self.log_before.decode()).beats)
        checks.check("pipe to the child works", "each answer is the double",
                     f"{answers} answers since, wrong: {log.broken[:2]}", answers > 0 and not log.broken)
        outside = counter.descriptor_file("scratch.bin")
        wanted, own = old["scratch"]["sha256"], facts["scratch"]["sha256"]
        seen = file_digest(outside) if outside else "no descriptor"
        checks.check("deleted open file: contents", wanted[:16], own[:16] if own == seen else f"{own[:16]}, outside {seen[:16]}",
                     wanted == own == seen)
        old["scratch"].pop("sha256"), facts["scratch"].pop("sha256")
        checks.check("deleted open file: links, size, position", old["scratch"], facts["scratch"])
        mapped = counter.map_file("mapped.bin")
        wanted, own = old["mapped"]["sha256"], facts["mapped"]["sha256"]
        seen = file_digest(mapped) if mapped else "no mapping"
        checks.check("deleted mapped file: contents", wanted[:16], own[:16] if own == seen else f"{own[:16]}, outside {seen[:16]}",
                     wanted == own == seen)
        checks.attempt("deleted mapped file: links, no descriptor", (0, None),
                       lambda: ((os.stat(mapped).st_nlink, counter.descriptor_file("mapped.bin")),
                                (os.stat(mapped).st_nlink, counter.descriptor_file("mapped.bin")) == (0, None)))
        state, was = facts["state"], old["state"]
        checks.check("renamed-over file: old contents held", (was["sha256"][:16], 0), (state["sha256"][:16], state["links"]))
        checks.check("renamed-over file: name means the new one", (was["by_name"][:16], "another file"),
                     (state["by_name"][:16], "the same file" if state["same"] else "another file"))
        back = log.clock_back()
        stamps = Log(self.log_before.decode()).clock
        jump = (log.clock[len(stamps)] - stamps[-1]) / 1e9 if len(log.clock) > len(stamps) else -1
        checks.check("CLOCK_MONOTONIC did not go back", "no step back", f"{jump:+.2f} s over the suspend, largest step back "
                     f"{max(back, 0) / 1e6:.1f} ms", back < CLOCK_TOLERANCE and jump >= 0)
        after = descriptors_of([process for process in self.restored if process.inner in self.pids])
        wrong = [f"{self.pids[pid]} has {after.get(pid)} instead of {was}" for pid, was in self.descriptors.items()
                 if after.get(pid) != was]
        checks.check("no descriptor of ours in a restored process", "the same descriptors", "; ".join(wrong) or
                     "the same descriptors")

    def check_home(self):
        checks = self.checks
        growing = (LOG, SWAP)
        changes = [change for change in tree_difference(self.tree, {path: entry for path, entry in self.tree_after.items()
                                                                    if path in self.tree}, growing)]
        strangers = sorted(self.tree_after.keys() - self.tree.keys())
        meddled = [path for path in strangers if path == "stranger.txt"]
        checks.check("home is as at the suspend", "no difference", "; ".join(changes + meddled) or "no difference")
        ours = [path for path in strangers if path not in meddled]
        checks.check("no file of ours in the home", "none", ", ".join(ours) or "none")
        same = self.log_after.startswith(self.log_before)
        log = self.log()
        gap = Log.gap(log.counts)
        checks.check("log continues gapless", "the old lines, then the next", "the old lines, then the next" if same and
                     not gap else gap or f"other lines than before within the first {len(self.log_before)} bytes")
        found = self.displaced_home()
        checks.check("displaced home is kept", "a subvolume with stranger.txt", found or "no such subvolume", bool(found))

    def displaced_home(self):
        listed = self.host.run(["btrfs", "subvolume", "list", "/home"], check=True).stdout
        for line in listed.splitlines():
            place = "/home/" + line.split(" path ", 1)[1]
            inside = self.host.path(place)
            if place != HOME and (inside / "stranger.txt").exists() and (inside / LOG).stat().st_size == 100:
                return place
        return None

    def check_terminal(self):
        checks, terminal = self.checks, self.terminal
        checks.check("vim shows the unsaved text", self.session.screen, self.screen)

        def save():
            terminal.type("\x1b:wq\n")
            wait_until(lambda: UNSAVED in self.home("notes.txt").read_text(), "vim's saving")
            return UNSAVED

        answers = iter(range(1, 10))

        def prompt(command, pattern):
            end = f"finis{next(answers)}"  # its own each time: the last one's may still be on the screen
            terminal.type(f"clear; {command}; echo {end}\n")
            terminal.wait_for(rf"^{end}$")
            text = terminal.text()
            return text.replace(end, "").strip().splitlines()[0], pattern in text

        checks.attempt("vim can save it", UNSAVED, save)
        checks.attempt("variable is there", PROMISE, lambda: prompt('echo "$promise"', PROMISE))
        checks.attempt("background job is there", "Running sleep 100000",
                       lambda: prompt("jobs -r", "sleep 100000"))

    def run(self):
        if self.go(self.set_up, self.suspend, self.meddle, self.reboot, self.come_back):
            self.compare()

    def go(self, *steps):
        """Each builds on those before."""
        for step in steps:
            try:
                step()
            except (StepFailed, HostError, TerminalError, OSError, subprocess.SubprocessError) as error:
                self.checks.step(f"step '{step.__name__.replace('_', ' ')}' failed: {first_line(error)}")
                self.journal()
                return False
        return True

    def compare(self):
        self.checks.step("7. Is it as if nothing had happened?")
        for step in (self.check_home, self.check_processes, self.check_terminal):
            try:
                step()
            except (HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                self.checks.stop(error, f"'{step.__name__.replace('_', ' ')}' stopped")
        if not all(self.checks.results.values()):
            self.journal()

    def journal(self):
        """What the product said, for whoever has to find out."""
        try:
            lines = self.host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "30", "-u",
                                   "abey*"]).stdout.strip()
        except (HostError, subprocess.SubprocessError, OSError):
            return
        self.checks.say("    the journal of abeyance:\n" + "\n".join("      " + line for line in lines.splitlines()))


def number(value, form):
    return "-" if value is None else form % value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the build directory; what is installed from it is shown")
    parser.add_argument("--tap", action="store_true", help="for a test harness")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    demo = None
    try:
        with Host(build=options.build) as host:
            demo = Demo(host, checks)
            demo.run()
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    figures = (demo.suspend_seconds, demo.frozen_ms, demo.resume_seconds) if demo else (None,) * 3
    checks.say(f"demo: {passed} of {planned} checks passed, suspend {number(figures[0], '%.2f')} s "
          f"(frozen {number(figures[1], '%.0f')} ms), resume {number(figures[2], '%.2f')} s")
    if None in figures and passed == planned:
        checks.say("demo: the figures are missing")
        return 1
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())

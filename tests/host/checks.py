# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a demonstration says and counts: steps with their time, checks with what was expected and what was found."""

import sys
import time


class StepFailed(Exception):
    """A step could not be done; what follows from it is not tried."""


class Checks:
    """Every check has its name in the list it is made with. One that is never reached has failed."""

    def __init__(self, names, tap=False):
        self.names = names
        self.tap = tap  # for a test harness (testanything.org) instead of a reader
        self.results = {}
        self.begin = time.monotonic()
        if tap:
            self._print(f"1..{len(names)}")

    @staticmethod
    def _print(text):
        print(text, file=sys.stdout, flush=True)

    def say(self, text=""):
        if self.tap:
            text = "\n".join("# " + line for line in text.splitlines())
        self._print(text)

    def _result(self, name, good, text):
        self.results[name] = good
        if self.tap:
            self._print(f"{'ok' if good else 'not ok'} {len(self.results)} - {name.replace('#', ' ')}")
            if not good:  # meson shows what went to stderr of a program that failed
                print(f"{name}: {text}", file=sys.stderr, flush=True)
        else:
            self._print(f"    {'ok  ' if good else 'FAIL'}  {name}: {text}")

    def step(self, text):
        self.say(f"[{time.monotonic() - self.begin:6.2f} s] {text}")

    def stop(self, error, where="stopped"):
        """Why nothing more was tried."""
        kind = "" if isinstance(error, StepFailed) else f"{type(error).__name__}: "
        reason = f"{where}: {kind}{error}"
        self.step(reason)
        if self.tap:  # meson shows what went to stderr of a program that failed
            print(reason, file=sys.stderr, flush=True)

    def check(self, name, expected, found, ok=None):
        """One line; ok defaults to expected == found."""
        if name not in self.names or name in self.results:
            raise ValueError(f"check '{name}' is not in the plan, or done twice")
        good = expected == found if ok is None else bool(ok)
        self._result(name, good, f"expected {shorten(expected)}, found {shorten(found)}")
        return good

    def attempt(self, name, expected, probe):
        """A check whose finding may itself go wrong: probe() gives (found, ok) or what was found."""
        try:
            result = probe()
        except Exception as error:  # whatever it is, it is what was found
            return self.check(name, expected, f"{type(error).__name__}: {first_line(error)}", False)
        if isinstance(result, tuple):
            found, ok = result
            if not isinstance(ok, bool):  # something else that is true would pass for a check
                return self.check(name, expected, f"{result}, which says neither yes nor no", False)
            return self.check(name, expected, found, ok)
        return self.check(name, expected, result)

    def status(self):
        """The exit status; in TAP the lines say it."""
        return 0 if self.tap or (len(self.results) == len(self.names) and all(self.results.values())) else 1

    def finish(self):
        """Passed, planned. Says what was never reached."""
        for name in self.names:
            if name not in self.results:
                self._result(name, False, "not reached")
        return sum(self.results.values()), len(self.names)


def shorten(value, limit=100):
    text = str(value).replace("\n", " | ")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def first_line(error):
    return (str(error).strip().splitlines() or [""])[0]


def frame(text, columns=80):
    """A picture of a terminal."""
    lines = [f"    | {line[:columns].ljust(columns)} |" for line in text.splitlines()]
    rule = "    +-" + "-" * columns + "-+"
    return "\n".join([rule, *lines, rule])

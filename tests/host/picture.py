#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture in the README, from a real run: picture.py --build DIR FILE.svg. A session is suspended on a test host, the host reboots,
the session is resumed at the next login; what ada's terminals show is drawn as it was. Made anew by `./dev picture`."""

import argparse
import html
import sys

from adas_session import UNSAVED, AdasSession, abeyctl, complaint, still_alive
from host import Host
from session_test import resume_by_login
from terminal import Terminal

WIDTH, HEIGHT, MARGIN = 8.4, 18, 12  # of a character, of the border
COLOURS = {"default": "#d0d0d0", "black": "#000000", "red": "#e06c75", "green": "#98c379", "brown": "#d7ba7d", "blue": "#61afef",
           "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#ffffff"}
GROUND = "#1e1e1e"
SECONDS = 4  # that a frame is shown


def colour(name, otherwise):
    if name == "default":
        return otherwise
    return COLOURS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else otherwise)


def line_of(buffer, columns):
    """One line of a pyte screen as runs of the same looks: (column, text, foreground, background, bold)."""
    runs = []
    for column in range(columns):
        cell = buffer[column]
        front, back = colour(cell.fg, COLOURS["default"]), colour(cell.bg, GROUND)
        looks = (back, front, cell.bold) if cell.reverse else (front, back, cell.bold)
        if runs and runs[-1][2] == looks:
            runs[-1][1] += cell.data
        else:
            runs.append([column, cell.data, looks])
    return [(column, text, *looks) for column, text, looks in runs if text.strip() or looks[1] != GROUND]


class Recorder:
    def __init__(self):
        self.frames = []  # (title, drawn lines)

    def take(self, title, terminal):
        terminal.settle(0.5)
        screen = terminal.screen
        self.frames.append((title, [line_of(screen.buffer[row], screen.columns) for row in range(screen.lines)]))

    def svg(self, rows=24, columns=80):
        width, height = columns * WIDTH + 2 * MARGIN, (rows + 2) * HEIGHT + 2 * MARGIN
        total = SECONDS * len(self.frames)
        share = 100 / len(self.frames)
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
               'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">',
               "<!-- Recorded by tests/host/picture.py from a real run; not drawn by hand. -->",
               "<style>text { white-space: pre } "
               f".frame {{ opacity: 0; animation: show {total}s infinite }} "
               f"@keyframes show {{ 0%, {share - 0.01:.2f}% {{ opacity: 1 }} {share:.2f}%, 100% {{ opacity: 0 }} }} "
               "@media (prefers-reduced-motion: reduce) { .frame { animation: none } .frame:last-of-type { opacity: 1 } }</style>",
               f'<rect width="100%" height="100%" rx="6" fill="{GROUND}"/>']
        for number, (title, lines) in enumerate(self.frames):
            out.append(f'<g class="frame" style="animation-delay: {number * SECONDS}s">')
            out.append(f'<text x="{MARGIN}" y="{MARGIN + 13}" fill="#888888">{number + 1}. {html.escape(title)}</text>')
            for row, line in enumerate(lines):
                top = MARGIN + (row + 1.5) * HEIGHT
                for column, text, front, back, bold in line:
                    left = MARGIN + column * WIDTH
                    if back != GROUND:
                        out.append(f'<rect x="{left:g}" y="{top:g}" width="{len(text) * WIDTH:g}" height="{HEIGHT}" fill="{back}"/>')
                    if text.strip():
                        weight = ' font-weight="bold"' if bold else ""
                        out.append(f'<text x="{left:g}" y="{top + 14:g}" fill="{front}"{weight} textLength="{len(text.rstrip()) * WIDTH:g}">'
                                   f"{html.escape(text.rstrip())}</text>")
            out.append("</g>")
        return "\n".join([*out, "</svg>", ""])


def record(host, recorder):
    session = AdasSession(host)
    session.start_programs()
    recorder.take("ada's session: vim holds text that was never saved", session.terminal)
    with Terminal(host, ["bash", "--norc"]) as root:
        root.wait_for(r"# ?$")
        root.type("PS1='root@testhost:~# '; clear\n")
        root.wait_for(r"^root@testhost:~# ?$")
        watched = session.watch()
        root.type(f"loginctl list-sessions; abeyctl check {session.id}; abeyctl suspend {session.id}; abeyctl list\n")
        root.wait_for(r"^1 checkpoint listed", 120)
        recorder.take("root suspends it to disk: the session ends", root)
    still_alive(watched, 60)
    count = session.log().counts[-1]
    session.terminal.close()
    host.reboot()
    terminal, session.id, _ = resume_by_login(host, count)
    session.terminal = terminal
    terminal.wait_for("has been resumed")
    terminal.type("\n")
    recorder.take("the machine was rebooted; ada logs in, and the session is resumed", terminal)
    terminal.type("clear; loginctl list-sessions; abeyctl attach --list\n")
    recorder.take("it is a session like any other", terminal)
    terminal.type("clear; abeyctl attach\n")
    terminal.wait_for(UNSAVED[:30])
    recorder.take("abeyctl attach: vim, as if nothing had happened", terminal)
    terminal.type("\x1c\x04")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("file")
    options = parser.parse_args()
    recorder = Recorder()
    with Host(build=options.build) as host:
        result = abeyctl(host, "doctor")
        if result.returncode != 0:
            sys.exit(f"picture: {complaint(result)}")
        record(host, recorder)
    with open(options.file, "w", encoding="utf-8") as file:
        file.write(recorder.svg())
    print(f"{options.file}: {len(recorder.frames)} frames")


if __name__ == "__main__":
    main()

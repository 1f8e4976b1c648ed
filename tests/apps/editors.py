# SPDX-License-Identifier: LGPL-2.1-or-later
"""Editors and pagers: programs that own a whole screen."""

from run import app, expect


@app("vim", ["vim", "--version"], "unsaved changes, a recorded macro, a yanked line, undo history, insert mode")
def vim(bench):
    bench.write("text", "".join(f"line {number}\n" for number in range(1, 101)))
    bench.start_in_terminal("vim -u NONE -N text")
    bench.wait_for(r"line 1$")
    bench.send("50Gyy")
    bench.send("qaA!\x1bjq")  # a macro: append, go down
    bench.send("ggdd")
    bench.send("Gohalf a ")
    bench.wait_for(r"^half a")
    expect("INSERT" in bench.text(), True, "insert mode")
    bench.suspend_and_resume()
    bench.send("sentence\x1b")
    bench.wait_for(r"^half a sentence$")
    bench.send("ggp@aGop is next\x1bu:wq\r")
    expect(bench.status(), 0, "exit status")
    lines = [f"line {number}" for number in range(2, 101)]
    lines[48] += "!"  # line 50 as the macro was recorded
    lines.insert(1, "line 1!")  # p puts what dd has taken; @a appends there
    expect(bench.read("text").splitlines(), lines + ["half a sentence"], "the file")
    expect([path.name for path in bench.directory.glob(".text*")], [], "swap files left")


@app("nano", ["nano", "--version"], "unsaved changes, a cut line, a search half typed")
def nano(bench):
    bench.write("text", "".join(f"line {number}\n" for number in range(1, 41)))
    bench.start_in_terminal("nano --ignorercfiles text")
    bench.wait_for(r"^line 1$")
    bench.send("\x0bnew ")  # cut the first line, type before the second
    bench.wait_for(r"^new line 2$")
    bench.send("\x17line 3")
    bench.wait_for(r"^Search.*line 3$")
    bench.suspend_and_resume()
    bench.send("9\r")
    bench.wait_for(r"^line 39$")
    bench.send("\x15")  # paste the line before it
    bench.wait_for(r"^line 1$")
    bench.send("\x0f\r")
    bench.wait_for(r"Wrote 40 lines")
    bench.send("\x18")
    expect(bench.status(), 0, "exit status")
    lines = ["new line 2"] + [f"line {number}" for number in range(3, 39)] + ["line 1", "line 39", "line 40"]
    expect(bench.read("text").splitlines(), lines, "the file")


@app("less", ["less", "--version"], "paging through the output of a program that still waits in its pipe")
def less(bench):
    bench.start_in_terminal("sh -c 'seq 1 200000 | less; exit 6'")
    bench.wait_for(r"^23$")
    bench.send("5000g")
    bench.wait_for(r"^5000$")
    bench.send("ma")
    bench.suspend_and_resume()
    bench.send("/^77[0-9]77\n")
    bench.wait_for(r"\A77077$")
    bench.send("G")
    bench.wait_for(r"^200000$")
    bench.send("'a")
    bench.wait_for(r"\A5000$")
    bench.send("q")
    expect(bench.status(), 6, "exit status")


@app("emacs", ["emacs", "--version"], "unsaved changes, a shell in another buffer, some hundred libraries")
def emacs(bench):
    bench.write("file", "begin\n")
    bench.start_in_terminal("emacs -nw -Q file")
    bench.wait_for(r"^begin")
    bench.send("\x1b>typed before")
    bench.wait_for("typed before")
    bench.send("\x1bxshell\r")
    bench.wait_for(r"[#$]$")
    bench.send("echo in$((40+2))\r")
    bench.wait_for("^in42")
    bench.suspend_and_resume()
    bench.send("echo on$((40+3))\r")
    bench.wait_for("^on43")
    bench.send("\x18bfile\r")
    bench.wait_for("typed before")
    bench.send(" and after\x18\x13")
    bench.wait_until(lambda: bench.read("file") == "begin\ntyped before and after", "the file is saved")
    bench.send("\x18\x03")
    bench.wait_for("exit anyway|kill them")
    bench.send("yes\r")
    expect(bench.status(), 0, "exit status")

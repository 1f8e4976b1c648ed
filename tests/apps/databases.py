# SPDX-License-Identifier: LGPL-2.1-or-later
"""Databases in the middle of transactions."""

import glob
import os
import pwd
import shutil
import subprocess

from run import Failed, Skipped, app, expect


@app("sqlite3", ["sqlite3", "--version"], "a transaction with 2,000 rows that are not committed, a journal and locks")
def sqlite3(bench):
    bench.call("sqlite3", "data", "create table t (n integer primary key, x text); insert into t values (0, 'before');")
    keys = bench.fifo("keys")
    bench.start("sqlite3", "-batch", "data", stdin=keys)
    os.close(keys)
    rows = "".join(f"insert into t values ({n}, '{'x' * 200}{n}');\n" for n in range(1, 2001))
    bench.send("pragma cache_size = 10; begin immediate;\n" + rows + "select 'ready';\n")
    bench.wait_lines("output", 1)
    expect(bench.path("data-journal").exists(), True, "a journal before the suspend")
    bench.suspend_and_resume()
    try:
        bench.call("sqlite3", "data", "insert into t values (99999, 'from another');")
        raise Failed("another program could write: the lock of the transaction is not held any more")
    except Failed as refused:
        if "locked" not in str(refused):
            raise
    bench.send("savepoint s; insert into t values (5000, 'rolled back'); rollback to s; insert into t values (6000, 'after');\n"
               "commit; select count(*), sum(n) from t;\n.exit 3\n")
    expect(bench.status(), 3, "exit status")
    expect(bench.read("output"), f"ready\n2002|{sum(range(2001)) + 6000}\n", "output")
    expect(bench.call("sqlite3", "data", "pragma integrity_check; select count(*) from t;"), "ok\n2002\n", "the file")
    expect(bench.path("data-journal").exists(), False, "a journal after the commit")


def postgres_programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    return os.path.dirname(found[-1]) if found else "/usr/lib/postgresql"


@app("postgres", [postgres_programs() + "/postgres", "--version"],
     "a server, one client in an open transaction, one that waits for its lock, one that sleeps in a statement")
def postgres(bench):
    programs = postgres_programs()
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise Skipped("there is no user postgres") from None
    os.chown(bench.directory, user.pw_uid, user.pw_gid)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data, here = bench.path("data"), bench.directory
    bench.call(*become, f"{programs}/initdb", "-D", data, "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale")
    options = f"-k {here} -c listen_addresses='' -c fsync=on -c huge_pages=off -c shared_buffers=16MB -c max_connections=20"
    clients = [os.open(path, os.O_RDWR) for path in (make_fifo(bench, name) for name in ("first", "second", "third"))]
    psql = f"{programs}/psql -h {here} -d postgres -X -q -A -t"
    bench.write("script", f"{programs}/postgres -D {data} {options} >server 2>&1 & server=$!\n"
                          f"while ! {psql} -c 'select 1' >/dev/null 2>&1; do sleep 0.1; done\n"
                          f"{psql} -c 'create table t (n int primary key, x text)'; echo up\n"
                          f"{psql} <first >first.out 2>&1 & one=$!; {psql} <second >second.out 2>&1 & two=$!\n"
                          f"{psql} <third >third.out 2>&1 & three=$!\n"
                          "wait $one; echo first $?; wait $two; echo second $?; wait $three; echo third $?\n"
                          "kill -INT $server; wait $server; echo server $?; exit 3\n")
    bench.start(*become, "bash", "script")
    bench.wait_until(lambda: "up" in bench.read("output"), "the server is up")
    bench.send("begin; insert into t select n, repeat('x', 100) from generate_series(1, 5000) n; select 'inserted';\n", "first")
    bench.wait_lines("first.out", 1)
    bench.send("insert into t values (1, 'second'); select 'never';\n", "second")
    bench.send("select pg_sleep(2); select 'slept';\n", "third")

    def waiting():
        done = subprocess.run([f"{programs}/psql", "-h", str(here), "-U", "postgres", "-d", "postgres", "-X", "-A", "-t", "-c",
                               "select count(*) from pg_stat_activity where wait_event in ('transactionid', 'PgSleep')"],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip() == "2"

    bench.wait_until(waiting, "one client waits for the lock and one sleeps")
    # the one that asked is gone, and so is its backend
    bench.suspend_and_resume()
    bench.send("select count(*) from t; update t set x = 'after' where n = 17; commit; select 'committed';\n\\q\n", "first")
    bench.send("select n, x from t where n = 17;\n\\q\n", "second")
    bench.send("\\q\n", "third")
    expect(bench.status(), 3, f"exit status; the server said {bench.read('server')[-300:]}")
    expect(bench.read("first.out"), "inserted\n5000\ncommitted\n", "first client")
    second = [line for line in bench.read("second.out").splitlines() if not line.startswith("DETAIL")]
    expect(second, ['ERROR:  duplicate key value violates unique constraint "t_pkey"', "never", "17|after"], "second client")
    expect(bench.read("third.out"), "\nslept\n", "third client")
    expect(bench.read("output"), "up\nfirst 0\nsecond 0\nthird 0\nserver 0\n", "status of each")
    for descriptor in clients:
        os.close(descriptor)
    expect(shutil.which(f"{programs}/pg_controldata") is not None, True, "pg_controldata")
    control = bench.call(*become, f"{programs}/pg_controldata", data)
    expect("shut down\n" in control, True, "the cluster was shut down")


def make_fifo(bench, name):
    os.mkfifo(bench.path(name))
    os.chmod(bench.path(name), 0o666)
    return bench.path(name)

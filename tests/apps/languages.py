# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run-time systems with threads, event loops, collectors and compilers of their own."""

import hashlib
import pathlib

from run import Skipped, app, expect

PYTHON = "/usr/bin/python3"

THREADS = """
import hashlib, os, queue, sys, threading, time
work, done = queue.Queue(8), queue.Queue()
local = threading.local()
turn = threading.Condition()
def worker(number):
    local.count = 0
    while (item := work.get()) is not None:
        digest = b"%d" % item
        for _ in range(200):
            digest = hashlib.sha256(digest).digest()
        local.count += 1
        while item > 1200 and not os.path.exists("go-on"):
            time.sleep(0.01)
        done.put((item, digest.hex()))
        time.sleep(0.002)
    done.put((-1, local.count))
threads = [threading.Thread(target=worker, args=(n,)) for n in range(8)]
timer = threading.Timer(0.1, lambda: print("timer", flush=True))
timer.start()
for thread in threads:
    thread.start()
def feed():
    for item in range(1500):
        work.put(item)
    for _ in threads:
        work.put(None)
threading.Thread(target=feed).start()
results, counts = {}, 0
while len(results) < 1500 or counts < 1500:
    item, value = done.get()
    if item < 0:
        counts += value
        continue
    results[item] = value
    print(item, flush=True)
for thread in threads:
    thread.join()
timer.join()
print("all", counts, hashlib.sha256("".join(results[n] for n in range(1500)).encode()).hexdigest(), flush=True)
sys.exit(3)
"""

ASYNCIO = """
import asyncio, os, sys
async def serve(reader, writer):
    while line := await reader.readline():
        await asyncio.sleep(0.001)
        writer.write(b"echo " + line)
        await writer.drain()
    writer.close()
async def client(number, lines):
    reader, writer = await asyncio.open_unix_connection("socket")
    for line in range(lines):
        writer.write(b"%d %d\\n" % (number, line))
        assert await reader.readline() == b"echo %d %d\\n" % (number, line)
        print(number, line, flush=True)
        while line > 80 and not os.path.exists("go-on"):
            await asyncio.sleep(0.01)
    writer.close()
async def child():
    process = await asyncio.create_subprocess_exec("sh", "-c", "sleep 1; cat; exit 4", stdin=asyncio.subprocess.PIPE,
                                                   stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate(b"to the child")
    print(out.decode(), process.returncode, flush=True)
async def main():
    server = await asyncio.start_unix_server(serve, "socket")
    blocked = asyncio.get_running_loop().run_in_executor(None, sum, range(5_000_000))
    async with asyncio.timeout(300) if hasattr(asyncio, "timeout") else server:
        await asyncio.gather(child(), *(client(number, 100) for number in range(10)))
    print(await blocked, flush=True)
asyncio.run(main())
sys.exit(3)
"""

MULTIPROCESSING = """
import multiprocessing, os, sys, time
def square(number):
    while number > 200 and not os.path.exists("go-on"):
        time.sleep(0.01)
    time.sleep(0.003)
    with total.get_lock():
        total.value += number
    return number * number
def start(value):
    global total
    total = value
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        total = context.Value("q", 0)
        with context.Pool(3, start, (total,)) as pool:
            for number, result in enumerate(pool.imap(square, range(250), chunksize=2)):
                assert result == number * number
                print(method, number, flush=True)
        assert total.value == sum(range(250))
    sys.exit(3)
"""

NODE = """
const fs = require('fs'), net = require('net'), crypto = require('crypto');
const { Worker, isMainThread, parentPort } = require('worker_threads');
const { spawn } = require('child_process');
if (!isMainThread) {
    parentPort.on('message', n => { let s = 0; for (let i = 0; i < 200000; i++) s = (s * 31 + n + i) % 1000003; parentPort.postMessage([n, s]); });
} else {
    const worker = new Worker(__filename);
    const child = spawn('cat');
    const server = net.createServer(c => c.pipe(c)).listen('socket', () => {
        const client = net.connect('socket');
        let step = 0, pending = 0, text = '';
        const next = () => {
            if (step === 250 && !fs.existsSync('go-on')) { setTimeout(next, 10); return; }
            if (step === 300) {
                worker.terminate(); child.stdin.end(); client.end(); server.close();
                return;
            }
            pending = 4;
            worker.postMessage(step);
            child.stdin.write(`child ${step}\\n`);
            client.write(`net ${step}\\n`);
            crypto.pbkdf2('x', String(step), 500, 16, 'sha256', () => answer());
        };
        const answer = () => {
            if (--pending === 0) {
                fs.appendFile('log', `step ${step}\\n`, () => { console.log(`step ${step++}`); setTimeout(next, 2); });
            }
        };
        let sum = 0;
        worker.on('message', ([n, s]) => { sum += s; answer(); });
        child.stdout.on('data', d => { if (String(d) !== `child ${step}\\n`) process.exit(50); answer(); });
        client.on('data', d => { if (String(d) !== `net ${step}\\n`) process.exit(51); answer(); });
        child.on('exit', code => { console.log(`child ended ${code} sum ${sum}`); process.exitCode = 3; });
        next();
    });
}
"""

PERL = r"""
use strict; use warnings; use IPC::Open2; use POSIX ();
$| = 1;
my ($alarms, %words) = (0);
$SIG{ALRM} = sub { $alarms++; alarm 1 };
alarm 1;
my $pid = open2(my $out, my $in, 'sort', '-n');
open my $self, '<', $0 or die;
while (<$self>) { $words{$_}++ for /(\w+)/g }
for my $n (1 .. 600) {
    print $in +(($n * 7919) % 601), "\n";
    my $inner = fork // die;
    if (!$inner) { select undef, undef, undef, 0.001; POSIX::_exit($n % 50) }
    waitpid $inner, 0;
    die if $? >> 8 != $n % 50;
    while ($n > 500 && !-e 'go-on') { select undef, undef, undef, 0.01 }
    print "$n ", scalar(keys %words), "\n";
}
close $in;
print while <$out>;
waitpid $pid, 0;
print "sort ", $? >> 8, "\n";
exit 3;
"""

GO = """
package main

import ("crypto/sha256"; "fmt"; "net"; "os"; "sync"; "time"; "bufio")

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil { panic(err) }
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil { return }
			go func() { s := bufio.NewScanner(c); for s.Scan() { fmt.Fprintln(c, "echo", s.Text()) } }()
		}
	}()
	results := make(chan string)
	var group sync.WaitGroup
	for n := 0; n < 50; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			c, err := net.Dial("tcp", listener.Addr().String())
			if err != nil { panic(err) }
			s := bufio.NewScanner(c)
			for i := 0; i < 20; i++ {
				sum := sha256.Sum256([]byte(fmt.Sprint(n, i)))
				fmt.Fprintf(c, "%d %d %x\\n", n, i, sum[:4])
				if !s.Scan() { panic("connection lost") }
				keep := make([][]byte, 100)
				for k := range keep { keep[k] = make([]byte, 1000) }
				time.Sleep(5 * time.Millisecond)
				results <- s.Text()
			}
		}(n)
	}
	go func() { group.Wait(); close(results) }()
	ticks := time.NewTicker(time.Millisecond)
	count, ticked := 0, 0
	for results != nil {
		select {
		case r, ok := <-results:
			for count > 800 {
				if _, err := os.Stat("go-on"); err == nil { break }
				time.Sleep(10 * time.Millisecond)
			}
			if !ok { results = nil; break }
			count++
			fmt.Println(r)
		case <-ticks.C: ticked++
		}
	}
	fmt.Println("all", count, ticked > 10)
	os.Exit(3)
}
"""

JAVA = """
import java.util.concurrent.*;
import java.util.*;
import java.nio.file.*;
public class Work {
    static String item(int n) {
        long h = n;
        List<byte[]> garbage = new ArrayList<>();
        for (int i = 0; i < 2000; i++) { h = h * 6364136223846793005L + 1442695040888963407L; if (i % 20 == 0) garbage.add(new byte[1024]); }
        try { do Thread.sleep(2); while (n > 1200 && !Files.exists(Path.of("go-on"))); } catch (InterruptedException e) { throw new RuntimeException(e); }
        return n + " " + Long.toHexString(h) + " " + garbage.size();
    }
    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(6);
        ScheduledExecutorService clock = Executors.newScheduledThreadPool(1);
        final int[] ticks = {0};
        clock.scheduleAtFixedRate(() -> ticks[0]++, 0, 5, TimeUnit.MILLISECONDS);
        List<Future<String>> futures = new ArrayList<>();
        for (int n = 0; n < 1500; n++) { final int number = n; futures.add(pool.submit(() -> item(number))); }
        for (Future<String> future : futures) { System.out.println(future.get()); System.out.flush(); }
        Process child = new ProcessBuilder("sh", "-c", "cat; exit 4").redirectErrorStream(true).start();
        child.getOutputStream().close();
        System.out.println("child " + child.waitFor() + " ticks " + (ticks[0] > 3));
        pool.shutdown(); clock.shutdown();
        System.exit(3);
    }
}
"""


def digest_of(item):
    """What one of the threads makes of an item."""
    digest = b"%d" % item
    for _ in range(200):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@app("python, threads", [PYTHON, "--version"], "eight threads at queues and hashes, a timer, sleeping and computing")
def python_threads(bench):
    bench.write("work.py", THREADS)
    bench.start(PYTHON, "work.py")
    bench.wait_lines("output", 400)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    lines = bench.read("output").splitlines()
    expect(sorted(int(line) for line in lines if line.isdigit()), list(range(1500)), "items")
    expect([line.split()[:2] for line in lines if not line.isdigit()], [["timer"], ["all", "1500"]], "other lines")
    expect(lines[-1].split()[2], hashlib.sha256("".join(map(digest_of, range(1500))).encode()).hexdigest(), "digest of all")


@app("python, asyncio", [PYTHON, "--version"], "an event loop, ten connections to its own server, a child, a thread that computes")
def python_asyncio(bench):
    bench.write("work.py", ASYNCIO)
    bench.start(PYTHON, "work.py")
    bench.wait_lines("output", 300)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    lines = bench.read("output").splitlines()
    rest = ["to the child 4", str(sum(range(5_000_000)))]
    expect(sorted(lines), sorted([f"{n} {k}" for n in range(10) for k in range(100)] + rest), "lines")
    for number in range(10):
        own = [line for line in lines if line.startswith(f"{number} ") and line not in rest]
        expect(own, [f"{number} {k}" for k in range(100)], f"order of connection {number}")


@app("python, multiprocessing", [PYTHON, "--version"], "pools of forked and spawned workers with shared memory and semaphores")
def python_multiprocessing(bench):
    bench.write("work.py", MULTIPROCESSING)
    bench.start(PYTHON, "work.py")
    bench.wait_lines("output", 100)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    expect(bench.read("output").splitlines(), [f"{m} {n}" for m in ("fork", "spawn") for n in range(250)], "output")


@app("node", ["node", "--version"], "event loop, worker thread, thread pool, child process and a socket to itself")
def node(bench):
    bench.write("work.js", NODE)
    bench.start("node", "work.js")
    bench.wait_lines("output", 120)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    steps = [f"step {n}" for n in range(300)]
    lines = bench.read("output").splitlines()
    expect(lines[:-1], steps, "output")
    expect(bench.read("log").splitlines(), steps, "log")
    bench.path("socket").unlink(missing_ok=True)
    bench.start("node", "work.js", output="reference")
    expect(bench.status(), 3, "exit status without the engine")
    expect(lines, bench.read("reference").splitlines(), "output, compared with an uninterrupted run")


@app("perl", ["perl", "-e", "print $^V"], "a script that forks, waits, feeds a pipe to sort, and has an alarm pending")
def perl(bench):
    bench.write("work.pl", PERL)
    bench.start("perl", "work.pl")
    bench.wait_lines("output", 200)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    lines = bench.read("output").splitlines()
    expect([line.split()[0] for line in lines[:600]], [str(n) for n in range(1, 601)], "steps")
    expect(len({line.split()[1] for line in lines[:600]}), 1, "different sizes of the hash")
    expect(lines[600:], [str(n) for n in range(1, 601)] + ["sort 0"], "what sort returned")


@app("a Go program", ["go", "version"], "fifty goroutines, each with a TCP connection to the same program, a ticker, the collector")
def go(bench):
    bench.write("work.go", GO)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(bench.directory), "GOCACHE": str(bench.path("cache")),
                   "GO111MODULE": "off", "GOFLAGS": "-p=2"}
    bench.call("go", "build", "-o", "work", "work.go", env=environment)
    bench.start(bench.path("work"))
    bench.wait_lines("output", 300)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    lines = bench.read("output").splitlines()
    expect(lines[-1], "all 1000 true", "last line")
    expect(sorted(" ".join(line.split()[1:3]) for line in lines[:-1]), sorted(f"{n} {i}" for n in range(50) for i in range(20)),
           "items")


@app("a Java program", ["java", "-version"], "six threads, a scheduled one, the collector and the compilers of the machine")
def java(bench):
    bench.write("Work.java", JAVA)
    if not pathlib.Path("/usr/bin/javac").exists():
        raise Skipped("javac is not installed")
    bench.call("javac", "Work.java")
    bench.start("java", "-Xmx128m", "Work")
    bench.wait_lines("output", 400)
    bench.suspend_and_resume()
    expect(bench.status(), 3, "exit status")
    lines = bench.read("output").splitlines()
    expect(lines[-1], "child 4 ticks true", "last line")
    wanted = []
    for n in range(1500):
        h = n
        for _ in range(2000):
            h = (h * 6364136223846793005 + 1442695040888963407) % 2**64
        wanted.append(f"{n} {h:x} 100")
    expect(lines[:-1], wanted, "items")


RUBY = """
$stdout.sync = true
queue = Queue.new
from, into = IO.pipe
threads = 4.times.map { Thread.new { sum = 0; while (x = queue.pop) != :end; sum += x; end; sum } }
fiber = Fiber.new { n = 0; loop { Fiber.yield(n += 1) } }
child = fork { from.close; 300.times { |i| into.puts i; sleep 0.005 }; into.close; exit 4 }
into.close
sorter = IO.popen(["sort", "-n"], "r+")
while (line = from.gets)
  queue << line.to_i; sorter.puts(line); fiber.resume; puts line
end
sleep 0.05 until File.exist?("go-on")
Process.wait(child); puts "child #{$?.exitstatus}"
4.times { queue << :end }
puts "sum #{threads.sum(&:value)} fiber #{fiber.resume}"
sorter.close_write; puts "sorted #{sorter.read.lines.size}"
exit 6
"""


@app("ruby", ["ruby", "--version"], "threads at a queue, a fiber, a child that feeds a pipe, a filter")
def ruby(bench):
    bench.write("script.rb", RUBY)
    bench.start("ruby", "script.rb")
    bench.wait_lines("output", 50)
    bench.suspend_and_resume()
    expect(bench.status(), 6, "exit status")
    expect(bench.read("output").splitlines(), [str(n) for n in range(300)] + ["child 4", "sum 44850 fiber 301", "sorted 300"], "output")

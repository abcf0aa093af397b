"""Compilers, interpreters, debuggers, package managers, servers, browsers and media."""

from __future__ import annotations

from tests.compat.row import Row

C_SOURCE = '#include <stdio.h>\n#include <pthread.h>\nvoid *say(void *n) { printf("thread %d\\n", *(int *)n); return 0; }\nint main(void) { int n = 7; pthread_t t; pthread_create(&t, 0, say, &n); pthread_join(t, 0); return 0; }\n'

COMPILERS = (
    Row("gcc", "compilers", "debian:gcc", "gcc -O2 -pthread -o main main.c; ./main; gcc -S -o - main.c | grep -c pthread_create", {"main.c": C_SOURCE}, core=True),
    Row("g++", "compilers", "debian:g++", "g++ -std=c++17 -o m m.cc; ./m", {"m.cc": '#include <iostream>\n#include <vector>\nint main() { std::vector<int> v{1, 2, 3}; for (auto n : v) std::cout << n * n << "\\n"; }\n'}, core=True),
    Row("clang", "compilers", "debian:clang", "clang -O2 -pthread -o main main.c; ./main", {"main.c": C_SOURCE}),
    Row("gfortran", "compilers", "debian:gfortran", "gfortran -o f f.f90; ./f", {"f.f90": "program f\n  print *, sum([1, 2, 3])\nend program\n"}),
    Row("go", "compilers", "debian:golang-go", "export GOFLAGS=-mod=mod GOTOOLCHAIN=local; go mod init x 2> /dev/null; go vet .; go run .; go test ./... | cut -f1",
        {"main.go": 'package main\nimport "fmt"\nfunc main() { c := make(chan int); go func() { c <- 42 }(); fmt.Println(<-c) }\n',
         "main_test.go": 'package main\nimport "testing"\nfunc TestIt(t *testing.T) {}\n'}, seconds=120),
    Row("rustc and cargo", "compilers", "host:cargo", "cargo init -q --vcs none --name own .; cargo build -q --offline; target/debug/own; cargo test -q --offline 2>&1 | grep -c 'test result: ok'", as_root=True, seconds=120),
    Row("javac and java", "compilers", "debian:openjdk-17-jdk-headless", "javac Main.java; java -Xmx128m Main",
        {"Main.java": 'public class Main { public static void main(String[] a) throws Exception { Thread t = new Thread(() -> System.out.println("thread")); t.start(); t.join(); System.out.println(java.util.stream.IntStream.range(0, 5).sum()); } }\n'}, seconds=120),
    Row("ocaml", "compilers", "debian:ocaml-nox", "ocamlfind ocamlopt -o m m.ml 2> /dev/null || ocamlopt -o m m.ml; ./m", {"m.ml": 'let () = List.iter (fun n -> print_int (n * n)) [1; 2; 3]; print_newline ()\n'}),
    Row("ghc", "compilers", "debian:ghc", "ghc -v0 m.hs; ./m", {"m.hs": "main = print (sum [1 .. 100])\n"}, policy="filesystem: {read: [/var/lib/ghc]}", seconds=120, how="with `filesystem: {read: [/var/lib/ghc]}`"),
    Row("nasm", "compilers", "debian:nasm", "nasm -felf64 a.s -o a.o && ld a.o -o a && ./a || echo $?", {"a.s": "global _start\n_start: mov rax, 60\n mov rdi, 5\n syscall\n"}),
    Row("make", "compilers", "debian:make", "make -s -j2", {"Makefile": "all: a b\n\tcat a b\na b:\n\techo $@ > $@\n"}, core=True),
    Row("cmake and ninja", "compilers", "debian:cmake", "cmake -S . -B b > /dev/null; cmake --build b > /dev/null; b/main", {"main.c": C_SOURCE, "CMakeLists.txt": "cmake_minimum_required(VERSION 3.18)\nproject(m C)\nadd_executable(main main.c)\nfind_package(Threads REQUIRED)\ntarget_link_libraries(main Threads::Threads)\n"}),
    Row("gdb", "debuggers", "debian:gdb", "gcc -g -pthread -o main main.c; gdb -nx -batch -ex 'break say' -ex run -ex 'print *(int *)n' ./main | grep '= 7'", {"main.c": C_SOURCE}, refused="ptrace|could not trace|not permitted", how="ptrace(2) is refused: debug outside"),
    Row("strace", "debuggers", "debian:strace", "strace -f -e trace=write echo traced", refused="ptrace.*not permitted", how="ptrace(2) is refused: trace outside, or see the log with `--trace all`", core=True),
    Row("valgrind", "debuggers", "debian:valgrind", "gcc -g -pthread -o main main.c; valgrind -q --error-exitcode=9 ./main", {"main.c": C_SOURCE}),
    Row("perf", "debuggers", "debian:linux-perf", "perf stat -e task-clock true", refused="not permitted|permission|access to performance|error", control="needs rights outside too", how="performance counters show other programs"),
)  # fmt: skip

INTERPRETERS = (
    Row("python3", "interpreters", "debian:python3", "python3 m.py", {"m.py": """
import asyncio, concurrent.futures, hashlib, json, multiprocessing, sqlite3, ssl, subprocess, tempfile, threading
async def main():
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1); print(await child.communicate(b"through"))
if __name__ == "__main__":  # a spawned worker reads this file too, and may live long enough to print
    print(hashlib.sha256(b"x").hexdigest()[:8], json.dumps({"a": [1]}), sqlite3.connect(":memory:").execute("select 6*7").fetchone())
    asyncio.run(main()); print(ssl.create_default_context().verify_mode.name)
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(2) as pool: print(pool.map(abs, [-1, -2]))
"""}, core=True),
    Row("node", "interpreters", "host:node", "node m.mjs", {"m.mjs": """
import http from "node:http"; import { Worker } from "node:worker_threads"; import { execFileSync } from "node:child_process"; import fs from "node:fs";
fs.watch(".").close(); console.log(execFileSync("echo", ["child"]).toString().trim());
const server = http.createServer((q, r) => r.end("served")).listen(0, "127.0.0.1", async () => {
  console.log(await (await fetch(`http://localhost:${server.address().port}/`)).text()); server.close();
  new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true }).on("message", console.log); });
"""}, core=True),
    Row("perl", "interpreters", "debian:perl", """perl -MIO::Socket::INET -MDigest::SHA=sha1_hex -e 'my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die; if (!fork) { my $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport); print $c "hi\\n"; exit } print $s->accept->getline, sha1_hex("x"), "\\n"'""", core=True),
    Row("ruby", "interpreters", "debian:ruby", """ruby -rsocket -rjson -e 's = TCPServer.new("127.0.0.1", 0); Thread.new { TCPSocket.new("127.0.0.1", s.addr[1]).puts "hi" }; puts s.accept.gets, JSON.dump([1]), `echo child`; puts Ractor rescue 0'"""),
    Row("php", "interpreters", "debian:php-cli", """php -r 'echo array_sum([1, 2, 3]), "\\n", json_encode(["a" => 1]), "\\n", hash("sha256", "x"), "\\n", shell_exec("echo child");'"""),
    Row("lua", "interpreters", "debian:lua5.4", """lua5.4 -e 'local t = {} for w in ("a b c"):gmatch("%a") do t[#t + 1] = w end print(table.concat(t, "-"), io.popen("echo child"):read("a"))'"""),
    Row("tcl", "interpreters", "debian:tcl", "echo 'puts [expr {6 * 7}]; puts [exec echo child]' | tclsh"),
    Row("guile", "interpreters", "debian:guile-3.0", "guile --no-auto-compile -c '(display (apply + (iota 10)))'"),
    Row("sbcl", "interpreters", "debian:sbcl", "sbcl --noinform --non-interactive --no-userinit --eval '(print (reduce (function +) (list 1 2 3)))'", how="it needs its heap within the memory limit"),
    Row("erlang", "interpreters", "debian:erlang-base", """erl -noshell -eval 'S = self(), spawn(fun() -> S ! 42 end), receive X -> io:format("~p~n", [X]) end, halt().'"""),
    Row("elixir", "interpreters", "debian:elixir", """elixir -e 'IO.inspect(Enum.map(1..3, fn n -> Task.await(Task.async(fn -> n * n end)) end))'"""),
    Row("R", "interpreters", "debian:r-base-core", "Rscript -e 'cat(mean(c(1, 2, 3)), sd(1:10), \"\\n\")'"),
)  # fmt: skip

MANAGERS = (
    Row("venv", "package managers", "debian:python3-venv", "python3 -m venv --without-pip v; v/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'", core=True),
    Row("pip in a venv", "package managers", "debian:python3-venv", "python3 -m venv v; v/bin/pip --version | cut -d' ' -f1", how="from an index: allow pypi.org and files.pythonhosted.org"),
    Row("pip from an index not allowed", "package managers", "debian:python3-venv", "python3 -m venv v; v/bin/pip install --retries 0 --timeout 2 six", refused="name or service|NameResolution|No matching distribution|no address", control="an index is asked", how="`network: {allowed_domains: [pypi.org, files.pythonhosted.org]}`"),
    Row("npm", "package managers", "host:npm", "cd app; npm install --no-audit --no-fund --offline ../lib 2>&1 | grep -c added; npm run -s hi; node -e 'console.log(require(\"lib\"))'",
        {"app/package.json": '{"name": "app", "version": "1.0.0", "scripts": {"hi": "echo from npm"}}\n', "lib/package.json": '{"name": "lib", "version": "1.0.0"}\n', "lib/index.js": "module.exports = 42\n"}, core=True),
    Row("gem", "package managers", "debian:ruby", "gem build -q x.gemspec 2> /dev/null | tail -0; gem install -q --local --user-install --no-document x-1.0.gem > /dev/null 2>&1; ruby -e 'require \"x\"; puts X'",
        {"x.gemspec": "Gem::Specification.new { |s| s.name = 'x'; s.version = '1.0'; s.summary = 'x'; s.authors = ['a']; s.files = ['lib/x.rb'] }\n", "lib/x.rb": "X = 'a gem'\n"}),
    Row("composer", "package managers", "debian:composer", "composer install -q --no-interaction; php -r 'require \"vendor/autoload.php\"; echo Own\\A::word(), \"\\n\";'",
        {"composer.json": '{"repositories": [{"packagist.org": false}], "autoload": {"psr-4": {"Own\\\\": "src/"}}}\n', "src/A.php": "<?php namespace Own; class A { static function word() { return 'autoloaded'; } }\n"}),
    Row("maven", "package managers", "debian:maven", "mvn -v", seconds=120),
)  # fmt: skip

SERVERS = (
    Row("sqlite3", "servers", "debian:sqlite3", "sqlite3 b.db 'create table t (n); insert into t values (1), (2); pragma journal_mode=wal; select sum(n) from t'", core=True),
    Row("postgres", "servers", "debian:postgresql-15", """
B=/usr/lib/postgresql/15/bin; $B/initdb -D d -A trust -U me > log 2>&1 || { cat log; exit 1; }
$B/pg_ctl -D d -w -l log -o "-k $PWD -c listen_addresses=127.0.0.1 -p 8634" start > /dev/null || { cat log; exit 1; }
$B/psql -h 127.0.0.1 -p 8634 -U me -Atc 'create table t as select generate_series(1, 1000) n; select sum(n), count(*) from t' postgres
$B/pg_ctl -D d -m fast stop > /dev/null
""", seconds=120),
    Row("redis", "servers", "debian:redis-server", """
redis-server --port 8635 --bind 127.0.0.1 --daemonize yes --logfile log --save '' > /dev/null
for n in $(seq 100); do redis-cli -p 8635 ping > /dev/null 2>&1 && break; sleep 0.05; done
redis-cli -p 8635 set k v; redis-cli -p 8635 get k; redis-cli -p 8635 eval 'return 6 * 7' 0; redis-cli -p 8635 shutdown nosave || true
"""),
    Row("memcached", "servers", "debian:memcached", """
memcached -l 127.0.0.1 -p 8636 & for n in $(seq 100); do nc -z 127.0.0.1 8636 && break; sleep 0.05; done
printf 'set k 0 0 1\\r\\nv\\r\\nget k\\r\\nquit\\r\\n' | nc 127.0.0.1 8636 | tr -d '\\r'; kill $!
"""),
    Row("nginx", "servers", "debian:nginx-light", """
sed -i "s|HERE|$PWD|g" n.conf; /usr/sbin/nginx -e log -p $PWD -c $PWD/n.conf & for n in $(seq 100); do curl -sf localhost:8637/page && break; sleep 0.05; done; kill $!
""", {"page": "served\n", "n.conf": "daemon off; pid HERE/pid; worker_processes 2; events {} http { access_log off; client_body_temp_path HERE/a; proxy_temp_path HERE/b; fastcgi_temp_path HERE/c; uwsgi_temp_path HERE/d; scgi_temp_path HERE/e; server { listen 127.0.0.1:8637; root HERE; } }\n"}),
)  # fmt: skip

MEDIA = (
    Row("chromium headless", "browsers", "debian:chromium", "/usr/lib/chromium/chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --user-data-dir=$PWD/u --dump-dom \"file://$PWD/p.html\" 2> /dev/null",
        {"p.html": "<p id=a></p><script>document.getElementById('a').textContent = [1, 2, 3].map(n => n * n)</script>\n"}, seconds=120, how="with `--no-sandbox`: the cage is the fence"),
    Row("chromium with its own sandbox", "browsers", "debian:chromium", "/usr/lib/chromium/chromium --headless --disable-gpu --dump-dom about:blank", refused="No usable sandbox", control="as root it wants --no-sandbox outside too", seconds=120,
        how="said at the start of the run: add `--no-sandbox`"),
    Row("ffmpeg", "media", "debian:ffmpeg", "ffmpeg -v error -f lavfi -i testsrc=d=1:s=64x64:r=5 -pix_fmt yuv420p o.avi; ffprobe -v error -show_entries stream=width,nb_frames -of csv o.avi", seconds=120),
    Row("imagemagick", "media", "debian:imagemagick", "convert -size 32x32 gradient:red-blue o.png; identify -format '%wx%h\\n' o.png"),
    Row("pandoc", "media", "debian:pandoc", "echo '# Head *x*' | pandoc -t html"),
)  # fmt: skip

ROWS = (*COMPILERS, *INTERPRETERS, *MANAGERS, *SERVERS, *MEDIA)

"""Shells, small tools, editors, version control, network tools, and what a cage refuses."""

from __future__ import annotations

from tests.compat.row import Row

SHELL_SCRIPT = """
square() {{ echo $(( $1 * $1 )); }}
for n in 1 2 3; do square $n; done | tr '\\n' ' '; echo
echo "$(printf '%s-' a b c)" > out; cat < out; rm out; test ! -e out
(exit 7) || echo "status $?"; kill -0 $$ && echo alive; echo "${{HOME:+home}} ${{#PATH}}" | cut -c1-4
sleep 0.01 & wait $!; trap 'echo trapped' TERM; kill -TERM $$; ls -d /usr /etc | sort
"""


def _shell(name: str, package: str, core: bool = False) -> Row:
    return Row(
        name,
        "shells",
        f"debian:{package}",
        f"{name} script",
        {"script": SHELL_SCRIPT.replace("{{", "{").replace("}}", "}")},
        core=core,
    )


SHELLS = (
    _shell("bash", "bash", core=True),
    _shell("dash", "dash", core=True),
    _shell("zsh", "zsh"),
    _shell("ksh", "ksh93u+m"),
    Row("fish", "shells", "debian:fish", "fish -c 'for n in 1 2 3; math $n x $n; end; string upper abc'"),
)  # fmt: skip

TOOLS = (
    Row("coreutils", "tools", "debian:coreutils", """
seq 100 | shuf --random-source=<(yes) | sort -n | head -3; echo abc | sha256sum; printf 'b\\na\\nb\\n' | sort | uniq -c
mkdir -p a/b; cp -a a c; mv c d; ln -s a link; readlink -f link | xargs basename; stat -c '%s %F' d; touch -d @1 f; stat -c %Y f
dd if=/dev/zero of=big bs=1M count=3 status=none; truncate -s 10M big; du -b big | cut -f1; df . > /dev/null; tac <(seq 3)
mktemp -d > /dev/null; id -u > /dev/null; timeout 5 true; nproc > /dev/null; install -m 600 f g; stat -c %a g; tee x < f; od -c /dev/null
""", core=True),
    Row("findutils", "tools", "debian:findutils", "mkdir -p x/y; touch x/1 x/y/2; find . -type f | sort | xargs -n1 echo got", core=True),
    Row("grep and sed", "tools", "debian:grep", "printf 'one\\ntwo\\n' > f; grep -rn two .; grep -P '^\\w{3}$' f; sed -i 's/one/ONE/' f; cat f", core=True),
    Row("mawk", "tools", "debian:mawk", "seq 10 | mawk '{s += $1} END {print s}'", core=True),
    Row("diffutils and patch", "tools", "debian:patch", "echo a > 1; echo b > 2; diff -u --label 1 --label 2 1 2 > p || patch -s 1 p; cmp 1 2 && cat 1", core=True),
    Row("tar, gzip, xz, zstd", "tools", "debian:xz-utils", """
mkdir d; seq 5000 > d/numbers; for z in z J; do tar c${z}f d.tar d; rm -r d; tar xf d.tar; md5sum d/numbers; done
tar --zstd -cf d.tar d 2>/dev/null && tar tf d.tar
""", core=True),
    Row("zip and unzip", "tools", "debian:zip", "seq 99 > n; zip -q z.zip n; rm n; unzip -q z.zip; tail -1 n", core=True),
    Row("bc", "tools", "debian:bc", "echo '2^64; scale=20; 4*a(1)' | bc -l", core=True),
    Row("jq", "tools", "debian:jq", """echo '{"a": [1, 2, {"b": "x"}]}' | jq -c '.a | map(numbers)'""", core=True),
    Row("file", "tools", "debian:file", "file -b /usr/bin/env | cut -d, -f1; echo text > t; file t", core=True),
    Row("less", "tools", "debian:less", "seq 3 > f; less f", core=True),
    Row("man", "tools", "debian:man-db", "man -P cat test > page; grep -x NAME page"),
    Row("procps", "tools", "debian:procps", "mkfifo p; cat p & exec 3> p; ps -o comm= -p $!; exec 3>&-; pgrep -c -P $$ > /dev/null || true; free > /dev/null; uptime > /dev/null; top -bn1 > top; test -s top && echo top", core=True),
    Row("util-linux", "tools", "debian:util-linux", "flock lock echo locked; setsid -w echo session; printf 'a b\\n' | column -t; rev <<< abc; getopt -o a: -- -a 1", core=True),
    Row("ripgrep", "tools", "debian:ripgrep", "mkdir d; echo needle > d/hay; rg -n needle ."),
    Row("fd", "tools", "debian:fd-find", "mkdir d; touch d/x.py d/y.c; fdfind -e py"),
    Row("fzf", "tools", "debian:fzf", "printf 'alpha\\nbeta\\n' | fzf -f bet"),
    Row("bat", "tools", "debian:bat", "echo 'print(1)' > x.py; batcat -pp x.py"),
    Row("tree", "tools", "debian:tree", "mkdir -p a/b; tree"),
    Row("htop", "tools", "debian:htop", "htop --version | head -1"),
    Row("shellcheck", "tools", "debian:shellcheck", "echo 'echo $x' > s.sh; shellcheck -s sh s.sh || true"),
    Row("gnupg", "tools", "debian:gnupg", """
gpg --batch -q --passphrase '' --quick-generate-key me@example.org ed25519 sign never 2> log || { cat log; exit 1; }
echo text > t; gpg --batch -q --detach-sign t; gpg --verify t.sig t 2>&1 | grep -o 'Good signature'
""", how="its home is the cage's own, and starts empty"),
    Row("openssl", "tools", "debian:openssl", """
openssl req -x509 -newkey ed25519 -nodes -keyout k -out c -subj /CN=x -days 1 2> /dev/null; openssl x509 -noout -subject -in c
echo text | openssl enc -aes-256-cbc -pbkdf2 -k word | openssl enc -d -aes-256-cbc -pbkdf2 -k word
""", core=True),
    Row("tmux", "terminals", "debian:tmux", """
tmux -f /dev/null new -d -s s -x 80 -y 24 'echo hello from tmux; sleep 20'
for n in $(seq 100); do tmux capture-pane -pt s | grep -m1 . && break; sleep 0.05; done; tmux kill-server
""", core=True),
    Row("screen", "terminals", "debian:screen", """
mkdir -m 700 s; export SCREENDIR=$PWD/s; screen -dmS x sh -c 'echo in screen > made; sleep 20'
for n in $(seq 100); do test -s made && break; sleep 0.05; done; cat made; screen -S x -X quit > /dev/null
"""),
    Row("script (a terminal)", "terminals", "debian:bsdutils", "script -qec 'test -t 0 && stty size > /dev/null && echo a terminal' /dev/null | tr -d '\\r'", core=True),
    Row("vim", "editors", "debian:vim", "printf 'a\\nb\\n' > f; vim -Nu NONE -es -c '%s/b/changed/' -c wq f; cat f", core=True),
    Row("nano", "editors", "debian:nano", "printf 'x' > f; TERM=xterm script -qec \"sh -c 'printf \\\"new\\\\017\\\\r\\\\030\\\" | nano -I f'\" /dev/null > log 2>&1 < /dev/null || true; nano --version | head -1 | tr -d ' '"),
    Row("emacs", "editors", "debian:emacs-nox", "emacs -Q --batch --eval '(progn (find-file \"f\") (insert \"from emacs\") (save-buffer) (princ (* 6 7)))' 2> /dev/null; echo; cat f"),
)  # fmt: skip

VERSION_CONTROL = (
    Row("git", "version control", "debian:git", """
git init -q -b main .; git config user.name A; git config user.email a@example.org; echo 1 > f; git add f
GIT_COMMITTER_DATE='2026-01-01T00:00Z' git commit -q --date 2026-01-01T00:00Z -m first; git log --format='%h %s'
git checkout -q -b side; echo 2 >> f; git commit -qam second; git checkout -q main; git merge -q side; git fsck 2>&1
git clone -q . copy; git -C copy log --oneline | wc -l; git worktree add -q wt side; git gc -q; git stash list; git grep -n 2
""", core=True),
    Row("mercurial", "version control", "debian:mercurial", "hg init; echo 1 > f; hg add -q f; hg commit -u me -d '0 0' -m first; hg log -T '{node|short} {desc}\\n'"),
    Row("subversion", "version control", "debian:subversion", "svnadmin create r; svn co -q file://$PWD/r w; cd w; echo 1 > f; svn add -q f; svn ci -q -m first; svn up -q; svn log -q | wc -l"),
)  # fmt: skip

NETWORK = (
    Row("ssh and ssh-keygen", "network", "debian:openssh-client", """
ssh-keygen -q -t ed25519 -N '' -C c -f key; ssh-keygen -lf key | grep -o ED25519; ssh -G -F none somewhere | grep '^port'
eval "$(ssh-agent)" > /dev/null; ssh-add -q key; ssh-add -l | grep -c ED25519; ssh-agent -k > /dev/null
""", core=True),
    Row("ssh to a name not allowed", "network", "debian:openssh-client", "ssh -o BatchMode=yes git@github.com true", refused="Could not resolve hostname",
        control="this machine has no network either", core=True, how="`network: {allowed_domains: ['github.com:22']}` allows it"),
    Row("curl", "network", "debian:curl", """
python3 -m http.server -b 127.0.0.1 8631 > /dev/null 2>&1 & for n in $(seq 100); do curl -sf http://localhost:8631/page && break; sleep 0.05; done; kill $!
""", {"page": "a page\n"}, core=True, how="servers on localhost; sites by `allowed_domains`"),
    Row("curl to a name not allowed", "network", "debian:curl", "curl -sS https://example.com/", refused="Could not resolve host",
        control="this machine has no network either", core=True),
    Row("curl to an address", "network", "debian:curl", "curl -sS -m 5 http://192.0.2.1/", refused="network is unreachable|could.n.t connect|failed to connect",
        control="this machine has no network either", core=True),
    Row("wget", "network", "debian:wget", """
python3 -m http.server -b 127.0.0.1 8632 > /dev/null 2>&1 & for n in $(seq 100); do wget -qO got http://127.0.0.1:8632/page && break; sleep 0.05; done; kill $!; cat got
""", {"page": "a page\n"}, core=True),
    Row("rsync", "network", "debian:rsync", "mkdir a; seq 5 > a/n; rsync -a --delete a/ b/; cmp a/n b/n && rsync -ain a/ b/ && echo equal"),
    Row("socat", "network", "debian:socat", "socat UNIX-LISTEN:s,fork EXEC:cat & for n in $(seq 100); do test -S s && break; sleep 0.05; done; echo over | socat - UNIX-CONNECT:s; kill $!"),
    Row("netcat", "network", "debian:netcat-openbsd", "nc -lN 127.0.0.1 8633 > got & for n in $(seq 100); do grep -q ':21B9 .* 0A ' /proc/net/tcp && break; sleep 0.05; done; echo through | nc -N 127.0.0.1 8633; wait; cat got"),
    Row("dig", "network", "debian:bind9-dnsutils", "dig +short +time=2 +tries=1 api.openai.com | grep -c '^198\\.1[89]\\.'", control="outside there is no such name server", shows="1",
        how="names the policy allows have addresses of the cage's own"),
    Row("ping", "network", "debian:iputils-ping", "ping -c1 -W1 127.0.0.1", refused="not permitted|denied|cap_net_raw", control="raw sockets need rights outside too"),
)  # fmt: skip

REFUSED = (
    Row("bubblewrap", "fences", "debian:bubblewrap", "bwrap --ro-bind / / true", refused="No permissions to create new namespace", core=True,
        how="said at the start of the run where it is the command; the cage is the fence"),
    Row("unshare", "fences", "debian:util-linux", "unshare -Ur true", refused="Operation not permitted", core=True),
    Row("docker", "fences", "host:docker", "docker ps", refused="cannot connect to the docker daemon", control="it needs a daemon"),
    Row("mount", "fences", "debian:mount", "mkdir m; mount -t tmpfs none m", refused="must be superuser|permission denied|not permitted", control="needs root outside too", core=True),
    Row("su", "fences", "debian:login", "echo | su -c true root", refused="authentication failure|cannot set|must be|critical error", control="needs a password outside too", core=True),
    Row("apt-get install", "fences", "debian:apt", "apt-get install -y hello", refused="permission denied|could not open|read-only|not open lock|unable to", control="needs root outside too",
        how="the system is read-only inside; install outside"),
    Row("reading another's secrets", "fences", "debian:coreutils", "cat /etc/shadow", refused="no such file|permission denied", control="needs root outside too", core=True),
    Row("writing to the system", "fences", "debian:coreutils", "touch /usr/bin/planted", refused="read-only|permission denied", control="needs root outside too", core=True),
)  # fmt: skip

ROWS = (*SHELLS, *TOOLS, *VERSION_CONTROL, *NETWORK, *REFUSED)

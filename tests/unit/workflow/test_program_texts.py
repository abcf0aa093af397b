"""Which words of a command are a program's text, and which ordinary uses are not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from akiosd.errors import AkiosError
from akiosd.workflow.program_texts import (
    FILLED,
    PROGRAMS,
    find_at_files,
    find_texts,
    names_program,
    reads_program,
)
from akiosd.workflow.shell_traps import check_filled

X = "@"
"""Stands for what is filled in."""
TEXTS = """
sh -c @
sh -c -- @
sh -ec @
bash -cx @
bash -c -x @
bash -x -c @
bash -xc @
bash +x -c @
bash -o pipefail -c @
bash --norc -c @
bash --rcfile f -c @
bash -c 'echo @'
/bin/dash -c @
zsh -c @
sh @ @
sh -@ x
fish -c @
fish --command=@
python3 -c @
python3.11 -Bc @
python3 -c@
python3 -W ignore -c @
python3 @
perl -e @
perl -E@
perl -ne @
perl -lane @
perl -l -0 -pe @
perl -pi.bak -e @
perl -M@ x.pl
ruby -e @
ruby -ne @
ruby -r @ x.rb
node -e @
node -p @
node -pe @
node --eval=@
node --print @
node --ev @
deno eval @
php -r @
php -B @ x
lua5.4 -e @
awk @
awk -F , @
awk -F, @
awk -v n=1 @ file
gawk -e @
gawk --source=@
mawk -f lib.awk -e @
sed @
sed -n @
sed -e @
sed -ne @
sed -n -e p -e @
sed --expression=@
sed -i.bak @ file
sed -ie @
sed -e p @
env @
env -S @
env -i -S@
env A=1 sh -c @
env -S 'sh -c' @
env -u A @
su -c @
su user -c @
su - user --command=@
runuser user -c @
sudo -u user sh -c @
git -c @ status
git -c alias.x=@ x
git -c core.sshCommand=@ fetch
git --exec-path=@ x
git rebase -x @ main
git -C dir rebase --exec=@
git submodule foreach @
git bisect run @
git config alias.x @
git clone -u @ url
find . -exec @
find . -exec sh -c @ ;
find . -name x -execdir @ {} +
find . -ok perl -e @ ;
fd -x @
tar @
tar -I @ -xf a.tar
tar xIf @ a.tar
tar --to-command=@ -xf a.tar
tar --to-command @ -xf a.tar
tar --checkpoint=1 --checkpoint-action=exec=@ -cf a.tar .
tar --use-comp=@ -xf a
tar -cf a.tar @
rsync -e @ a b
rsync --rsh=@ a b
ssh host @
ssh -p 22 host ls @
ssh -o ProxyCommand=@ host
ssh -o @ host
ssh @
sqlite3 db @
sqlite3 -cmd @ db
sqlite3 -separator , db @
psql -c @
mysql -e @ db
gdb -ex @
vim -c @ file
vim --cmd @
emacs --eval @
xargs @
xargs sh -c @
xargs -n 1 -I{} @
nice @
nice -n 5 sh -c @
timeout 5 sh -c @
timeout -s KILL 5 @
stdbuf -oL sh -c @
stdbuf -o L python3 -c @
nohup sh -c @
setsid -w bash -c @
busybox sh -c @
busybox awk @
time -f %e sh -c @
flock lock -c @
flock lock sh -c @
script -c @ log
watch ls @
parallel echo @
strace -f -o log sh -c @
chroot dir sh -c @
make --eval=@
make @
make X=@
make -f Makefile all X=@
systemd-run --user -p ExecStartPost=@ true
systemd-run --user sh -c @
docker run --rm -v a:b image sh -c @
kubectl exec pod -- bash -ec @
uv run python3 -c @
capsh -- -c @
zip -T -TT @ a.zip b
zip -TT@ a.zip b
man -P @ ls
man --pager=@ ls
split --filter=@ f
sort --compress-program=@ f
wget -e @ url
wget --use-askpass=@ url
tcpdump -z @ -r f
apt-get -o @ update
gcc -wrapper @ x.c
npm exec -c @
npx --call=@
socat - @
pdflatex @
jq @
env GIT_SSH_COMMAND=@ git fetch
env BASH_ENV=@ bash s.sh
git archive --remote=r --exec=@
scp -D @ a b
timeout 5 nice -n 1 env A=1 xargs busybox sh -c @
"""
ORDINARY = """
sh -c 'wc -c "$1"' sh @
bash -c 'echo "$1" "$2"' bash @ @
bash script.sh @ @
bash -- @ @
sh @
sh -e -o pipefail run.sh @
python3 script.py @
python3 -m json.tool @
python3 -c 'import sys' @
python3 -W ignore s.py -c @
python3 -- @
python3 scripts/@.py
perl -ne print file @
perl s.pl -e @
ruby s.rb @
node server.js --eval @
node -r dotenv/config app.js @
deno run x.ts @
php -f s.php @
php s.php @
awk '{ print $1 }' @
awk -F @ '{ print $1 }' file
awk -v n=@ 'BEGIN { print n }' @
awk -f s.awk -- @
sed -e s/a/b/ -- @
sed -n -e p data/@
sed s/a/b/ data/@
sed -f s.sed -- @
env A=@ ls
env -u A ls @
env A=1 python3 s.py @
su -c 'ls' user
sudo -u @ ls @
git commit -m @
git -C @ status
git -c user.name=@ commit -m x
git clone @
git clone -b @ -- @ dir
git log --grep=@
git checkout @
git config user.email @
git bisect good @
git submodule add @
git grep -e @
git rebase @
find @ -name @
find . -name '*.py' -newer @
jq --arg x @ '.[$x]' file
jq -f f.jq @
make -f @ all
env GIT_AUTHOR_NAME=@ git commit -m @
docker run -e A=@ image python3 s.py @
systemd-run --user -u @ ls @
git commit -m @ --author=@
find . -exec grep -n @ {} +
find . -exec sh -c 'echo "$1"' sh @ ;
tar -xf @
tar xf @
tar -xzf @ -C @
tar xzfC @ @
tar --file=@ -x
tar -czf @ -- @
tar -czf out.tgz data/@
rsync -a @ @
ssh -p @ host
ssh -o ConnectTimeout=@ host
ssh -i @ host ls
sqlite3 @ 'select 1'
psql -v n=@ -f q.sql
xargs -n @ ls
xargs -a @ ls
nice -n @ ls @
timeout @ ls @
timeout 5 python3 s.py @
stdbuf -oL grep @
busybox ls @
flock @ ls
watch -n 2 ls

make -C @ all
zip a.zip -- @
man @
split -b @ f
grep -e @ file
cp @ @
curl -o @ @
jq . @
echo -c @
pytest -k @
npm run @
cargo run -- @
docker run -e A=@ image
convert @ -e @
./tool -c @
"""


def places(line: str) -> tuple[list[str], set[int]]:
    words = [word.replace(X, FILLED) for word in shlex.split(line)]
    return words, find_texts(words)


@pytest.mark.parametrize("line", TEXTS.strip().splitlines())
def test_a_value_is_no_program_text(line: str) -> None:
    assert places(line)[1]


@pytest.mark.parametrize("line", ORDINARY.strip().splitlines())
def test_ordinary_uses_are_not_refused(line: str) -> None:
    assert not places(line)[1]


@pytest.mark.parametrize("line", TEXTS.strip().splitlines())
def test_the_same_commands_without_values_are_none_of_its_business(line: str) -> None:
    assert not find_texts(shlex.split(line.replace(X, "x")))


def test_the_place_is_that_of_the_value() -> None:
    assert places("timeout 5 sh -c @ sh @")[1] == {4}
    assert places("find . -name @ -exec sh -c @ sh @ ;")[1] == {7}
    assert places("env -S 'sh -c' @")[1] == {3}


# What a program does with a value: `%` is a command for a shell that leaves a mark.
DONE = """
sh -c @ | %
sh -c 'eval "$1"' sh x ; sh -c @ | %
bash -ec @ | %
env -S @ | sh -c '%'
env sh -c @ | %
perl -e @ | system q(%)
python3 -c @ | __import__("os").system("%")
node -e @ | require("child_process").execSync("%")
make -f Makefile @ | X=$(shell %)
make -f Makefile X=@ | $(shell %)
make -f Makefile all -E @ | $(shell %)
make --eval=@ -f Makefile | $(shell %)
awk @ | BEGIN { system("%") }
mawk @ | BEGIN { system("%") }
sed -e @ file | 1e %
sed -n @ file | 1e %
find . -maxdepth 0 -exec sh -c @ ; | %
tar --checkpoint=1 --checkpoint-action=@ -cf out.tar file | exec=%
tar -cf out.tar --to-command=@ file ; tar -xf in.tar --to-command=@ | %
tar -cf out.tar -I @ file | sh -c '%'
zip -q -T -TT @ out.zip file | %; true
split --filter=@ file | %
man -P @ --local-file page.1 | sh -c '%'
git -c @ x | alias.x=!%
git -c core.fsmonitor=@ status | %
git rebase -q --root -x @ | %
git clone -q -u @ ./ other | %;git-upload-pack
git grep -O@ content | sh -c '%' x
git bisect run @ | ./leaves-mark
git submodule foreach @ | %
flock lock -c @ | %
script -qc @ /dev/null | %
nice sh -c @ | %
timeout 5 sh -c @ | %
xargs -a file sh -c @ | %
strace -o log sh -c @ | %
sqlite3 :memory: @ | .shell %
sqlite3 -cmd @ :memory: .quit | .shell %
gdb -q -batch -ex @ | shell %
ssh -o @ host.invalid | ProxyCommand=%
ssh -o ProxyCommand=@ host.invalid | %
vim -es -u NONE -c @ -c q! | !%
ed -s file @ | %
capsh -- -c @ | %
run-in-shell sh -c @ | %
env BASH_ENV=@ bash s.sh | $(%)
tclsh @ | ./leaves-mark.tcl
"""
ONLY_TOLD = (
    "ed -s file",
    "sh -c 'eval",
    "tar -cf out.tar --to",
    "run-in",
    "tclsh",
    "git submodule",
    "git bisect",
    "git rebase",
    "man",
)
"""Rows that a plain call cannot show: they need a repository in some state, or two commands."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "s.sh").write_text("true\n")
    (tmp_path / "Makefile").write_text("all:\n\t@true $(X)\n")
    (tmp_path / "page.1").write_text(".TH page 1\n.SH NAME\npage - a page\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "file"), (*who, "commit", "-qm", "a")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env=ENVIRONMENT)
    return tmp_path


ENVIRONMENT = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
}  # fmt: skip


def does(place: Path, words: Sequence[str], stdin: str = "") -> bool:
    """Whether a command leaves a mark; it is removed again."""
    subprocess.run(
        words, cwd=place, env=ENVIRONMENT, input=stdin.encode(), capture_output=True, timeout=20,
        start_new_session=True,
    )  # fmt: skip
    is_there = (place / "MARK").is_file()
    (place / "MARK").unlink(missing_ok=True)
    return is_there


REAL = [row for row in DONE.strip().splitlines() if not row.startswith(ONLY_TOLD)]


@pytest.mark.parametrize("row", REAL)
def test_what_the_table_calls_text_is_executed_by_the_real_program(place: Path, row: str) -> None:
    """The claim of the table, and that it is one: the same command with a harmless value is not."""
    line, _, value = row.partition(" | ")
    words = shlex.split(line.replace("\\;", ";"))
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    assert find_texts([word.replace(X, FILLED) for word in words]), "the table does not know it"
    assert not does(place, [word.replace(X, "harmless") for word in words]), "control"
    hostile = value.replace("%", f"touch {place}/MARK")
    assert does(place, [word.replace(X, hostile) for word in words])


HOSTILE = (
    "X:=$(shell %)", "$(shell %)", "--eval=$(shell %)", "-c%", "-e%", "--exec=%", "-exec", "--upload-pack=%;false",
    "-u%", "-O%", "--open-files-in-pager=%", "$(%)", "`%`", ";%", "|%", "-TT%", "-P%", "--pager=%", "--filter=%",
    "--checkpoint-action=exec=%", "-I%", "--to-command=%", "-oProxyCommand=%", "-cmd .shell %", "--init-file=%",
    "!%", "+!%", "ext::sh -c %", "\n%\n", "BASH_ENV=$(%)",
)  # fmt: skip
SAFE = """
sh -c 'wc -c "$1"' sh @
git clone -q @ other
git ls-remote @ @
git grep @
git commit --allow-empty -qm @
find @ -name @
find . -maxdepth 0 @ @ @
sort @ @
split @ @
zip -q -T out.zip @ @
rsync -a @ @
grep -e @ file
grep @ @
env A=@ true
env GIT_AUTHOR_NAME=@ git log
xargs -a file echo @
jq -n --arg x @ '$x'
jq . @
tar -cf out.tar -- @
awk '{ print }' @
cp @ @
"""


@pytest.mark.parametrize("line", SAFE.strip().splitlines())
def test_no_value_that_is_let_through_is_executed(place: Path, line: str) -> None:
    """Of each hostile value: it is refused when it is filled in, or does nothing."""
    words = shlex.split(line)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    written = [word.replace(X, "{inputs.x}") for word in words]
    assert not find_texts([word.replace(X, FILLED) for word in words])
    for value in HOSTILE:
        hostile = value.replace("%", f"touch {place}/MARK")
        filled = [word.replace(X, hostile) for word in words]
        try:
            check_filled("tool", "parameters", {"argv": written}, {"argv": filled})
        except AkiosError as error:
            assert "begins with -" in error.what
            continue
        assert not does(place, filled), value


@pytest.mark.parametrize(
    "line",
    ["git clone -q @ other", "git grep @", "zip -q -T out.zip @ @", "find . -maxdepth 0 @ @ @"],
)
def test_some_of_these_values_would_be_executed_if_they_were_let_through(
    place: Path, line: str
) -> None:
    """The control of the above."""
    mark = f"touch {place}/MARK"
    values = {
        "git clone -q @ other": [f"--upload-pack={mark};git-upload-pack", "."],
        "git grep @": [f"-Osh -c '{mark}' x", "content"],
        "zip -q -T out.zip @ @": ["-TT", f"{mark}; true"],
        "find . -maxdepth 0 @ @ @": ["-exec", "touch", f"{place}/MARK"],
    }
    words = shlex.split(line)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    tails = {"git clone -q @ other": ["other"], "find . -maxdepth 0 @ @ @": [";"]}
    tail = tails.get(line, ["file"] if words[0] == "zip" else [])
    fixed = [word for word in words if X not in word and word != "other"]
    assert does(place, [*fixed, *values[line], *tail])
    with pytest.raises(AkiosError, match="begins with -"):
        first = values[line][0]
        check_filled(
            "tool", "parameters", {"argv": [*fixed, "{inputs.x}"]}, {"argv": [*fixed, first]}
        )


READ = """
sh | %
sh -s x | %
bash - | %
python3 | __import__("os").system("%")
python3 - x | __import__("os").system("%")
perl | system q(%)
node | require("child_process").execSync("%")
timeout 5 sh | %
env A=1 bash | %
sqlite3 :memory: | .shell %
gdb -q -batch-silent -x /dev/stdin | shell %
ed -s | !%
xargs -d @@ sh -c | %
xargs -I{} sh -c {} | '%'
tclsh | exec sh -c {%}
make -f - | all:;%
make --file=/dev/stdin | all:;%
awk -f - | BEGIN { system("%") }
sed -n -f - file | 1e %
"""
READ_AS_DATA = """
sh s.sh
sh -c 'cat' x
perl -ne 1
awk '{ print }'
sqlite3 :memory: 'select 1'
xargs echo
xargs -I{} echo {}
jq .
git apply
"""


@pytest.mark.parametrize("row", READ.strip().splitlines())
def test_what_reads_a_program_from_its_input_is_known(place: Path, row: str) -> None:
    line, _, value = row.partition(" | ")
    words = shlex.split(line.replace("@@", "@"))
    assert reads_program(words)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    if words[0] != "gdb":  # it reads commands from its input only on a terminal, or so
        assert not does(place, words, "harmless\n") and does(
            place, words, value.replace("%", f"touch {place}/MARK") + "\n" * (words[0] != "xargs")
        )


@pytest.mark.parametrize("line", READ_AS_DATA.strip().splitlines())
def test_what_reads_its_input_as_data_may_be_given_values(place: Path, line: str) -> None:
    words = shlex.split(line)
    assert not reads_program(words)
    for value in HOSTILE if shutil.which(words[0]) else ():
        assert not does(place, words, value.replace("%", f"touch {place}/MARK") + "\n"), value


ADDED = """
xargs git ls-remote | "--upload-pack=%;false" . | .
xargs -d, git ls-remote | --upload-pack=%;false,. | .
xargs -I{} git ls-remote {} . | --upload-pack=%;false | .
timeout 9 xargs tar -cf out.tar file | --checkpoint=1 "--checkpoint-action=exec=%" | file
"""


@pytest.mark.parametrize("row", ADDED.strip().splitlines())
def test_words_of_an_input_that_become_options_are_refused(place: Path, row: str) -> None:
    """The control: the real program does what such a word says; ordinary ones are let through, and
    all are behind ``--``.
    """
    line, value, ordinary = row.split(" | ")
    words = shlex.split(line)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    hostile = value.replace("%", f"touch {place}/MARK")
    written = {"argv": words, "stdin": "{inputs.x}"}
    assert does(place, words, hostile) and not does(place, words, ordinary)
    with pytest.raises(AkiosError, match="would read it as an option"):
        check_filled("tool", "parameters", written, {"argv": words, "stdin": hostile})
    check_filled("tool", "parameters", written, {"argv": words, "stdin": ordinary})
    if "-I" not in line:
        behind = {"argv": [*words, "--"], "stdin": "{inputs.x}"}
        check_filled("tool", "parameters", behind, {"argv": [*words, "--"], "stdin": hostile})


def at_programs() -> list[str]:
    return sorted(name for name, program in PROGRAMS.items() if program.at_files)


@pytest.mark.parametrize("name", at_programs())
def test_options_from_files_that_a_value_names_are_refused(place: Path, name: str) -> None:
    """The control: the real program reads them, and it does not where the value is let through."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    check = {"argv": [name, "{inputs.x}"]}
    with pytest.raises(AkiosError, match="further words from a file"):
        check_filled("tool", "parameters", check, {"argv": [name, "@opts"]})
    check_filled("tool", "parameters", check, {"argv": [name, "./@opts"]})
    assert find_texts([name, f"@{FILLED}"]) == {1} == find_texts([name, f"@dir/{FILLED}"])
    if found is None:
        pytest.skip(f"{name} is not installed")
    (place / "opts").write_text("--version\n")

    def say(word: str) -> str:
        done = subprocess.run(
            [found, word], cwd=place, capture_output=True, text=True, timeout=60,
            env=dict(os.environ), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout + done.stderr

    if name == "pytest":  # it looks for this option before it reads the file
        assert "not found" not in say("@opts") and "not found" in say("./@opts")
        return
    version = say("--version").splitlines()[0]
    assert version and version in say("@opts") and version not in say("./@opts")


def test_words_behind_a_main_class_are_a_programs_own() -> None:
    words = ["java", "-jar", "x.jar", FILLED]
    assert find_at_files(words) == set() and find_at_files(["gcc", "--", FILLED]) == {2}
    assert find_at_files(["java", "-cp", FILLED, "Main"]) == {2}
    for name in ("gcc-12", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-g++-13", "/bin/clang++-14"):
        assert find_at_files([name, "-c", FILLED]) == {2}, name
    assert find_texts(["gcc", f"-Wl,{FILLED}"]) and find_texts(["gcc", "-Xlinker", FILLED])
    assert not find_texts(["gcc", "-c", FILLED]) and not find_texts(["gcc", "-o", FILLED])


def test_variables_that_programs_run_are_known(place: Path) -> None:
    mark = f"touch {place}/MARK"
    for name, value, words in (
        ("BASH_ENV", f"$({mark})", ["bash", "s.sh"]),
        (
            "GIT_EXTERNAL_DIFF",
            f"{mark};true",
            ["git", "diff", "HEAD~0", "--ext-diff", "--", "file"],
        ),
        ("GIT_SSH_COMMAND", f"{mark};true", ["git", "ls-remote", "ssh://host.invalid/x"]),
        ("PERL5OPT", "-Mlib=.", ["perl", "-e", "1"]),
        ("MAKEFLAGS", f"--eval=$(shell${{IFS}}{mark})", ["make", "-f", "Makefile"]),
    ):
        assert names_program(name), name
        if name in ("BASH_ENV", "GIT_SSH_COMMAND"):
            assert does(place, ["env", f"{name}={value}", *words]), name
    for name in ("INPUT", "LANG", "FILE_PATH", "GIT_AUTHOR_NAME", "SEARCH_OPTIONS", "TOKEN"):
        assert not names_program(name), name


@pytest.mark.parametrize("value", ["-5", "-0.5", "-", "- a list", "x", "", "--", "-\n"])
def test_values_that_are_no_options_are_let_through(value: str) -> None:
    check = {"argv": ["seq", "{inputs.x}"]}, {"argv": ["seq", value]}
    if value == "--":
        with pytest.raises(AkiosError):
            check_filled("tool", "parameters", *check)
    else:
        check_filled("tool", "parameters", *check)
    check_filled(
        "tool", "parameters", {"argv": ["cat", "--", "{inputs.x}"]}, {"argv": ["cat", "--", "-n"]}
    )

"""Which words of a command are a program's text, and which ordinary uses are not."""

from __future__ import annotations

import shlex

import pytest

from akiosd.workflow.program_texts import FILLED, find_texts

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
make @
make -C @ all
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

# Sourced by packaging/quickstart and packaging/test: makes .venv with everything in it, from a bare Debian 12, Debian 13 or
# Ubuntu 24.04 with python3 and root. Says what it installs, does nothing that is already done, and asks the network for nothing then;
# a second run takes under a second.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$repo/.venv
python=$venv/bin/python
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

build_packages=(
  gcc libc6-dev python3 python3-venv python3-dev libseccomp-dev libcap-dev libssl-dev ca-certificates e2fsprogs kmod util-linux
)
test_packages=(git tmux strace bubblewrap procps openssh-client mmdebstrap debian-archive-keyring mandoc xz-utils zstd)

# What each environment takes on disk, in MB.
run_venv_mb=90
test_venv_mb=385
chat_venv_mb=60

fail() { # WHAT WHERE NEXT
  printf '%s: %s\n  where: %s\n  next:  %s\n' "${0##*/}" "$1" "$2" "$3" >&2
  exit 1
}

# The first line of a log that says why nothing came over the network, in the words of apt, pip or the C library; else nothing.
find_cause() { # LOG
  grep -oim1 -E \
    -e "temporary failure (resolving|in name resolution)[^\"),]*" -e "could not resolve[^\"),]*" -e "name or service not known" \
    -e "network is unreachable" -e "no route to host" -e "connection (refused|timed out)" -e "connect timeout" \
    -e "certificate verif[a-z]+ failed[^\"),]*" -e "proxy[^\"),]* (failed|refused|required)[^\"),]*" -e "403 +forbidden" "$1" || true
}

# quiet TITLE NEXT COMMAND...: the command's own words are shown only if it fails.
quiet() {
  local title=$1 next=$2 log cause
  shift 2
  echo "  setup: $title …"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1 </dev/null; then
    cause=$(find_cause "$log")
    [ -n "$cause" ] || tail -n 30 "$log" >&2
    rm -f "$log"
    fail "$title failed${cause:+: $cause}" "$*" "$next"
  fi
  rm -f "$log"
}

online="connect to the network and run this again; once set up, it works without"

missing_packages() {
  local name
  declare -A installed=()
  while read -r name; do installed[$name]=1; done < <(
    # shellcheck disable=SC2016
    dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' "$@" 2>/dev/null | awk '$2 == "ii" {print $1}'
  )
  for name in "$@"; do [ -n "${installed[$name]:-}" ] || echo "$name"; done
}

# What apt would fetch and write for these packages, in its own figures; apt 3 words it otherwise than apt 2.
apt_sizes() {
  LC_ALL=C apt-get -q --no-install-recommends --assume-no install "$@" 2>/dev/null | sed -nE \
    -e 's/^Need to get (.*) of archives\.$/\1 to download/p' -e 's/^After this operation, (.*) of additional .*/\1 on disk/p' \
    -e 's/^ *Download size: (.*)$/\1 to download/p' -e 's/^ *Space needed: ([^/]*[^/ ]).*$/\1 on disk/p' | paste -sd, - | sed 's/,/, /g' || true
}

install_packages() {
  local missing sizes
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    fail "packages are missing: ${missing[*]}" "this system has no apt-get" "use Debian 12, Debian 13 or Ubuntu 24.04, or install them by hand"
  echo "setup: for the system, by apt: ${missing[*]}"
  quiet "apt-get update" "$online; /etc/apt/sources.list* say where apt looks" apt-get -q -o APT::Update::Error-Mode=any update
  sizes=$(apt_sizes "${missing[@]}")
  quiet "apt-get install, with what they need${sizes:+: $sizes}" "$online, or read apt's words above" \
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
}

# Content, not time: a checkout or a copy must not look newer than it is.
digest() { (cd "$repo" && find "$@" -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

# A directory of that name that somebody else made is not ours to clear.
make_venv() {
  local system
  system=$(/usr/bin/python3 -I -c 'import sys; print(sys.version, sys.version_info >= (3, 11))') ||
    fail "no working Python" /usr/bin/python3 "apt-get install python3"
  [[ $system == *True ]] || fail "Python is older than 3.11" /usr/bin/python3 "use Debian 12, Debian 13 or Ubuntu 24.04"
  [ "$("$python" -I -c 'import sys; print(sys.version, True)' 2>/dev/null)" = "$system" ] && return
  if [ -e "$venv" ]; then
    [ -e "$venv/akios-made" ] || [ -e "$venv/akios-requirements" ] ||
      fail ".venv is not of this script's making, and not of the system's Python" "$venv" "move it away and run this again"
    rm -rf --one-file-system "$venv"
  fi
  mkdir "$venv"
  touch "$venv/akios-made"
  quiet "python3 -m venv .venv" "remove $venv and run this again" /usr/bin/python3 -I -m venv "$venv"
}

# The names that lists of pyproject.toml begin their lines with: "dependencies", or that of an extra.
python_names() { # LIST...
  "$python" -I -c '
import re, sys, tomllib
project = tomllib.load(open(sys.argv[1] + "/pyproject.toml", "rb"))["project"]
lists = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
print(*(re.split("[^A-Za-z0-9_.-]", one)[0] for name in sys.argv[2:] for one in lists[name]))' "$repo" "$@"
}

# What a venv with them takes was measured; the first hour's test compares.
say_python_packages() { # run|test
  local lists=(dependencies) mb=$run_venv_mb
  [ "$1" = run ] || { lists+=(test workflow api) && mb=$test_venv_mb; }
  echo "setup: into .venv, from PyPI: $(python_names "${lists[@]}"), with what they need: about $mb MB on disk"
}

pip_install() { "$python" -I -m pip install -q --config-settings editable_mode=compat "$@"; }

install_project() { # run|test
  local kind=$1 target=$repo wanted built known=()
  # entry.c becomes the programs beside the interpreter, which only pip puts there.
  wanted=$(digest pyproject.toml native/src/entry.c)
  built=$(digest native)
  mapfile -t known < <(cat "$venv/akios-requirements" 2>/dev/null)
  [ "${known[1]:-}" != test ] || kind=test # what the tests need stays, and is brought up to date
  [ "$kind" = run ] || target="$repo[test,workflow,api]"
  if [ "${known[0]:-}" != "$wanted" ] || [ "${known[1]:-}" != "$kind" ]; then
    rm -f "$venv/akios-requirements" "$venv/akios-native"
    # setuptools stays in the environment so that native/build_shim.py can be run by itself after an edit, and this without a network.
    if ! pip_install --no-index --no-build-isolation -e "$target" 'setuptools>=77' >/dev/null 2>&1; then
      say_python_packages "$kind"
      quiet "pip install -e .$([ "$kind" = run ] || echo "[test,workflow,api]")" "$online; packages come from PyPI, or as pip's own settings say" \
        pip_install --retries 2 -e "$target" 'setuptools>=77'
    fi
    echo "$built" >"$venv/akios-native"
    printf '%s\n' "$wanted" "$kind" >"$venv/akios-requirements"
  elif [ "$(cat "$venv/akios-native" 2>/dev/null)" != "$built" ] || ! (cd / && "$python" -I -c 'import akiosd.kernel._shim') 2>/dev/null; then
    quiet "compiling native/" "read the compiler's words above" "$python" -I "$repo/native/build_shim.py"
    echo "$built" >"$venv/akios-native"
  fi
}

# An extra of pyproject.toml that only a named set of tests needs, after setup.
install_extra() { # NAME
  local made=$venv/akios-extra-$1 wanted
  wanted=$(digest pyproject.toml)
  [ "$(cat "$made" 2>/dev/null)" != "$wanted" ] || return 0
  echo "setup: into .venv, from PyPI: $(python_names "$1"), with what they need"
  quiet "pip install -e .[$1]" "$online; packages come from PyPI, or as pip's own settings say" \
    pip_install --retries 2 -e "$repo[test,workflow,api,$1]" 'setuptools>=77'
  echo "$wanted" >"$made"
}

# An environment of the system's Python with the official SDK, which the quickstart's project gets a copy of.
chat_venv=$venv/quickstart
install_chat() {
  [ ! -e "$chat_venv/akios-made" ] || return 0
  rm -rf --one-file-system "$chat_venv"
  echo "setup: into .venv/quickstart, from PyPI: openai, with what it needs: about $chat_venv_mb MB on disk"
  quiet "pip install openai" "$online; packages come from PyPI, or as pip's own settings say" \
    sh -c '/usr/bin/python3 -I -m venv "$1" && "$1/bin/python" -I -m pip install -q --retries 2 openai' sh "$chat_venv"
  touch "$chat_venv/akios-made"
}

# Who gets what this script makes: the user who typed sudo, else the owner of the checkout.
find_owner() {
  if [[ ${SUDO_UID:-} =~ ^[1-9][0-9]*$ ]] && [[ ${SUDO_GID:-} =~ ^[0-9]+$ ]]; then
    echo "$SUDO_UID:$SUDO_GID"
  else
    stat -c %u:%g "$repo"
  fi
}

root_owned() { find "$repo" -xdev -path "$repo/.cache/vm" -prune -o -user 0 -print0 | sort -z; }

# What was root's before stays root's: it is not ours to give away.
note_root_owned() { before=$(mktemp) && root_owned >"$before"; }

# Run through sudo, what root made here must not stand in that user's way afterwards.
give_back() {
  local owner
  owner=$(find_owner)
  [ -n "${before:-}" ] || return 0
  [ "${owner%%:*}" = 0 ] || root_owned | comm -z -13 "$before" - | xargs -0r chown -h "$owner"
  # Our own directory, also where an earlier run was killed before it came to this line.
  [ "${owner%%:*}" = 0 ] || [ ! -e "$venv/akios-made" ] || find "$venv" -xdev -user 0 -exec chown -h "$owner" {} +
  rm -f "$before"
  before=
}

setup() { # run|test
  [ "$(id -u)" = 0 ] || fail "root is needed (namespaces, cgroups, mounts)" "uid $(id -u)" "sudo $0, or as root: $0"
  [ "$(uname -s)" = Linux ] || fail "AKIOS runs on Linux only" "$(uname -s)" "use Debian 12, Debian 13 or Ubuntu 24.04"
  # sudo may keep the caller's home: pip and git would leave root's files there.
  HOME=$(getent passwd 0 | cut -d: -f6)
  export HOME
  note_root_owned
  trap give_back EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  install_packages "${build_packages[@]}"
  if [ "$1" = test ]; then
    install_packages "${test_packages[@]}"
    command -v npm >/dev/null || install_packages nodejs npm
  fi
  make_venv
  install_project "$1"
}

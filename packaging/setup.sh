# Sourced by packaging/quickstart and packaging/test: makes .venv with everything in it, from a bare Debian 12, Debian 13 or
# Ubuntu 24.04 with python3 and root. Does nothing that is already done; a second run takes under a second.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$repo/.venv
python=$venv/bin/python
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

build_packages=(
  gcc libc6-dev python3 python3-venv python3-dev libseccomp-dev libcap-dev libssl-dev ca-certificates e2fsprogs kmod util-linux
)
test_packages=(git tmux strace bubblewrap procps openssh-client mmdebstrap debian-archive-keyring xz-utils zstd)

fail() { # WHAT WHERE NEXT
  printf '%s: %s\n  where: %s\n  next:  %s\n' "${0##*/}" "$1" "$2" "$3" >&2
  exit 1
}

# quiet TITLE NEXT COMMAND...: the command's own words are shown only if it fails.
quiet() {
  local title=$1 next=$2 log
  shift 2
  echo "  setup: $title …"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    fail "$title failed" "$*" "$next"
  fi
  rm -f "$log"
}

missing_packages() {
  local name
  declare -A installed=()
  while read -r name; do installed[$name]=1; done < <(
    # shellcheck disable=SC2016
    dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' "$@" 2>/dev/null | awk '$2 == "ii" {print $1}'
  )
  for name in "$@"; do [ -n "${installed[$name]:-}" ] || echo "$name"; done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    fail "packages are missing: ${missing[*]}" "this system has no apt-get" "use Debian 12, Debian 13 or Ubuntu 24.04, or install them by hand"
  quiet "apt-get update" "check the network and /etc/apt/sources.list" apt-get -q update
  quiet "apt-get install ${missing[*]}" "read apt's words above" \
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
}

# Content, not time: a checkout or a copy must not look newer than it is.
digest() { (cd "$repo" && find "$@" -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

make_venv() {
  local system
  system=$(/usr/bin/python3 -I -c 'import sys; print(sys.version, sys.version_info >= (3, 11))') ||
    fail "no working Python" /usr/bin/python3 "apt-get install python3"
  [[ $system == *True ]] || fail "Python is older than 3.11" /usr/bin/python3 "use Debian 12, Debian 13 or Ubuntu 24.04"
  [ "$("$python" -I -c 'import sys; print(sys.version, True)' 2>/dev/null)" = "$system" ] && return
  quiet "python3 -m venv .venv" "remove $venv and run this again" /usr/bin/python3 -I -m venv --clear "$venv"
}

install_project() {
  local wanted built
  # entry.c becomes the programs beside the interpreter, which only pip puts there.
  wanted=$(digest pyproject.toml native/src/entry.c)
  built=$(digest native)
  if [ "$(cat "$venv/akios-requirements" 2>/dev/null)" != "$wanted" ]; then
    rm -f "$venv"/akios-*
    # setuptools stays in the environment so that native/build_shim.py can be run by itself after an edit.
    quiet "pip install -e .[test]" "check the network; python packages come from PyPI" \
      "$python" -I -m pip install -q --config-settings editable_mode=compat -e "$repo[test]" 'setuptools>=77'
    echo "$built" >"$venv/akios-native"
    echo "$wanted" >"$venv/akios-requirements"
  elif [ "$(cat "$venv/akios-native" 2>/dev/null)" != "$built" ] || ! (cd / && "$python" -I -c 'import akiosd.kernel._shim') 2>/dev/null; then
    quiet "compiling native/" "read the compiler's words above" "$python" -I "$repo/native/build_shim.py"
    echo "$built" >"$venv/akios-native"
  fi
}

# Run through sudo in a user's checkout, what root made here must not stand in that user's way afterwards.
give_back() {
  local owner
  owner=$(stat -c %u:%g "$repo")
  [ "${owner%%:*}" = 0 ] || find "$repo" -xdev -path "$repo/.cache" -prune -o -user 0 -exec chown -h "$owner" {} +
}

setup() { # [test]
  [ "$(id -u)" = 0 ] || fail "root is needed (namespaces, cgroups, mounts)" "uid $(id -u)" "sudo $0"
  [ "$(uname -s)" = Linux ] || fail "AKIOS runs on Linux only" "$(uname -s)" "use Debian 12, Debian 13 or Ubuntu 24.04"
  # sudo may keep the caller's home: pip and git would leave root's files there.
  HOME=$(getent passwd 0 | cut -d: -f6)
  export HOME
  install_packages "${build_packages[@]}"
  if [ "${1:-}" = test ]; then
    install_packages "${test_packages[@]}"
    command -v npm >/dev/null || install_packages nodejs npm
  fi
  make_venv
  install_project
  give_back
}

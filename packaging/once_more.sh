# Sourced by packaging/test: one test of thousands that fails on a busy machine does not make a whole run worthless, and is not
# forgotten either.  Up to three tests of a stage that failed are run once more, each alone in a process of its own; the stage
# passes if all of them do, and the run names them at its end.  A test that fails twice, and a fourth one, fail the stage.
# AKIOS_ONCE_MORE=0 switches this off, for who looks for such tests.  tests/once_more.py tells which failures count.
# shellcheck shell=bash

tries_at_most=3
failed_once=()

# The array `pytest` is the program that runs tests, `arguments` is what the caller of packaging/test gave for it.
run_twice() { # SCRATCH-DIRECTORY PYTEST-ARGUMENT...
  # shellcheck disable=SC2154
  local list=$1/failures code failures i
  shift
  "${pytest[@]}" -p tests.once_more --failures "$list" "$@" "${arguments[@]}"
  code=$?
  # "No test was selected" is no success by itself, only where the caller narrowed the selection.
  [ $code -eq 5 ] && [ ${#arguments[@]} -gt 0 ] && return 0
  [ $code -eq 1 ] && [ "${AKIOS_ONCE_MORE:-1}" != 0 ] && [ -s "$list" ] || return $code
  mapfile -d '' -t failures <"$list" # a name, what it said, a name, …
  [ ${#failures[@]} -le $((2 * tries_at_most)) ] || return $code
  for ((i = 0; i < ${#failures[@]}; i += 2)); do
    printf '\n== once more, alone: %s\n' "${failures[i]}"
    "${pytest[@]}" -p tests.once_more --alone "${arguments[@]}" "${failures[i]}" || return 1
    failed_once+=("${failures[i]}"$'\n    '"${failures[i + 1]}")
  done
}

say_failed_once() {
  [ ${#failed_once[@]} -eq 0 ] && return
  printf '%s\n' '' '!! These tests failed and then passed alone.  The whole text of each failure is above.'
  printf '!! failed once, passed alone: %s\n' "${failed_once[@]}"
}

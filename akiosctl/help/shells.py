"""The scripts for bash, zsh and fish, made from the table of words (``words``).

Each holds verbs, options and fixed values as data, and asks ``akiosctl completion --cages`` for the
names of cages.  Whatever is put into a script is quoted for that shell.  ``akios``, the short name
of akiosctl, is completed alike.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from akiosctl.help.words import (
    CAGES,
    CHANGES,
    COMMAND,
    DIRECTORY,
    FILE,
    ONE,
    RUNNING,
    Option,
    Verb,
)

_OF_CAGES = (CAGES, RUNNING, CHANGES)

_BASH = """# Completion of akiosctl for bash, made by: akiosctl completion bash
_akiosctl_about() {
    verbs='' options='' values='' arguments=''
    case $1 in
%s
    esac
}

_akiosctl_words() { # KIND: what stands for it
    case $1 in
        cages | running | changes)
            "${COMP_WORDS[0]}" ${socket:+--socket "$socket"} completion --cages "$1" 2> /dev/null |
                cut -f 1 ;;
        one:*) tr , '\\n' <<< "${1#one:}" ;;
    esac
}

_akiosctl_value() { # KIND
    local IFS=$'\\n'
    case $1 in
        file) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;
        directory) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -d -- "$current")) ;;
        command) COMPREPLY=($(compgen -c -- "$current")) ;;
        text) ;;
        *) COMPREPLY=($(compgen -W "$(_akiosctl_words "$1")" -- "$current")) ;;
    esac
}

_akiosctl_takes() { # OPTION: the kind of its value
    local pair
    for pair in $values; do
        [[ ${pair%%%%=*} == "$1" ]] && printf %%s "${pair#*=}"
    done
}

_akiosctl() {
    local current=${COMP_WORDS[COMP_CWORD]} verb='' verbs options values arguments
    local word option='' takes='' count=0 socket='' index
    COMPREPLY=()
    _akiosctl_about ''
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ -n $takes ]]; then
            [[ $word == = ]] && continue # bash makes it a word of its own
            [[ $option == --socket ]] && socket=$word
            takes='' option=''
        elif [[ $word == -- || $word != -* && $arguments == command* ]]; then
            [[ $word == -- ]] && ((index++))
            if ((index >= COMP_CWORD)); then
                _akiosctl_value command
            elif declare -F _command_offset > /dev/null; then
                _command_offset "$index"
            else
                _akiosctl_value file
            fi
            return
        elif [[ $word == -* ]]; then
            takes=$(_akiosctl_takes "$word") option=$word
        elif [[ -n $verbs ]]; then
            verb=${verb:+$verb }$word
            _akiosctl_about "$verb"
        else
            ((count++))
        fi
    done
    if [[ -n $takes ]]; then
        [[ $current == = ]] && current=''
        _akiosctl_value "$takes"
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    elif [[ -n $verbs ]]; then
        COMPREPLY=($(compgen -W "$verbs" -- "$current"))
    else
        local kinds=($arguments)
        local kind=${kinds[count]:-}
        [[ -z $kind && ${kinds[*]: -1} == *... ]] && kind=${kinds[*]: -1}
        _akiosctl_value "${kind%%...}"
    fi
}
complete -F _akiosctl akiosctl akios
"""


def bash(root: Verb) -> str:
    """For bash(1), Programmable Completion; bash-completion is used where it is loaded."""
    rows = []
    for verb in root.walk():
        values = [f"{name}={one.takes}" for one in verb.options if one.takes for name in one.names]
        parts = {
            "verbs": [below.path[-1] for below in verb.verbs],
            "options": [name for one in verb.options for name in one.names],
            "values": values,
            "arguments": _with_dots(verb),
        }
        words = " ".join(
            f"{name}={shlex.quote(' '.join(found))}" for name, found in parts.items() if found
        )
        rows.append(f"        {shlex.quote(' '.join(verb.path))}) {words} ;;")
    return _BASH % "\n".join(rows)


def _with_dots(verb: Verb) -> list[str]:
    arguments = list(verb.arguments)
    if arguments and verb.repeats:
        arguments[-1] += "..."
    return arguments


_ZSH = """#compdef akiosctl akios
# Completion of akiosctl for zsh, made by: akiosctl completion zsh
_akiosctl_command() {
    if [[ $words[1] == -- ]]; then
        shift words
        (( CURRENT-- ))
    fi
    _normal
}

_akiosctl_cages() {
    local -a socket names
    local place=${words[(I)--socket]:-0} line
    (( place )) && socket=(--socket "${words[place + 1]}")
    [[ -n $akiosctl_socket ]] && socket=(--socket "$akiosctl_socket")
    for line in ${(f)"$($akiosctl_program $socket completion --cages $argv[-1] 2> /dev/null)"}; do
        names+=("${${line%%%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    _describe -V cage names
}

%s

_akiosctl() {
    local akiosctl_program=${(Q)words[1]} akiosctl_socket=''
    _akiosctl_verb
}

if [[ $funcstack[1] == _akiosctl ]]; then
    _akiosctl "$@"
else
    compdef _akiosctl akiosctl akios
fi
"""
_ZSH_GROUP = """{name}() {{
    local context state state_descr line curcontext=$curcontext
    typeset -A opt_args
    _arguments -C {options} \\
        '1:verb:->verb' '*::argument:->below' && return
    case $state in
        verb)
            local -a verbs=({verbs})
            _describe verb verbs ;;
        below)
            [[ -n $opt_args[--socket] ]] && akiosctl_socket=${{(Q)opt_args[--socket]}}
            case $words[1] in
{cases}
            esac ;;
    esac
}}"""


def zsh(root: Verb) -> str:
    """For zshcompsys(1)."""
    return _ZSH % "\n\n".join(_zsh_function(verb) for verb in root.walk())


def _zsh_name(verb: Verb) -> str:
    return "_".join(("_akiosctl_verb", *verb.path)).replace("-", "_")


def _zsh_function(verb: Verb) -> str:
    options = " \\\n        ".join(
        shlex.quote(text) for one in verb.options for text in _zsh_option(one)
    )
    if verb.verbs:
        verbs = [_zsh_text(f"{one.path[-1]}:{one.help}") for one in verb.verbs]
        cases = [f"                {one.path[-1]}) {_zsh_name(one)} ;;" for one in verb.verbs]
        return _ZSH_GROUP.format(
            name=_zsh_name(verb),
            options=options,
            verbs=" ".join(map(shlex.quote, verbs)),
            cases="\n".join(cases),
        )
    arguments = []
    for number, kind in enumerate(verb.arguments, 1):
        last = verb.repeats and number == len(verb.arguments)
        place = ("*::" if kind == COMMAND else "*:") if last else f"{number}::"
        arguments.append(shlex.quote(f"{place}{_zsh_kind(kind)}"))
    words = " \\\n        ".join(filter(None, (options, *arguments)))
    # What follows the command of run is its own.
    stop = "-S -A '-*' " if COMMAND in verb.arguments else ""
    return f"{_zsh_name(verb)}() {{\n    _arguments {stop}\\\n        {words}\n}}"


def _zsh_option(option: Option) -> Iterable[str]:
    text = _zsh_text(option.help).replace("[", "\\[").replace("]", "\\]")
    for name in option.names:
        equals = "=" if option.takes and name.startswith("--") else ""
        value = f":{_zsh_kind(option.takes)}" if option.takes else ""
        # An option may be given again: this is no place to say that it may not.
        yield f"*{name}{equals}[{text}]{value}"


def _zsh_kind(kind: str) -> str:
    if kind.startswith(ONE):
        return f"word:({kind.removeprefix(ONE).replace(',', ' ')})"
    if kind in _OF_CAGES:
        return f"cage:_akiosctl_cages {kind}"
    ways = {FILE: "_files", DIRECTORY: "_files -/", COMMAND: "_akiosctl_command"}
    return f"{kind}:{ways.get(kind, ' ')}"


def _zsh_text(text: str) -> str:
    head, colon, rest = text.partition(":")
    return head + colon + rest.replace(":", "\\:") if colon else text


_FISH = """# Completion of akiosctl for fish, made by: akiosctl completion fish
function __akiosctl_verb
    set -l words (commandline -opc)
    set -e words[1]
    set -l found
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case --socket
                set skip 1
            case '-*'
            case '*'
                set -a found $word
                contains -- $found[1] %s; and test (count $found) = 1; or break
        end
    end
    string join ' ' -- $found
end

function __akiosctl_at
    set -l verb (__akiosctl_verb)
    test "$verb" = "$argv"
end

function __akiosctl_cages
    set -l words (commandline -opc)
    set -l socket
    set -l place (contains -i -- --socket $words)
    and set socket --socket $words[(math $place + 1)]
    eval $words[1] $socket completion --cages $argv 2>/dev/null
end

# Whether so many operands of the verb stand before the cursor: TEST NUMBER, then its options that
# take a value.
function __akiosctl_count_is
    set -l words (commandline -opc)
    set -l verb (__akiosctl_verb | string split ' ')
    set -l options $argv[3..]
    set -l count 0
    set -l skip 0
    for word in $words[2..]
        if test $skip = 1
            set skip 0
        else if contains -- $word $options --socket
            set skip 1
        else if not string match -q -- '-*' $word
            set count (math $count + 1)
        end
    end
    test (math $count - (count $verb)) $argv[1] $argv[2]
end

function __akiosctl_in_command
    set -l words (commandline -opc)
    contains -- -- $words
end

function __akiosctl_command
    set -l words (commandline -opc)
    set -l place (contains -i -- -- $words)
    set -l rest $words[(math $place + 1)..]
    complete -C (string join ' ' -- (string escape -- $rest) (commandline -ct))
end

complete -c akios -w akiosctl
complete -c akiosctl -f
%s
"""


def fish(root: Verb) -> str:
    """For fish(1), ``complete``."""
    groups = [verb.path[-1] for verb in root.verbs if verb.verbs]
    lines: list[str] = []
    for verb in root.walk():
        path = " ".join(verb.path)
        at = f"-n {_fish_quote(f'__akiosctl_at {path}'.rstrip())}"
        if COMMAND in verb.arguments:
            at = f"-n {_fish_quote(f'__akiosctl_at {path}; and not __akiosctl_in_command')}"
        lines += [f"complete -c akiosctl {at} -a {one.path[-1]} -d {_fish_quote(one.help)}"
                  for one in verb.verbs]  # fmt: skip
        lines += [f"complete -c akiosctl {at}{_fish_option(one)}" for one in verb.options]
        lines += _fish_arguments(verb, f"__akiosctl_at {path}")
    return _FISH % (" ".join(groups), "\n".join(lines))


def _fish_option(option: Option) -> str:
    names = "".join(
        f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names
    )
    return f"{names}{_fish_value(option.takes)} -d {_fish_quote(option.help)}"


def _fish_arguments(verb: Verb, at: str) -> list[str]:
    valued = " ".join(name for one in verb.options if one.takes for name in one.names)
    lines = []
    for number, kind in enumerate(verb.arguments):
        if kind == COMMAND:
            ready = _fish_quote("__akiosctl_in_command")
            lines.append(f"complete -c akiosctl -n {ready} -x -a '(__akiosctl_command)'")
            continue
        test = "-ge" if verb.repeats and number == len(verb.arguments) - 1 else "-eq"
        where = _fish_quote(f"{at}; and __akiosctl_count_is {test} {number} {valued}".rstrip())
        value = _fish_value(kind).replace(" -x", "").replace(" -r", "")
        if value.strip():
            lines.append(f"complete -c akiosctl -n {where}{value}")
    return lines


def _fish_value(kind: str) -> str:
    if not kind:
        return ""
    if kind.startswith(ONE):
        return f" -x -a {_fish_quote(kind.removeprefix(ONE).replace(',', ' '))}"
    if kind in _OF_CAGES:
        return f" -x -k -a '(__akiosctl_cages {kind})'"
    ways = {FILE: " -r -F", DIRECTORY: " -x -a '(__fish_complete_directories)'"}
    return ways.get(kind, " -x")


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: dict[str, Callable[[Verb], str]] = {"bash": bash, "zsh": zsh, "fish": fish}

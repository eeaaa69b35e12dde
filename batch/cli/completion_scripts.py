"""Shell completion as text: what bash, zsh and fish need to know of the commands, each in its own words.

Owns the three forms. Which commands and options there are is handed in; where a script goes is `completion`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

Takes = Literal["nothing", "text", "path", "choice"]
Shell = Literal["bash", "zsh", "fish"]


class Option(NamedTuple):
    """One option.

    Attributes:
        names: the long one first.
        takes: what stands behind it.
        choices: the words it takes, if there are only these.
        text: what it is for, in a few words.
        several: it may be given more than once.
    """

    names: tuple[str, ...]
    takes: Takes
    choices: tuple[str, ...]
    text: str
    several: bool


class Command(NamedTuple):
    """One command.

    Attributes:
        name: its name.
        text: what it does, in a few words.
        options: its options, those of any command included.
        paths: whether files or folders stand behind it.
        words: what else may stand behind it.
    """

    name: str
    text: str
    options: tuple[Option, ...]
    paths: bool
    words: tuple[str, ...] = ()


_HEAD: Final = "# {name} completion of promptmill, written by `promptmill --install-completion {name}`.\n"


def bash(commands: Sequence[Command], anywhere: Sequence[Option]) -> str:
    """The completion of bash, from version 3.2 on.

    Args:
        commands: all of them.
        anywhere: the options that stand without a command.
    """
    top = Command("''", "", tuple(anywhere), paths=False, words=tuple(command.name for command in commands))
    return _HEAD.format(name="bash") + _BASH.replace("@CASES@", "\n".join(_bash_case(one) for one in (top, *commands)))


_BASH: Final = r"""
_promptmill_words() {
  local IFS=$' \t\n'
  COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_promptmill_paths() {
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -f -- "$cur"))
}

_promptmill() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
  local options='' words='' paths=''
  COMPREPLY=()
  # bash makes three words of --lane=task
  if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --env-file) ((i += 1)); if [[ ${COMP_WORDS[i]} == = ]]; then ((i += 1)); fi ;;
      -*) ;;
      *) command=${COMP_WORDS[i]}; break ;;
    esac
  done
  case $command in
@CASES@
    *) return ;;
  esac
  if [[ $cur == -* ]]; then
    _promptmill_words "$options"
  elif [[ -n $words ]]; then
    _promptmill_words "$words"
  elif [[ -n $paths ]]; then
    _promptmill_paths
  fi
}

complete -F _promptmill promptmill
"""


def _bash_case(command: Command) -> str:
    names = " ".join(name for option in command.options for name in option.names)
    paths = "yes" if command.paths else ""
    lines = [f"    {command.name})", f"      options='{names}' paths='{paths}'"]
    lines += [f"      words='{' '.join(command.words)}'"] if command.words else []
    given = [option for option in command.options if option.takes != "nothing"]
    if given:
        lines.append("      case $prev in")
        for option in given:
            does = {
                "path": "_promptmill_paths; return",
                "choice": f"_promptmill_words '{' '.join(option.choices)}'; return",
                "text": "return",
            }[option.takes]
            lines.append(f"        {'|'.join(option.names)}) {does} ;;")
        lines.append("      esac")
    return "\n".join([*lines, "      ;;"])


def zsh(commands: Sequence[Command], anywhere: Sequence[Option]) -> str:
    """The completion of zsh, for a folder in its `fpath`.

    Args:
        commands: all of them.
        anywhere: the options that stand without a command.
    """
    listed = "\n".join("        " + _quoted(f"{one.name}:{_colons(one.text)}") for one in commands)
    cases = "\n".join(_zsh_case(command) for command in commands)
    top = " \\\n".join(f"    {spec}" for option in anywhere for spec in _zsh_specs(option))
    text = _ZSH.replace("@TOP@", top).replace("@COMMANDS@", listed).replace("@CASES@", cases)
    return f"#compdef promptmill\n{_HEAD.format(name='zsh')}{text}"


_ZSH: Final = r"""
_promptmill() {
  local context state line
  typeset -A opt_args
  _arguments -C \
@TOP@ \
    '1:command:->command' \
    '*::argument:->argument'
  case $state in
    command)
      local -a commands
      commands=(
@COMMANDS@
      )
      _describe -t commands command commands
      ;;
    argument)
      case $words[1] in
@CASES@
      esac
      ;;
  esac
}

_promptmill "$@"
"""


def _zsh_case(command: Command) -> str:
    specs = [spec for option in command.options for spec in _zsh_specs(option)]
    specs += ["'*:path:_files'"] if command.paths else []
    specs += [_quoted(f"*:topic:({' '.join(command.words)})")] if command.words else []
    lines = " \\\n".join(f"            {spec}" for spec in specs)
    return f"        {command.name})\n          _arguments \\\n{lines}\n          ;;"


def _zsh_specs(option: Option) -> Iterator[str]:
    words = {
        "nothing": "",
        "path": ":path:_files",
        "choice": f":word:({' '.join(option.choices)})",
        "text": ":value: ",
    }[option.takes]
    text = _colons(option.text).replace("[", r"\[").replace("]", r"\]")
    for name in option.names:
        ends = "=" if option.takes != "nothing" and name.startswith("--") else ""
        yield _quoted(f"{'*' if option.several else ''}{name}{ends}[{text}]{words}")


def fish(commands: Sequence[Command], anywhere: Sequence[Option]) -> str:
    """The completion of fish.

    Args:
        commands: all of them.
        anywhere: the options that stand without a command.
    """
    lines = [_HEAD.format(name="fish") + _FISH]
    top = "complete -c promptmill -n __promptmill_at_start"
    lines += [f"{top} -a {command.name} -d {_fish_quoted(command.text)}" for command in commands]
    lines += [_fish_option(top, option) for option in anywhere]
    for command in commands:
        here = f"complete -c promptmill -n '__promptmill_in {command.name}'"
        lines += [_fish_option(here, option) for option in command.options]
        lines += [f"{here} -F"] if command.paths else []
        lines += [f"{here} -a {_fish_quoted(' '.join(command.words))}"] if command.words else []
    return "\n".join(lines) + "\n"


_FISH: Final = r"""
function __promptmill_command
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if test "$word" = --env-file
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
end

function __promptmill_at_start
    set -l command (__promptmill_command)
    test -z "$command"
end

function __promptmill_in
    set -l command (__promptmill_command)
    test "$command" = "$argv[1]"
end

complete -c promptmill -f"""


def _fish_option(start: str, option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    takes = {
        "nothing": "",
        "path": " -r -F",
        "choice": f" -x -a {_fish_quoted(' '.join(option.choices))}",
        "text": " -x",
    }[option.takes]
    return f"{start} {names}{takes} -d {_fish_quoted(option.text)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _colons(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", r"\:")


SCRIPTS: Final[dict[Shell, Callable[[Sequence[Command], Sequence[Option]], str]]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}

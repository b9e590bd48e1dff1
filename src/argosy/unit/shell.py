"""Find shell syntax where no shell reads it: in the arguments of a command and in the values of variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from argosy.unit.names import shown

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "su", "runuser", "flock", "script"})
"""Programs whose `-c` takes a script: what follows is read by a shell."""
_REMOTE = frozenset({"ssh"})
"""Programs that hand all of their arguments to a shell."""
_OPERATORS = frozenset({"|", "||", "&&", "&", ">", ">>", "<", "<<", "2>", "2>>", "2>&1", "&>"})
_SCRIPT_OPTION = re.compile(r"-[a-z]*c|--command")
_REDIRECTION = re.compile(r"[0-9]*>>?&?[^=\s]+|&>\S+")
_ENDED = re.compile(r"[^\s;]+;")
_SUBSTITUTION = re.compile(r"\$\([^)]*\)?|`[^`]*`?")
_EXPANSION = re.compile(r"\$\{[A-Za-z_]\w*[:#%/^,+\-=?][^}]*\}?")
_VARIABLE = re.compile(r"\$\{[A-Za-z_]\w*\}|\$[A-Z_][A-Z0-9_]*\b")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


def in_arguments(argv: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each word of a command line that only a shell would understand. Words that a shell of the command itself
    reads (`/bin/sh -c …`) are left alone."""
    if argv and "/" not in argv[0] and _ASSIGNMENT.fullmatch(argv[0]):
        yield f"{shown(argv[0])} is taken for the program, as there is no shell; write Environment={argv[0].partition('=')[0]}=..."
    words = list(_outside_shells(argv))[1:]
    for place, word in enumerate(words):
        if found := _SUBSTITUTION.search(word):
            yield f"{shown(found[0])} is not run, as there is no shell; use /bin/sh -c '...'"
        elif found := _EXPANSION.search(word):
            yield f"{shown(found[0])} is not replaced, as there is no shell; use /bin/sh -c '...'"
        elif word in _OPERATORS or _REDIRECTION.fullmatch(word) or (place + 1 < len(words) and _ENDED.fullmatch(word)):
            yield f"{shown(word)} reaches the program as an argument, as there is no shell; use /bin/sh -c '...'"
        elif word == "~" or word.startswith("~/"):
            yield f"{shown(word)} is not replaced by a home folder, as there is no shell; use %h or the whole path"


def in_value(value: str, *, variables: bool) -> Iterator[str]:
    """Yield a sentence for each piece of a variable's value that only a shell would replace. `variables`: $NAME is kept as it is, too."""
    for found in _SUBSTITUTION.findall(value):
        yield f"{shown(found)} stays as it is: no shell runs it"
    if variables:
        for found in _VARIABLE.findall(value):
            yield f"{shown(found)} stays as it is: variables are not replaced here"


def _outside_shells(argv: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(argv):
        program = word.rpartition("/")[2]
        options = [other for other in argv[place + 1 :] if other.startswith("-")]
        if program in _REMOTE or (program in _SHELLS and any(_SCRIPT_OPTION.fullmatch(option) for option in options)):
            return
        yield word

"""argosy completion: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from argosy.terminal import content

BASH = r"""# Completes argosy's verbs, options, units and machines.
_argosy_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$' \t\n' words=() breaks="" sign reply kind value
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local index=$((${#words[@]} - 1)) word="${words[-1]}"
    # What bash takes for the beginning of a word comes after the last @ or : in it, if those break words here.
    for sign in @ : =; do [[ $COMP_WORDBREAKS == *$sign* ]] && breaks+=$sign; done
    local before=""
    [[ -n $breaks && $word == *[$breaks]* ]] && before="${word%"${word##*[$breaks]}"}"
    COMPREPLY=()
    while IFS= read -r reply; do
        kind="${reply%%,*}" value="${reply#*,}"
        case $kind in
            dir) COMPREPLY=() && compopt -o dirnames 2>/dev/null ;;
            file) COMPREPLY=() && compopt -o default 2>/dev/null ;;
            plain) printf -v value %q "${value#"$before"}" && COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD=$index _ARGOSY_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _argosy_completion argosy
"""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL: verbs, options, units (as the agent knows them) and machines.

    Example: eval "$(argosy completion bash)", in ~/.bashrc
    """
    if shell == "bash":
        content(BASH)
        return
    kind = get_completion_class(shell)
    assert kind is not None
    content(kind(context.find_root().command, {}, "argosy", "_ARGOSY_COMPLETE").source() + "\n")

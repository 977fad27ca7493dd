# bash completion for conesocks. Commands and options come from the --help of the installed program.
_conesocks() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' help words
    if [ "$COMP_CWORD" -gt 1 ] && [[ ${COMP_WORDS[1]} != -* ]]; then
        command=${COMP_WORDS[1]}
    fi
    help=$("$1" ${command:+"$command"} --help 2>/dev/null)
    # The option before, with the value that it takes.
    case $(sed -En "s/^  +(-[a-zA-Z], )?(--[a-z-]+) ([A-Z][^ ]*)  .*/ \1\2 \3/p" <<<"$help" | grep -E -- "[ ,]$previous[ ,]") in
        *' FILE' | *' PATH') compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        *' COMMAND') mapfile -t COMPREPLY < <(compgen -W 'connect bind udp' -- "$current"); return ;;
        ?*) COMPREPLY=(); return ;;
    esac
    words=$(sed -En '/^  +-/ { s/^  +(-[a-zA-Z])?(, )?(--[a-z-]+)?.*/\1 \3/; p }' <<<"$help")
    if [ "$COMP_CWORD" = 1 ]; then
        words+=$(sed -En 's/^  ([a-z][a-z-]*)  .*/ \1/p' <<<"$help")
    elif [ "$COMP_CWORD" = 2 ]; then
        words+=$(sed -En "s/^.* conesocks $command ([a-z]+).*/ \1/p" <<<"$help")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$current" | sort -u)
}
complete -F _conesocks conesocks

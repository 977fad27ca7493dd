# fish completion for conesocks. Commands and options come from the --help of the installed program.
function __conesocks_words
    set --local typed (commandline --tokenize --cut-at-cursor --current-process)
    set --local command
    if test (count $typed) -gt 1; and not string match --quiet -- '-*' $typed[2]
        set command $typed[2]
    end
    set --local help (conesocks $command --help 2>/dev/null)
    printf '%s\n' --help
    for line in $help
        if set --local found (string match --regex '^ +(-[a-zA-Z]|)(?:, )?(--[a-z-]+)(?: [A-Z]\S*| \[\S*)? *(.*)$' -- $line)
            test -n "$found[2]"; and printf '%s\t%s\n' $found[2] "$found[4]"
            printf '%s\t%s\n' $found[3] "$found[4]"
        else if test -z "$command"; and set found (string match --regex '^  ([a-z][a-z-]*)  +(.*)$' -- $line)
            printf '%s\t%s\n' $found[2] $found[3]
        else if test (count $typed) -eq 2 -a -n "$command"; and set found (string match --regex " conesocks $command ([a-z]+)" -- $line)
            printf '%s\n' $found[2]
        end
    end
end

# Whether the option before the cursor takes a file, another value, or none.
function __conesocks_wants
    set --local typed (commandline --tokenize --cut-at-cursor --current-process)
    set --local command
    if test (count $typed) -gt 1; and not string match --quiet -- '-*' $typed[2]
        set command $typed[2]
    end
    string match --quiet -- '-*' $typed[-1]; or return 1
    conesocks $command --help 2>/dev/null | string match --quiet --regex "^ .*$(string escape --style=regex -- $typed[-1]),?( --[a-z-]+)? $argv[1]  "
end

complete --command conesocks --no-files --condition 'not __conesocks_wants "[A-Z]\S*"' --arguments '(__conesocks_words)'
complete --command conesocks --force-files --condition '__conesocks_wants "(FILE|PATH)"'
complete --command conesocks --no-files --condition '__conesocks_wants COMMAND' --arguments 'connect bind udp'

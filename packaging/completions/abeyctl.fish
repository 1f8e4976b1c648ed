# SPDX-License-Identifier: LGPL-2.1-or-later
# fish completion for abeyctl(1)

function __abeyctl_sessions
    loginctl list-sessions --no-legend 2>/dev/null | awk '{ print $1 "\t" $3 }'
end

function __abeyctl_checkpoints
    abeyctl list --quick --json 2>/dev/null | sed -n 's/^ *"id": "\(.*\)",*$/\1/p'
end

function __abeyctl_jobs
    abeyctl jobs --json 2>/dev/null | sed -n 's/^ *"job": \([0-9]*\),*$/\1/p'
end

complete -c abeyctl -f
complete -c abeyctl -n __fish_use_subcommand -l help -d 'show help'
complete -c abeyctl -n __fish_use_subcommand -l version -d 'show the version'
complete -c abeyctl -n __fish_use_subcommand -a suspend -d 'suspend a session'
complete -c abeyctl -n __fish_use_subcommand -a resume -d 'bring a suspended session back'
complete -c abeyctl -n __fish_use_subcommand -a list -d 'list checkpoints'
complete -c abeyctl -n __fish_use_subcommand -a show -d 'show what is known of a checkpoint'
complete -c abeyctl -n __fish_use_subcommand -a check -d 'tell what could not be brought back'
complete -c abeyctl -n __fish_use_subcommand -a explain -d 'tell how each file comes back'
complete -c abeyctl -n __fish_use_subcommand -a diff -d 'tell what has changed in the home'
complete -c abeyctl -n __fish_use_subcommand -a run -d 'start a session that outlives this connection'
complete -c abeyctl -n __fish_use_subcommand -a attach -d 'join the terminal of a resumed or run session'
complete -c abeyctl -n __fish_use_subcommand -a remove -d 'remove a checkpoint for good'
complete -c abeyctl -n __fish_use_subcommand -a export -d 'write a checkpoint as one stream'
complete -c abeyctl -n __fish_use_subcommand -a import -d 'make a checkpoint of such a stream'
complete -c abeyctl -n __fish_use_subcommand -a checkpoint -d 'checkpoint all sessions of a user'
complete -c abeyctl -n __fish_use_subcommand -a jobs -d 'list what is being suspended and resumed'
complete -c abeyctl -n __fish_use_subcommand -a cancel -d 'cancel a suspend or resume'
complete -c abeyctl -n __fish_use_subcommand -a pin -d 'keep a checkpoint from being removed'
complete -c abeyctl -n __fish_use_subcommand -a prune -d 'remove old checkpoints and displaced homes'
complete -c abeyctl -n __fish_use_subcommand -a policy -d 'check, show, test or reload the policy'
complete -c abeyctl -n __fish_use_subcommand -a doctor -d 'examine this machine'
complete -c abeyctl -n 'not __fish_use_subcommand' -l json -d 'print one JSON document'
complete -c abeyctl -n '__fish_seen_subcommand_from suspend check explain attach' -a '(__abeyctl_sessions)'
complete -c abeyctl -n '__fish_seen_subcommand_from resume show diff remove pin export' -a '(__abeyctl_checkpoints)'
complete -c abeyctl -n '__fish_seen_subcommand_from suspend' -l keep-running -d 'the session runs on'
complete -c abeyctl -n '__fish_seen_subcommand_from suspend check explain' -l unit -x -d 'units of your manager'
complete -c abeyctl -n '__fish_seen_subcommand_from resume' -l attach -d 'join its terminal'
complete -c abeyctl -n '__fish_seen_subcommand_from resume' -l pids -x -a 'same namespace auto'
complete -c abeyctl -n '__fish_seen_subcommand_from resume' -l on-divergence -x -a 'rollback private keep fail'
complete -c abeyctl -n '__fish_seen_subcommand_from run' -l join -d 'rather one that nobody is attached to'
complete -c abeyctl -n '__fish_seen_subcommand_from run' -l detach -d 'only start it'
complete -c abeyctl -n '__fish_seen_subcommand_from run attach resume' -l detach-key -x -d 'keys that leave the terminal'
complete -c abeyctl -n '__fish_seen_subcommand_from run' -a '(__fish_complete_command)'
complete -c abeyctl -n '__fish_seen_subcommand_from attach' -l terminal -x -d 'number of its terminal'
complete -c abeyctl -n '__fish_seen_subcommand_from attach' -l list -d 'list the terminals'
complete -c abeyctl -n '__fish_seen_subcommand_from attach' -l watch -d 'only look'
complete -c abeyctl -n '__fish_seen_subcommand_from attach' -l read-only -d 'only look'
complete -c abeyctl -n '__fish_seen_subcommand_from list' -l displaced -d 'homes that resumes have displaced'
complete -c abeyctl -n '__fish_seen_subcommand_from list' -l quick -d 'what is recorded'
complete -c abeyctl -n '__fish_seen_subcommand_from list' -l no-legend -d 'rows only'
complete -c abeyctl -n '__fish_seen_subcommand_from pin' -l off -d 'not any more'
complete -c abeyctl -n '__fish_seen_subcommand_from prune' -l dry-run -d 'only tell which'
complete -c abeyctl -n '__fish_seen_subcommand_from cancel' -a '(__abeyctl_jobs)'
complete -c abeyctl -n '__fish_seen_subcommand_from checkpoint' -a '(__fish_complete_users)'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -a 'check show test reload'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l file -r -F -d 'another policy'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l user -x -a '(__fish_complete_users)' -d 'for this user'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l service -x -d 'for sessions of this PAM service'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l tty -x -d 'for sessions on this terminal'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l unit -x -d "for this unit of the user's manager"
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l state -x -a 'deleted linked unnamed not-lasting' -d 'test: why it needs keeping'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l use -x -a 'open mapped' -d 'test: how it is held'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l size -x -d 'test: its size'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l owner -x -a '(__fish_complete_users)' -d 'test: its owner'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l file-system -x -a 'btrfs ext4 xfs tmpfs nilfs2' -d 'test: where it lies'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l read-only -d 'test: its holder cannot write'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l socket -r -F -d 'test: a unix socket outside'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l address -x -d 'test: an internet address outside'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l port -x -d 'test: the port there'
complete -c abeyctl -n '__fish_seen_subcommand_from policy' -l device -r -F -d 'test: a device'
complete -c abeyctl -n '__fish_seen_subcommand_from export' -s o -l output -r -F -d 'a new file'
complete -c abeyctl -n '__fish_seen_subcommand_from import' -F

# SPDX-License-Identifier: LGPL-2.1-or-later
# Logins over the network in a session that outlives the connection: source this at the end of ~/.profile (or ~/.bash_profile),
# or copy it to /etc/profile.d/ for everybody. Joins the session that a former login left, or starts one. When that cannot be done, the login goes on
# as it would without this; a file ~/.no-abeyance-run switches it off.
if [ -z "${ABEYANCE_RUN-}" ] && [ -n "${SSH_TTY-}" ] && [ -t 0 ] && [ -t 1 ] && [ ! -e ~/.no-abeyance-run ] &&
    command -v abeyctl >/dev/null; then
    abeyctl run --join && exit
fi

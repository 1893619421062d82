#!/usr/bin/env bash
# Print what one sender posts to a channel, as it comes. Needs curl and jq; TERM, INT and HUP end it.
#
#   BASE_URL=http://127.0.0.1:8010 LASTFILE=.codex/review-poll.last_id scripts/review-poll.sh
#
# BASE_URL      the hub; required
# LASTFILE      where the id of the last printed message is kept, so that the next run goes on there; required
# TARGET        the channel (proj-x)
# WATCH_SENDER  whose messages (claude)
# INTERVAL      seconds between two looks (20)
# RELAY_HUB_TOKEN  shown to a hub that asks who calls
#
# The first run, while there is no LASTFILE, prints the newest 200 messages of that sender. After that none is left out.
set -u

die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

for name in BASE_URL LASTFILE; do
  [[ -n ${!name:-} ]] || die "$name: $name not set"
done
target=${TARGET:-proj-x} sender=${WATCH_SENDER:-claude} interval=${INTERVAL:-20}
[[ $interval =~ ^[0-9]+([.][0-9]+)?$ && $interval =~ [1-9] ]] || die 'INTERVAL must be a number of seconds above 0'
for program in curl jq; do
  command -v "$program" > /dev/null || die "$program is not installed"
done
folder=$(dirname -- "$LASTFILE")
{ mkdir -p -- "$folder" && [[ -w $folder && ! -d $LASTFILE ]]; } || die "LASTFILE cannot be written: $LASTFILE"

# What a terminal would obey (controls) or what would reorder a line (bidi marks) is left out of names and texts.
# The first line of the answer: the newest id, and whether the hub has more; then the messages.
# shellcheck disable=SC2016 # the dollars are jq's
readonly REPORT='
  def clean: explode | map(if . == 9 then 32 else . end)
    | map(select(. > 31 and (. < 127 or . > 159) and (. < 8232 or . > 8238) and (. < 8294 or . > 8297))) | implode;
  [.messages[] | select(.sender == $sender and .id > $last)] as $new
  | "\($new | map(.id) | max // $last) \(.has_more == true)",
    ($new[] | "#\(.id) [\(.sender | clean)] \("\(.text)\n" | split("\n")[0] | clean)")'

now() {
  local time
  time=$(date +%Y-%m-%dT%H:%M:%S%z)
  printf '%s:%s' "${time:0:22}" "${time:22}"
}

say() {
  # Output that nobody can read must not move LASTFILE on.
  printf '%s\n' "$1" || exit 1
}

# A trap waits for a foreground program, but not for `wait`: a slow hub or a long pause must not hold up the end.
interruptibly() {
  "$@" &
  wait $!
}

stop() {
  trap '' TERM INT HUP
  # shellcheck disable=SC2046 # one word for each process
  kill $(jobs -rp) 2> /dev/null
  say "$(now) poller_term pid=$$"
  exit 0
}

save() {
  printf '%s\n' "$last" > "$LASTFILE.$$" && mv -f -- "$LASTFILE.$$" "$LASTFILE"
}

# Print everything new, page by page. Whatever goes wrong is on standard error and is tried again at the next look.
look() {
  local query report newest more
  while :; do
    query=(-d limit=200 --data-urlencode "target=$target" --data-urlencode "sender=$sender")
    [[ -z $started ]] || query+=(-d "since_id=$last")
    interruptibly curl -fsSG --max-time 10 -H "@$scratch/headers" -o "$scratch/page" "${query[@]}" \
      "${BASE_URL%/}/api/messages" || return
    report=$(jq -r --arg sender "$sender" --argjson last "$last" "$REPORT" "$scratch/page" 2> /dev/null)
    read -r newest more <<< "${report%%$'\n'*}"
    if [[ ! $newest =~ ^[0-9]{1,15}$ ]]; then
      printf '%s: the answer of the hub cannot be read\n' "${0##*/}" >&2
      return
    fi
    if ((newest > last)); then
      say "$(now) new_messages from $sender"
      say "${report#*$'\n'}"
    elif [[ -n $started ]]; then
      return
    fi
    last=$newest started=yes
    save || printf '%s: LASTFILE cannot be written: %s\n' "${0##*/}" "$LASTFILE" >&2
    [[ $more == true ]] || return
  done
}

last=0 started=''
if [[ -f $LASTFILE && $(< "$LASTFILE") =~ ^[0-9]{1,15}$ ]]; then
  last=$((10#${BASH_REMATCH[0]})) started=yes
fi
trap stop TERM INT HUP
scratch=$(mktemp -d) || exit 1
trap 'rm -rf -- "$scratch"' EXIT
# In a file: every user of the machine can read the arguments of a program.
printf '%s' "${RELAY_HUB_TOKEN:+Authorization: Bearer $RELAY_HUB_TOKEN}" > "$scratch/headers" || exit 1
say "$(now) poller_start pid=$$ ppid=$PPID interval=${interval}s base=$BASE_URL target=$target sender=$sender last=$last"
for ((round = 1; ; round++)); do
  look
  ((round % 3)) || say "$(now) heartbeat last=$last"
  interruptibly sleep "$interval"
done

#!/usr/bin/env bash
# Run Codex whenever one sender has posted to a channel, so that it reviews without a human. Needs codex, curl and jq;
# TERM, INT and HUP end it and the Codex that it runs.
#
#   scripts/auto-review-loop.sh
#
# BASE_URL      the hub (http://127.0.0.1:8010)
# TARGET        the channel (proj-x)
# WATCH_SENDER  whose messages (claude)
# INTERVAL      seconds between two looks (20)
# RELAY_HUB_TOKEN  shown to a hub that asks who calls
# LASTFILE      where the id of the last reviewed message is kept (.codex/auto-loop.last_id)
# SESSION_ID    the Codex session to go on with; without it each review is a new one
# CODEX_ARGS    options of `codex exec`, split at spaces (--sandbox read-only)
#
# Codex must know the hub as an MCP server. It calls the hub itself, so that no sandbox is in the way.
# LASTFILE moves on only when Codex has succeeded; what fails is tried again, after pauses that grow.
set -u

die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

base=${BASE_URL:-http://127.0.0.1:8010} target=${TARGET:-proj-x} sender=${WATCH_SENDER:-claude}
interval=${INTERVAL:-20} file=${LASTFILE:-.codex/auto-loop.last_id} session=${SESSION_ID:-}
read -r -a options <<< "${CODEX_ARGS---sandbox read-only}"
[[ $interval =~ ^[0-9]+([.][0-9]+)?$ && $interval =~ [1-9] ]] || die 'INTERVAL must be a number of seconds above 0'
for program in codex curl jq; do
  command -v "$program" > /dev/null || die "$program is not installed"
done
folder=$(dirname -- "$file")
{ mkdir -p -- "$folder" && [[ -w $folder && ! -d $file ]]; } || die "LASTFILE cannot be written: $file"

# Codex passes on what it reads. What a terminal would obey (controls) or what would reorder a line (bidi marks) is
# left out of it.
readonly CLEAN='explode | map(if . == 9 then 32 else . end)
  | map(select(. > 31 and (. < 127 or . > 159) and (. < 8232 or . > 8238) and (. < 8294 or . > 8297))) | implode'

now() {
  local time
  time=$(date +%Y-%m-%dT%H:%M:%S%z)
  printf '%s:%s' "${time:0:22}" "${time:22}"
}

# The system lets go of the lock when the loop ends, however it ends. macOS has no flock, but Perl has the same lock.
lock() {
  exec 9>> "$file.lock" || exit 1
  if command -v flock > /dev/null; then
    flock -n 9
  else
    perl -MFcntl=:flock -e 'open(LOCK, ">&=", 9) && flock(LOCK, LOCK_EX | LOCK_NB) or exit 1'
  fi
}

# A trap waits for a foreground program, but not for `wait`: neither the hub, nor a pause, nor Codex may hold up the end.
# The lock is the loop's alone: nothing that outlives it may keep it.
interruptibly() {
  "$@" 9>&- &
  wait $!
}

stop() {
  trap '' TERM INT HUP
  local pid tries
  for pid in $(jobs -rp); do
    kill -TERM "$pid" 2> /dev/null
    for ((tries = 0; tries < 20; tries++)); do
      kill -0 "$pid" 2> /dev/null || continue 2
      sleep 0.1
    done
    kill -KILL "$pid" 2> /dev/null
  done
  exit 0
}

save() {
  printf '%s\n' "$last" > "$file.$$" && mv -f -- "$file.$$" "$file"
}

# The newest id of the sender, in $newest. Whatever goes wrong is on standard error and is tried again at the next look.
look() {
  newest=$last
  interruptibly curl -fsSG --max-time 10 -H "@$scratch/headers" -o "$scratch/page" -d limit=1 \
    --data-urlencode "target=$target" --data-urlencode "sender=$sender" "${base%/}/api/messages" || return
  # shellcheck disable=SC2016 # the dollar is jq's
  newest=$(jq --arg sender "$sender" '[.messages[] | select(.sender == $sender) | .id] | max // 0' "$scratch/page" \
    2> /dev/null)
  if [[ ! $newest =~ ^[0-9]{1,15}$ ]]; then
    printf '%s: the answer of the hub cannot be read\n' "${0##*/}" >&2
    newest=$last
  fi
}

review() {
  local prompt="Fetch messages from the $target channel (since id $last) sent by $sender and review them."
  prompt+=' Post your feedback back to the same channel.'
  local command=(codex exec ${options[@]+"${options[@]}"})
  [[ -z $session ]] || command+=(resume "$session")
  interruptibly "${command[@]}" "$prompt" < /dev/null > >(exec jq -Rr --unbuffered "$CLEAN" 9>&-) 2>&1
}

trap stop TERM INT HUP
lock || die "another loop works with $file"
scratch=$(mktemp -d) || exit 1
trap 'rm -rf -- "$scratch"' EXIT
# In a file: every user of the machine can read the arguments of a program.
printf '%s' "${RELAY_HUB_TOKEN:+Authorization: Bearer $RELAY_HUB_TOKEN}" > "$scratch/headers" || exit 1
last=0 failures=0
if [[ -f $file && $(< "$file") =~ ^[0-9]{1,15}$ ]]; then
  last=$((10#${BASH_REMATCH[0]}))
fi
printf 'auto-loop started: target=%s sender=%s interval=%ss last=%s session=%s\n' \
  "$target" "$sender" "$interval" "$last" "${session:-new}"
while :; do
  look
  if ((newest > last)); then
    printf '%s new messages from %s (last=%s, new=%s) — launching Codex\n' "$(now)" "$sender" "$last" "$newest"
    if review; then
      last=$newest failures=0
      save || printf '%s: LASTFILE cannot be written: %s\n' "${0##*/}" "$file" >&2
    else
      code=$?
      ((failures < 5)) && ((failures++))
      printf '%s: Codex failed (exit code %s); the messages after %s are tried again\n' "${0##*/}" "$code" "$last" >&2
    fi
  fi
  # 1, 2, 4, 8, at most 16 intervals after failures in a row.
  for ((pause = failures ? 1 << (failures - 1) : 1; pause; pause--)); do
    interruptibly sleep "$interval"
  done
done

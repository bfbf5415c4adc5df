#!/usr/bin/env bash
# `towpath quickstart` without any server: clicks become files, broken ones dead letters, Ctrl-C drains, and a second
# run goes on where the first one was.
set -euo pipefail
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
# shellcheck source=../stack/lib.sh
. "$(dirname "$0")/../stack/lib.sh"
free_port
port=$free_port

run_until() { # run_until COUNT: runs the quick start until COUNT lines are in its output folder
  "$TOWPATH_BIN" quickstart --dir "$dir/q" --port "$port" >"$dir/out.txt" 2>"$dir/log.txt" &
  pid=$!
  for _ in $(seq 600); do
    lines=$(find "$dir/q/out" -name '*.jsonl' -exec cat {} + 2>/dev/null | wc -l || true)
    [ "$lines" -ge "$1" ] && break
    kill -0 "$pid" || { cat "$dir/log.txt"; exit 1; }
    sleep 0.1
  done
  [ "$lines" -ge "$1" ] || { echo "only $lines of $1 lines after a minute"; cat "$dir/log.txt"; exit 1; }
  kill -INT "$pid"
  wait "$pid" || { echo "the quick start did not stop well"; cat "$dir/log.txt"; exit 1; }
  pid=
}

run_until 300
before=$(find "$dir/q/out" -name '*.jsonl' -exec cat {} + | wc -l)
run_until $((before + 100))
# Every line is JSON: what is not went to the dead letters.
if find "$dir/q/out" -name '*.jsonl' -exec cat {} + | grep -vE '^\{.*\}$' | head -3 | grep .; then
  echo "a line in the output is not a JSON object"; exit 1
fi
# The file's 295 sound clicks came once, although the worker was restarted.
sound=$(grep -cE '\}$' "$dir/q/in/clicks.jsonl")
arrived=$(find "$dir/q/out" -name '*.jsonl' -exec cat {} + | grep -cE '"session":"s[0-9]{5}","action":"[a-z_]*","page":"[^"]*","at":"2026-11-[0-9]{2}T[0-9:]*Z"\}$')
[ "$arrived" -eq "$sound" ] || { echo "$arrived of $sound clicks of the file are in the output"; exit 1; }
echo "quick start: $before lines, then more; $arrived clicks of the file, each once"

#!/usr/bin/env bash
# kill -9 of the worker at 20, 50 and 80 % of a snapshot of large values, a VACUUM FULL between, updates all the
# while: a short form, or as TOWPATH_TOAST_ROWS, TOWPATH_TOAST_BYTES and TOWPATH_TOAST_UPDATES (rows a second) say.
# With TOWPATH_TOAST_PACKED=1 the values, which are kept apart from their rows all the same, are compressed in the
# server and in Kafka: five million rows of 8 kB take some 15 GB then, instead of 250. A failure names its seed.
set -euo pipefail
seed=${TOWPATH_KILL_SEED:-$((RANDOM * 32768 + RANDOM))}
exec "${TOWPATH_BIN%/*}/towpath-tests" toast "${TOWPATH_TOAST_ROWS:-20000}" "${TOWPATH_TOAST_BYTES:-8192}" \
    "${TOWPATH_TOAST_UPDATES:-2000}" "$seed" ${TOWPATH_TOAST_PACKED:+packed}

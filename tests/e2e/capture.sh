#!/usr/bin/env bash
# kill -9 of the worker at random moments while PostgreSQL → Kafka runs: three seeded rounds, or as many as
# TOWPATH_KILL_ROUNDS says (tests/soak: twenty). A failure names its seed.
set -euo pipefail
seed=${TOWPATH_KILL_SEED:-$((RANDOM * 32768 + RANDOM))}
exec "${TOWPATH_BIN%/*}/towpath-tests" capture "${TOWPATH_KILL_ROUNDS:-3}" "$seed"

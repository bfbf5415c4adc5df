#!/usr/bin/env bash
# Recorded dead letters of genuine Kafka Connect are replayed: its configurations run as they are. They name files in
# /opt/kafka/tmp, so the worker gets an /opt of its own, in a namespace that needs no privileges.
set -euo pipefail
exec unshare --user --map-root-user --mount sh -c \
    'mount -t tmpfs tmpfs /opt && mkdir -p /opt/kafka/tmp && exec "$0" dlq' "${TOWPATH_BIN%/*}/towpath-tests"

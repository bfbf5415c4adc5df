#!/usr/bin/env bash
# What a worker says when something around it is wrong, and that it goes on by itself when the cause is gone. One
# scenario, or some: tests/e2e/faults.sh NAME.
set -euo pipefail
exec "${TOWPATH_BIN%/*}/towpath-tests" faults "$@"

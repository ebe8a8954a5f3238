#!/bin/sh
# Runs a command once in each hour or day, in UTC, for as long as the container runs.
#   every.sh PERIOD AFTER COMMAND ...     PERIOD: 3600 or 86400; AFTER: how many seconds after its start
set -eu
period=$1 after=$2
shift 2
while :; do
  # Never shorter than a second, so that the command does not run twice at one time.
  sleep $((period - ($(date +%s) - after) % period))
  "$@" || echo "ERROR: this ended with $?: $*" >&2
done

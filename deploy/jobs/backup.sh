#!/bin/sh
# Writes a backup of the whole database to /backup, and deletes those that are older than two weeks.
set -eu
umask 077
new=/backup/classifier-$(date -u +%Y-%m-%d).dump
rm -f /backup/classifier-*.part
# A dump that can't be finished is not taken for a whole one.
pg_dump --format=custom --file="$new.part"
mv "$new.part" "$new"
find /backup -name 'classifier-*.dump' -mtime +14 -delete
echo "$new holds the whole database, $(stat -c %s "$new") bytes."

#!/bin/sh
# Writes a backup of the whole database to /backup, and deletes those that are older than two weeks.
# The database is that of PGHOST, PGUSER, PGPASSWORD and PGDATABASE, or of CLASSIFIER_DATABASE_URL.
set -eu
umask 077
new=/backup/classifier-$(date -u +%Y-%m-%d).dump
rm -f /backup/classifier-*.part
# A dump that can't be finished is not taken for a whole one.
pg_dump --format=custom --file="$new.part" ${CLASSIFIER_DATABASE_URL:+--dbname="$CLASSIFIER_DATABASE_URL"}
mv "$new.part" "$new"
find /backup -name 'classifier-*.dump' -mtime +14 -delete
echo "$new holds the whole database, $(stat -c %s "$new") bytes."
# For the alert on jobs that fail: the same as other commands note. The backup is made even if this fails.
psql --quiet --no-psqlrc ${CLASSIFIER_DATABASE_URL:+--dbname="$CLASSIFIER_DATABASE_URL"} --command "INSERT INTO job_successes
  VALUES ('backup', extract(epoch FROM now()) * 1000000) ON CONFLICT (command) DO UPDATE SET at_us = excluded.at_us" \
  || echo "The success was not noted."

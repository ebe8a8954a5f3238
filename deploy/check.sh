#!/usr/bin/env bash
# Fails if other users of this machine can read or change secrets in deploy/. Run it before `docker compose up`.
#   check.sh [FOLDER]
set -euo pipefail
cd "${1:-$(dirname "$0")}"

if [[ ! -e .env ]]; then
  echo "ERROR: there is no .env; copy example.env, as README.md says." >&2
  exit 1
fi
# The target of a link counts. In nginx/tls, everybody may read files without a private key, such as certificates.
found=0
while IFS= read -r -d '' file; do
  if [[ $file == nginx/* && -r $file ]] && ! grep -q 'PRIVATE KEY' "$file"; then
    continue
  fi
  echo "ERROR: others can read or change $file: chmod 600 $file" >&2
  found=1
done < <(find -L . \( -path './.env*' -o -path './secrets/*' -o -path './nginx/tls/*' \) -type f \
  \( -perm -040 -o -perm -020 -o -perm -004 -o -perm -002 \) -print0 | sed -z 's#^\./##')
exit "$found"

#!/usr/bin/env bash
# Writes the current digest of each image tag in deploy/: `make pin-images`, then check the difference and commit it.
#   pin-images.sh [FILE ...]     by default compose.yaml, Containerfile and kubernetes/backup.yaml; to use another tag, edit it there first
set -euo pipefail
cd "$(dirname "$0")"
files=("$@")
[[ $# -gt 0 ]] || files=(compose.yaml Containerfile kubernetes/backup.yaml)

# Print the digest of the whole image, for all platforms.
digest_of() {
  if docker buildx version > /dev/null 2>&1; then
    docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'
  elif command -v skopeo > /dev/null; then
    skopeo inspect --format '{{.Digest}}' "docker://$1"
  elif command -v crane > /dev/null; then
    crane digest "$1"
  else
    echo "ERROR: docker buildx, skopeo or crane is needed to ask for a digest." >&2
    return 1
  fi
}

# Images from a registry have a tag. The image that this project builds is named by a variable, and is left out.
images=$(sed -nE 's/^( *image: |ARG BASE=)([a-z0-9][a-z0-9._\/-]*:[A-Za-z0-9._-]+)(@sha256:[0-9a-f]{64})?$/\2/p' "${files[@]}" | sort -u)
[[ -n $images ]] || { echo "ERROR: no image in ${files[*]}" >&2; exit 1; }
# Get all digests before writing any file.
changes=()
for image in $images; do
  digest=$(digest_of "$image")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "ERROR: no digest of $image: $digest" >&2; exit 1; }
  echo "$image@$digest"
  changes+=(-e "s#^( *image: |ARG BASE=)${image//./\\.}(@sha256:[0-9a-f]{64})?\$#\1$image@$digest#")
done
sed -i.bak -E "${changes[@]}" "${files[@]}"
for file in "${files[@]}"; do rm "$file.bak"; done

#!/usr/bin/env bash
# Builds the image from the newest Bento, with Docker if its daemon runs, else with buildah: `make container`.
#   image.sh IMAGE [serve|gpu]      BASE=the base image      BUILD_ARGS=further options of the builder
#   image.sh --check [serve|gpu]    only whether an image can be built, before a Bento is made for it
set -euo pipefail
cd "$(dirname "$0")/.."
image=$1 target=${2:-serve}

if [[ $target != serve && $target != gpu ]]; then
  echo "ERROR: there is no variant '$target' of the image; VARIANT is serve or gpu." >&2
  exit 1
fi
if docker info > /dev/null 2>&1; then
  builder=docker
elif command -v buildah > /dev/null; then
  builder=buildah
else
  echo "ERROR: no Docker daemon runs and buildah is not installed; one of them must build the image." >&2
  exit 1
fi
if [[ $image == --check ]]; then
  exit
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

# A Bento only names its model; the image needs a copy of it. Only torch (the target gpu) reads the checkpoint.
model=$(.venv/bin/python - "$context" "$target" <<'PYTHON'
import shutil
import sys
from pathlib import Path

import bentoml

context, target = Path(sys.argv[1]), sys.argv[2]
bento = bentoml.get("image-classifier:latest")
[tag] = {model.tag for model in bento.info.all_models}
shutil.copytree(bento.path, context, dirs_exist_ok=True)
left_out = shutil.ignore_patterns() if target == "gpu" else shutil.ignore_patterns("checkpoint")
packed = context / "models" / tag.name / tag.version
shutil.copytree(bentoml.models.get(tag).path, packed, ignore=left_out, dirs_exist_ok=True)
(packed.parent / "latest").write_text(tag.version)
print(tag)
PYTHON
)
# The user of the image may read every file, and change none.
chmod -R a+rX,go-w "$context"
arguments=(--file deploy/Containerfile --target "$target" --tag "$image" --build-arg "PREPARED_MODEL=$model")
if [[ -n ${BASE:-} ]]; then
  arguments+=(--build-arg "BASE=$BASE")
fi
# shellcheck disable=SC2206 # several options in one variable
arguments+=(${BUILD_ARGS:-} "$context")

echo "Building $image ($target) with the model $model ..."
if [[ $builder == docker ]]; then
  docker build "${arguments[@]}"
else
  # chroot needs only root, no further privileges and no namespaces.
  buildah build --isolation chroot --format docker --network host "${arguments[@]}"
fi

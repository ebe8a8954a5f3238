#!/usr/bin/env bash
# Makes localhost/python:3.11-slim from Debian's packages, for machines that reach no image registry. Needs root,
# buildah and mmdebstrap:  debian-base.sh && make container BASE=localhost/python:3.11-slim
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$work/rootfs.tar"
# A network that decrypts TLS has its own certificate authority, which pip must trust.
cp /etc/ssl/certs/ca-certificates.crt "$work/"
printf '%s\n' 'FROM scratch' 'ADD rootfs.tar /' 'COPY ca-certificates.crt /etc/ssl/certs/' \
  'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' > "$work/Containerfile"
buildah build --isolation chroot --tag localhost/python:3.11-slim "$work"

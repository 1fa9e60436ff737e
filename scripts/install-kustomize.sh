#!/usr/bin/env bash
# Builds Kustomize 5 into node_modules/.cache/flux, for the tests of the manifests, unless kustomize or kubectl already has it.
# Needs Go. Debian's kubectl carries Kustomize 2, which knows no components.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$PWD/node_modules/.cache/flux
for found in "$(kustomize version 2>/dev/null || true)" "$("$bin/kustomize" version 2>/dev/null || true)" \
  "$(kubectl version --client 2>/dev/null | grep -i kustomize || true)"; do
  if [[ $found == *v5.* ]]; then
    echo "Kustomize is here: $found"
    exit 0
  fi
done
command -v go >/dev/null || { echo 'no Go, so no Kustomize' >&2; exit 1; }
mkdir -p "$bin"
GOBIN=$bin go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

#!/bin/sh
# commit.sh - the commit that a row of results names: -dirty where a tracked file other than the results, and the README that
# is made of them, differs from it
cd "$(dirname "$0")/.." || exit 1
commit=$(git describe --always 2>/dev/null) || { echo unknown; exit 0; }
git diff --quiet HEAD -- . ':!bench/results' ':!README.md' || commit=$commit-dirty
echo "$commit"

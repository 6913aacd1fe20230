#!/bin/sh
# Fetches the jars that pom.xml pins, from where Maven's settings say, holds them to their checksums, and compiles
# Node.java.
set -eu
cd "$(dirname "$0")"
rm -rf .build
mvn --batch-mode --quiet dependency:copy-dependencies
(cd .build/jars && sha256sum --check --strict --quiet ../../jars.sha256)
javac -Xlint:all,-classfile -Werror -cp '.build/jars/*' -d .build Node.java

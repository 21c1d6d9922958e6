#!/bin/sh
# Verilator's makefiles put this before every call of the compiler (OBJCACHE). Each build compiles the same files of
# Verilator's own library, and they take longer than a small design: they are compiled once, and kept.
#
#     compile_once.sh FOLDER COMPILER ARGUMENT...    FOLDER: for objects of this Verilator
folder=$1
shift
object= kept= before=
for argument; do
    [ "$before" = -o ] && object=$argument
    before=$argument
done
case $argument in */include/verilated*.cpp) kept=$folder/$(printf '%s\n' "$@" | sha256sum | cut -c 1-20).o ;; esac
[ -n "$kept" ] && [ -n "$object" ] || exec "$@"
if [ ! -e "$kept" ]; then
    "$@" || exit
    mkdir -p "$folder" && cp "$object" "$kept.$$" && mv "$kept.$$" "$kept"  # complete or not at all
else
    cp "$kept" "$object"
fi

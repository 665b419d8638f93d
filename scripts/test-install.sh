#!/bin/sh
# Installs a debug build into a temporary directory, tries what was installed, and uninstalls it.
set -eu
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$dir/usr

make --no-print-directory install PROFILE=debug DESTDIR="$dir" PREFIX=/usr

"$prefix/bin/ringwatch" --version
status=0
"$prefix/bin/ringwatch" 2>"$dir/short" || status=$?
[ "$status" -eq 2 ] && grep -q 'ringwatch trace ' "$dir/short"

for page in ringwatch ringwatch-trace ringwatch-stat ringwatch-rings ringwatch-check ringwatch-events; do
	file=$prefix/share/man/man1/$page.1
	grep -q '^\.SH NAME' "$file"
	# Not every machine has man.
	if command -v man >/dev/null; then
		LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l "$file" >"$dir/page" 2>"$dir/warnings"
		grep -q "$page" "$dir/page"
		if [ -s "$dir/warnings" ]; then
			cat "$dir/warnings" >&2
			exit 1
		fi
	fi
done

# What bash offers behind `ringwatch tr` and `ringwatch trace --dur`.
offered() {
	bash -c '. "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_ringwatch ringwatch "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[*]}"' \
		- "$prefix/share/bash-completion/completions/ringwatch" "$@"
}
[ "$(offered ringwatch tr)" = trace ]
[ "$(offered ringwatch trace --dur)" = --duration ]
if command -v zsh >/dev/null; then
	zsh -n "$prefix/share/zsh/site-functions/_ringwatch"
fi
if command -v fish >/dev/null; then
	fish --no-execute "$prefix/share/fish/vendor_completions.d/ringwatch.fish"
fi

make --no-print-directory uninstall DESTDIR="$dir" PREFIX=/usr
left=$(find "$prefix" -type f)
if [ -n "$left" ]; then
	printf 'left after uninstalling:\n%s\n' "$left" >&2
	exit 1
fi
echo "install, use and uninstall: done"

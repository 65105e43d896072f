package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"quadrille.internal/platform/fault"
)

// checkTarget refuses what two readers of a request may take for two different paths: the
// gateway chooses the service by the path, and the service its route. Nothing is cleaned
// silently, since ours have no such paths.
func checkTarget(r *http.Request) *fault.Fault {
	if !plainPath(pathOf(r)) {
		return fault.New(fault.Invalid, "path_malformed",
			"A path is UTF-8, begins with /, and has no empty, . or .. parts, no ;, no \\ and no encoded letters, digits, - . _ ~ / or \\.")
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return fault.New(fault.Invalid, "query_malformed", "The query is not name=value with & between, encoded as URLs are.")
	}
	return nil
}

// pathOf is the path of a request as it was sent.
func pathOf(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// plainPath reports whether a path, as it was sent, has one meaning.
func plainPath(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ', c == 0x7f, c == ';', c == '\\', c == '#':
			return false
		case c == '%':
			if i+2 >= len(path) || !plainByte(path[i+1:i+3]) {
				return false
			}
		}
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	decoded, err := url.PathUnescape(path)
	return err == nil && utf8.ValidString(decoded) // some readers take a dot in too many bytes for one
}

// plainPrefix reports whether a path can be written in one way only, so that no other way to
// write it avoids its route.
func plainPrefix(path string) bool {
	other := func(c rune) bool { return c != '/' && !unreserved(c) }
	return plainPath(path) && !strings.HasSuffix(path, "/") && !strings.ContainsFunc(path, other)
}

// plainByte reports whether two hexadecimal digits stand for a byte that does nothing in a
// path: no control, slash, backslash, semicolon or percent, which would encode again. What may
// be in a prefix needs no encoding: with it a path would not be below the prefix of its route.
func plainByte(digits string) bool {
	high, ok1 := unhex(digits[0])
	low, ok2 := unhex(digits[1])
	if !ok1 || !ok2 {
		return false
	}
	b := high<<4 | low
	return b >= ' ' && b != 0x7f && !unreserved(rune(b)) && !strings.ContainsRune(`/\;%`, rune(b))
}

// unreserved reports whether a character means the same encoded or not (RFC 3986, 2.3).
func unreserved(c rune) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.ContainsRune("-._~", c)
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

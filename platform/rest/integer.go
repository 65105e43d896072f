package rest

import (
	"bytes"
	"strconv"
)

// maxDigits is more than any integer type holds.
const maxDigits = 20

// wholeNumbers returns a JSON text with every number that is an integer in another
// notation, such as 963289.0 or 1e3, in the plain one: encoding/json reads no other
// into an integer. It computes with the digits, so that nothing is rounded.
func wholeNumbers(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '"':
			end = endOfString(text, i)
			out = append(out, text[i:end]...)
		case c == '-' || c >= '0' && c <= '9':
			for end < len(text) && bytes.IndexByte([]byte("0123456789+-.eE"), text[end]) >= 0 {
				end++
			}
			out = appendInteger(out, text[i:end])
		default:
			out = append(out, c)
		}
		i = end
	}
	return out
}

// endOfString returns where the string that begins at i ends.
func endOfString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// appendInteger appends a JSON number in plain notation where it is an integer of
// at most maxDigits digits, or else as it is.
func appendInteger(out, number []byte) []byte {
	mantissa, power := number, 0
	if e := bytes.IndexAny(number, "eE"); e >= 0 {
		var err error
		mantissa = number[:e]
		if power, err = strconv.Atoi(string(number[e+1:])); err != nil {
			power = 1 << 30 * sign(number[e+1:]) // beyond any integer, but zero stays zero
		}
	} else if bytes.IndexByte(number, '.') < 0 {
		return append(out, number...)
	}
	minus := mantissa[0] == '-'
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	digits := append(bytes.Clone(whole), fraction...)
	significant := bytes.TrimLeft(digits, "0")
	zeros := power - len(fraction) // behind the digits; less than none is a fraction
	trimmed := bytes.TrimRight(significant, "0")
	zeros += len(significant) - len(trimmed)
	switch {
	case len(trimmed) == 0:
		return append(out, '0')
	case zeros < 0 || len(trimmed)+zeros > maxDigits:
		return append(out, number...)
	case minus:
		out = append(out, '-')
	}
	out = append(out, trimmed...)
	return append(out, bytes.Repeat([]byte("0"), zeros)...)
}

func sign(number []byte) int {
	if bytes.HasPrefix(number, []byte("-")) {
		return -1
	}
	return 1
}

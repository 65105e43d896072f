package search

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxWord bounds a word, in characters; the rest of it is not searched.
	maxWord = 40
	// MaxTerms bounds the words of a query; those behind are passed over.
	MaxTerms = 10
	// maxWords bounds the words of a field of a document.
	maxWords = 2_000
)

// Words splits a text into words, the same way for documents and queries, whatever the
// engine: letters, with their vowel signs, and digits, small, without accents. Scripts that set no spaces between
// words give pairs of letters, and a single letter by itself.
func Words(text string) []string {
	var words []string
	for _, run := range strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mc, r) }) {
		for _, part := range splitScripts([]rune(run)) {
			if unspaced(part[0]) {
				words = append(words, pairs(part)...)
			} else {
				words = append(words, string(part[:min(len(part), maxWord)]))
			}
		}
		if len(words) >= maxWords {
			return words[:maxWords]
		}
	}
	return words
}

// Terms are the words of a query, each once.
func Terms(query string) []string {
	var terms []string
	for _, word := range Words(query) {
		if !slices.Contains(terms, word) && len(terms) < MaxTerms {
			terms = append(terms, word)
		}
	}
	return terms
}

// The marks that make か into が and は into ぱ, which are other letters.
const voiced, halfVoiced = '\u3099', '\u309a'

// fold makes letters small and takes their accents off: é is e, ﬁ is fi, Ａ is a. Letters of
// Greek and Cyrillic that are told apart by marks become one, too.
func fold(text string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(strings.ToLower(text)) {
		switch {
		case unicode.Is(unicode.Mn, r) && r != voiced && r != halfVoiced:
		case r == 'ß':
			b.WriteString("ss")
		case r == '\'' || r == '’':
			// don't is one word, and children's is childrens
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return norm.NFC.String(b.String())
}

func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) || r == 'ー'
}

// splitScripts splits where letters of a script without spaces meet others.
func splitScripts(run []rune) (parts [][]rune) {
	start := 0
	for i := 1; i <= len(run); i++ {
		if i == len(run) || unspaced(run[i]) != unspaced(run[start]) {
			parts = append(parts, run[start:i])
			start = i
		}
	}
	return parts
}

func pairs(letters []rune) []string {
	if len(letters) == 1 {
		return []string{string(letters)}
	}
	all := make([]string, 0, len(letters)-1)
	for i := range len(letters) - 1 {
		all = append(all, string(letters[i:i+2]))
	}
	return all
}

// typos is how many typing errors are tolerated in a term.
func typos(term string) int {
	switch n := len([]rune(term)); {
	case n < 4:
		return 0
	case n < 8:
		return 1
	default:
		return 2
	}
}

// swapped are the words that a term becomes when two neighbours change places. In short words
// that leaves hardly a trigram as it was.
func swapped(term string) []string {
	letters := []rune(term)
	words := make([]string, 0, len(letters))
	for i := range len(letters) - 1 {
		other := slices.Clone(letters)
		other[i], other[i+1] = other[i+1], other[i]
		words = append(words, string(other))
	}
	return words
}

// distance counts the typing errors between two words: letters that are missing, too many or
// wrong, and neighbours that changed places (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	var before []int
	row := make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		current := make([]int, len(t)+1)
		current[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			current[j+1] = min(row[j]+cost, row[j+1]+1, current[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				current[j+1] = min(current[j+1], before[j-1]+1)
			}
		}
		before, row = row, current
	}
	return row[len(t)]
}

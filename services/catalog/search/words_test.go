package search

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"Blue TEAPOT, 1.5 l":        "blue|teapot|1|5|l",
		"Café ﬁne Ａ Straße don't’s": "cafe|fine|a|strasse|donts",
		"赤い急須":                      "赤い|い急|急須",
		"灯":                         "灯",
		"abc急須x":                    "abc|急須|x",
		"ランプ が":                     "ラン|ンプ|が",
		"램프 100%":                   "램프|100",
		"हिन्दी किताब":              "हिनदी|किताब", // vowel signs are parts of words
		"İstanbul":                  "istanbul",
		strings.Repeat("x", 100):    strings.Repeat("x", maxWord),
	} {
		if got := strings.Join(Words(text), "|"); got != want {
			t.Errorf("%q has the words %q, want %q", text, got, want)
		}
	}
	if n := len(Words(strings.Repeat("a ", 10_000))); n != maxWords {
		t.Errorf("a long text has %d words", n)
	}
	if terms := Terms("a b a " + strings.Repeat("c d e f g h i j k l m ", 50)); len(terms) != MaxTerms || slices.Index(terms, "b") != 1 {
		t.Errorf("a long query has the terms %v", terms)
	}
}

// Whatever is typed, words are letters and digits: nothing that has a meaning in a query.
func FuzzWords(f *testing.F) {
	for _, text := range []string{"Blue TEAPOT", "a'b:*&|!()<->", "\xff\x00", "急須ー々", "ǅ ŉ İ ß"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := Words(text)
		for _, word := range words {
			if word == "" || !utf8.ValidString(word) || len([]rune(word)) > maxWord {
				t.Fatalf("%q has the word %q", text, word)
			}
			for _, r := range word {
				if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mc, r) {
					t.Fatalf("%q has the word %q with %q", text, word, r)
				}
			}
		}
		if again := Words(strings.Join(words, " ")); len(words) < maxWords && !hasUnspaced(words) && !slices.Equal(again, words) {
			t.Fatalf("words of words differ: %q, %q", words, again)
		}
	})
}

func hasUnspaced(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.ContainsFunc(w, unspaced) })
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"abc", "abc"}: 0, {"abc", ""}: 3, {"abc", "abd"}: 1, {"abc", "ab"}: 1, {"abc", "xabc"}: 1,
		{"abcd", "abdc"}: 1, {"ca", "abc"}: 3, {"急須", "須急"}: 1, {"kitten", "sitting"}: 3,
	} {
		if a, b := distance(pair[0], pair[1]), distance(pair[1], pair[0]); a != want || b != want {
			t.Errorf("%q: %d, %d, want %d", pair, a, b, want)
		}
	}
}

// Customers can write cursors by hand. PostgreSQL takes fewer forms of a time than Go does.
func TestCursorsHaveOneFormOfTime(t *testing.T) {
	for key, want := range map[string]string{
		"2026-06-15T09:30:00Z":                                  "2026-06-15T09:30:00.000000Z",
		"2026-06-15T09:30:00.123456Z":                           "2026-06-15T09:30:00.123456Z",
		"2026-06-15T09:30:00,5Z":                                "2026-06-15T09:30:00.500000Z",
		"2026-06-15T09:30:00+23:59":                             "2026-06-14T09:31:00.000000Z",
		"2026-06-15T09:30:00." + strings.Repeat("1", 500) + "Z": "2026-06-15T09:30:00.111111Z",
		"0001-01-01T00:00:00+01:00":                             "",
		"9999-12-31T23:59:59-01:00":                             "",
		"2026-06-15":                                            "",
	} {
		c, err := ParseCursor(Cursor{Engine: "postgres", Sort: Newest, Key: key, ID: "p"}.String(), "postgres")
		if (err == nil) != (want != "") || err == nil && c.Key != want {
			t.Errorf("%.40s: %v, want %q", key, err, want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(Cursor{Engine: "postgres", Sort: Newest, Key: "2026-06-15T09:30:00Z", ID: "p"}.String())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text, "postgres")
		if err == nil && (!c.normalize() || c.ID == "") {
			t.Fatalf("%q is taken for %+v", text, c)
		}
	})
}

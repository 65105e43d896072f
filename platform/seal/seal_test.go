package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/seal"
)

var (
	first  = strings.Repeat("0a", 32)
	second = strings.Repeat("0b", 32)
)

func box(t *testing.T, current, before string) *seal.Box {
	t.Helper()
	b, err := seal.New(current, before)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOnlyItsPlaceAndItsMasterKeyOpenWhatIsSealed(t *testing.T) {
	secret := []byte("what nobody may read")
	sealed := box(t, first, "").Seal("here", secret)
	if bytes.Contains(sealed, secret) {
		t.Error("it is not encrypted")
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, c := range map[string]struct {
		box    *seal.Box
		place  string
		sealed []byte
		opens  bool
	}{
		"by the same":       {box(t, first, ""), "here", sealed, true},
		"by the one before": {box(t, second, first), "here", sealed, true},
		"by another":        {box(t, second, ""), "here", sealed, false},
		"elsewhere":         {box(t, first, ""), "there", sealed, false},
		"changed":           {box(t, first, ""), "here", changed, false},
		"cut":               {box(t, first, ""), "here", sealed[:20], false},
		"nothing":           {box(t, first, ""), "here", nil, false},
	} {
		plain, err := c.box.Open(c.place, c.sealed)
		if c.opens != bytes.Equal(plain, secret) || c.opens != (err == nil) || err != nil && !errors.Is(err, seal.ErrSealed) {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		current, before string
		valid           bool
	}{
		"one": {first, "", true}, "two": {first, second, true}, "none": {"", "", false},
		"short": {first[2:], "", false}, "no hexadecimal": {strings.Repeat("x", 64), "", false}, "a wrong one before": {first, "0b", false},
	} {
		r := config.NewReader(func(name string) (string, bool) {
			v := map[string]string{seal.Setting: c.current, seal.Setting + "_BEFORE": c.before}[name]
			return v, v != ""
		})
		if seal.Read(r); c.valid != (r.Err() == nil) {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
}

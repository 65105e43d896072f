package customer

import (
	"errors"
	"strings"
	"testing"

	"quadrille.internal/platform/seal"
)

var newMasterKey = strings.Repeat("ab", 32)

// What is sealed opens for its customer, at its place, only.
func TestWhatIsSealedStaysInItsPlace(t *testing.T) {
	master := box(t, masterKey, "")
	key, sealedKey, err := newDataKey(master, ann)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.seal("profile", Profile{Name: "Ann"})
	if err != nil {
		t.Fatal(err)
	}
	var got Profile
	if err := key.open("profile", sealed, &got); err != nil || got.Name != "Ann" {
		t.Errorf("opened %+v, %v", got, err)
	}
	if err := key.open("address x", sealed, &got); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("at another place: %v", err)
	}
	if _, err := openDataKey(master, ben, sealedKey); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("the key of another customer: %v", err)
	}
	another, _, err := newDataKey(master, ann)
	if err != nil {
		t.Fatal(err)
	}
	if err := another.open("profile", sealed, &got); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("by another key: %v", err)
	}
}

// After a change of the master key all data keys come under the new one, and the old one
// is not needed any more.
func TestTheMasterKeyIsChanged(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.st.master = box(t, newMasterKey, masterKey)
	for more := true; more; {
		var err error
		if more, err = f.st.resealSome(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.st.older.Load(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	f.st.master = box(t, newMasterKey, "")
	if got, err := f.st.load(t.Context(), f.kit.Pool, ann); err != nil || got.Profile.Name != "Zaphod Quimby" {
		t.Errorf("by the new key alone: %+v, %v", got, err)
	}
	f.st.master = box(t, masterKey, "")
	if _, err := f.st.load(t.Context(), f.kit.Pool, ann); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("by the old key alone: %v", err)
	}
}

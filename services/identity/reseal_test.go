package identity

import (
	"strings"
	"testing"

	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/servicetest"
)

// After a change of the master key all that lasts comes under the new one. Once the gauge is
// 0 people sign in, and keys sign, without the old one.
func TestTheMasterKeyIsChanged(t *testing.T) {
	const before, after = seal.Setting + "_BEFORE", seal.Setting
	s := newShop(t)
	person := s.signIn(address)
	s.beginAddress(person, address, newAddress)
	newKey := strings.Repeat("ab", 32)

	both := serverOf(t, s.kit, map[string]string{after: newKey, before: strings.Repeat("0a", 32)})
	if _, err := both.reseal.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := both.reseal.older.Load(); n != 1 {
		t.Errorf("%d are left under the old key, want the mail that must be sent", n)
	}
	servicetest.Exec(t, s.kit.Pool, `delete from mails`)
	if _, err := both.reseal.run(t.Context()); err != nil || both.reseal.older.Load() != 0 {
		t.Errorf("%d are left, %v", both.reseal.older.Load(), err)
	}
	alone := newShopOn(t, s.kit, map[string]string{after: newKey})
	alone.signInAgain(address, pass)
	alone.refreshed(person.RefreshToken)

	old := serverOf(t, s.kit, nil)
	if _, err := old.vault.open(t.Context()); err == nil {
		t.Error("the old key alone still opens the secrets")
	}
	if _, err := old.reseal.run(t.Context()); err == nil || old.reseal.older.Load() < 3 {
		t.Errorf("what cannot be opened is passed over: %d left, %v", old.reseal.older.Load(), err)
	}
}

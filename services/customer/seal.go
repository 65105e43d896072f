package customer

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"quadrille.internal/platform/seal"
)

// Each customer has a data key, which seals what is personal. It lies in the database sealed
// by the master key, which does not. Without its data key, what is sealed can be read by
// nobody, wherever a copy of it is.

// dataKey seals what is personal to one customer.
type dataKey struct {
	customerID string
	box        *seal.Box
}

func keyPlace(customerID string) string { return "data key of " + customerID }

// newDataKey makes a customer's data key, and seals it.
func newDataKey(master *seal.Box, customerID string) (key *dataKey, sealed []byte, err error) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	if key, err = keyOf(customerID, raw[:]); err != nil {
		return nil, nil, err
	}
	return key, master.Seal(keyPlace(customerID), raw[:]), nil
}

func keyOf(customerID string, raw []byte) (*dataKey, error) {
	box, err := seal.New(hex.EncodeToString(raw), "")
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	return &dataKey{customerID, box}, nil
}

// openDataKey returns a customer's data key.
func openDataKey(master *seal.Box, customerID string, sealed []byte) (*dataKey, error) {
	raw, err := master.Open(keyPlace(customerID), sealed)
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	return keyOf(customerID, raw)
}

// reseal seals a data key by the current master key, if it is not.
func reseal(master *seal.Box, customerID string, sealed []byte) ([]byte, error) {
	raw, err := master.Open(keyPlace(customerID), sealed)
	if err != nil || bytes.HasPrefix(sealed, master.KeyID()) {
		return sealed, err
	}
	return master.Seal(keyPlace(customerID), raw), nil
}

// seal seals v for a place, such as "profile": only there, and for this customer, it opens.
func (k *dataKey) seal(place string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", place, err)
	}
	return k.box.Seal(k.place(place), plain), nil
}

func (k *dataKey) open(place string, sealed []byte, v any) error {
	plain, err := k.box.Open(k.place(place), sealed)
	if err == nil {
		err = json.Unmarshal(plain, v)
	}
	if err != nil {
		return fmt.Errorf("unseal %s: %w", place, err)
	}
	return nil
}

func (k *dataKey) place(name string) string { return name + " of " + k.customerID }

package identity

import (
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
)

const (
	maxAddress               = 254
	minPassword, maxPassword = 10, 256 // in characters, and in bytes
	maxRoles                 = 32
)

// Account is a person who may sign in.
type Account struct {
	ID uuid.UUID
	// Password is the hash, or "" where there is none.
	Password  string
	Roles     roles
	CreatedAt time.Time
}

// roles are what somebody may do. Operators give them.
type roles struct {
	Scopes  []string `json:"scopes"`
	Company string   `json:"company,omitempty"`
}

// caller returns who the bearer of a token with these roles is.
func (r roles) caller(id, session uuid.UUID) caller.Caller {
	c := caller.Caller{ID: id.String(), Scopes: r.Scopes, Company: r.Company}
	if session != uuid.Nil {
		c.Session = session.String()
	}
	return c
}

// check refuses roles that are malformed, and sorts them.
func (r *roles) check() error {
	if len(r.Scopes) > maxRoles {
		return fault.Field("scopes", "out_of_range", "Scopes are %d at most.", maxRoles)
	}
	for _, name := range r.Scopes {
		if !events.ValidName(strings.Replace(name, ":", ".", 1)) {
			return fault.Field("scopes", "malformed", "A scope is 1 to 64 of A-Z a-z 0-9 . _ -, with one colon at most.")
		}
	}
	slices.Sort(r.Scopes)
	r.Scopes = append([]string{}, slices.Compact(r.Scopes)...)
	if r.Company != "" {
		return events.CheckName("company", r.Company)
	}
	return nil
}

// normalAddress returns an e-mail address in the form by which accounts are told apart.
// Providers tell local parts apart by capitals in theory only. An address is refused in which a
// letter of another script has an ASCII one as its small letter: it would be another person's.
func normalAddress(text string) (string, error) {
	if len(text) <= maxAddress && !strings.ContainsFunc(text, becomesASCII) {
		if a, err := mail.ParseAddress(text); err == nil && a.Name == "" && a.Address == text {
			return strings.ToLower(text), nil
		}
	}
	return "", fault.Field("email", "malformed", "An e-mail address has the form name@example.com and up to %d characters.", maxAddress)
}

func becomesASCII(c rune) bool { return c > unicode.MaxASCII && unicode.ToLower(c) <= unicode.MaxASCII }

// checkPassword refuses passwords that are too easy to guess, or too long to hash.
func checkPassword(field, password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword || len(password) > maxPassword {
		return fault.Field(field, "out_of_range", "A password has at least %d characters and at most %d bytes.", minPassword, maxPassword)
	}
	return nil
}

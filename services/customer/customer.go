package customer

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"quadrille.internal/platform/fault"
)

// Bounds of what a customer may keep here.
const (
	maxText      = 120 // characters
	maxEmail     = 254
	maxAddresses = 50
	maxGroups    = 20
)

// Profile is what a customer says about himself. All of it may be missing.
type Profile struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Phone    string `json:"phone"`
	Language string `json:"language"`
}

// Address is where something is sent.
type Address struct {
	Recipient  string   `json:"recipient"`
	Lines      []string `json:"lines"`
	City       string   `json:"city"`
	Region     string   `json:"region"`
	PostalCode string   `json:"postal_code"`
	Country    string   `json:"country"`
	Phone      string   `json:"phone"`
}

// KeptAddress is one of a customer's addresses.
type KeptAddress struct {
	ID uuid.UUID `json:"id"`
	Address
	AddedAt time.Time `json:"added_at"`
}

// Consent is whether a customer agrees to a purpose, and since when.
type Consent struct {
	Purpose   string    `json:"purpose"`
	Granted   bool      `json:"granted"`
	ChangedAt time.Time `json:"changed_at"`
}

// purposes are those that customers are asked about.
var purposes = []string{"analytics", "newsletter", "personalisation"}

var (
	phoneForm    = regexp.MustCompile(`^\+[0-9]{6,15}$`)
	languageForm = regexp.MustCompile(`^[a-z]{2}(-[A-Z]{2})?$`)
	countryForm  = regexp.MustCompile(`^[A-Z]{2}$`)
	emailForm    = regexp.MustCompile(`^[^@\s\x00-\x20\x7f]{1,64}@[A-Za-z0-9.-]{1,189}$`)
)

// validate checks what a customer sends; "" is "not said".
func (p *Profile) validate() error {
	return cmp.Or(
		checkText("name", p.Name, 0),
		checkForm("email", p.Email, emailForm, fmt.Sprintf("An e-mail address is local@domain, of %d characters at most.", maxEmail)),
		checkForm("phone", p.Phone, phoneForm, "A phone number is + and 6 to 15 digits, such as +441632960961."),
		checkForm("language", p.Language, languageForm, "A language is as en or en-GB."),
	)
}

func (a *Address) validate() error {
	if len(a.Lines) < 1 || len(a.Lines) > 2 {
		return fault.Field("lines", "out_of_range", "An address has one or two lines.")
	}
	for i, l := range a.Lines {
		if err := checkText(fmt.Sprintf("lines[%d]", i), l, 1); err != nil {
			return err
		}
	}
	if !countryForm.MatchString(a.Country) {
		return fault.Field("country", "malformed", "A country is two capital letters (ISO 3166-1), such as GB.")
	}
	return cmp.Or(
		checkText("recipient", a.Recipient, 1), checkText("city", a.City, 1),
		checkText("region", a.Region, 0), checkText("postal_code", a.PostalCode, 0),
		checkForm("phone", a.Phone, phoneForm, "A phone number is + and 6 to 15 digits, such as +441632960961."),
	)
}

// checkText checks a text that is printed on labels and invoices: no control characters,
// which some printers take for commands, and none that turn the direction of a text.
func checkText(field, text string, least int) error {
	n := utf8.RuneCountInString(text)
	if n < least || n > maxText {
		return fault.Field(field, "out_of_range", "%s has %d to %d characters.", field, least, maxText)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(text) != text {
		return fault.Field(field, "malformed", "%s has printable characters only, and no space at its ends.", field)
	}
	return nil
}

func checkForm(field, text string, form *regexp.Regexp, message string) error {
	if text == "" || len(text) <= maxEmail && form.MatchString(text) {
		return nil
	}
	return fault.Field(field, "malformed", "%s", message)
}

// checkPurpose checks that customers are asked about it.
func checkPurpose(purpose string) error {
	if slices.Contains(purposes, purpose) {
		return nil
	}
	return fault.New(fault.NotFound, "no_such_purpose", "There is no such purpose: one of %s.", strings.Join(purposes, ", "))
}

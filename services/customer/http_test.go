package customer

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	customerv1 "quadrille.internal/events/proto/customer/v1"
	"quadrille.internal/platform/servicetest"
)

func TestACustomerIsKept(t *testing.T) {
	f := newFixture(t)
	f.as(ann, "GET", of(ann, ""), "", 404)
	f.fill()
	got := decoded[view](t, f.as(ann, "GET", of(ann, ""), "", 200).Body)
	if got.ID != ann || got.Profile != decoded[Profile](t, profile) || !reflect.DeepEqual(got.Groups, []string{"trade"}) || got.Erasure != nil {
		t.Errorf("kept is %+v", got)
	}
	if len(got.Addresses) != 1 || got.Addresses[0].ID.String() != home || !reflect.DeepEqual(got.Addresses[0].Address, decoded[Address](t, address)) {
		t.Errorf("the addresses are %+v", got.Addresses)
	}
	if len(got.Consents) != 1 || got.Consents[0].Purpose != "newsletter" || !got.Consents[0].Granted {
		t.Errorf("the consents are %+v", got.Consents)
	}
}

// What is personal is in no table and no event as it was sent.
func TestPersonalDataIsSealed(t *testing.T) {
	f := newFixture(t)
	f.fill()
	for _, text := range personal {
		if found := servicetest.Holding(t, f.kit.Pool, text); len(found) > 0 {
			t.Errorf("%q can be read in %v", text, found)
		}
	}
}

// A customer sees and changes nobody else's data. For others it does not exist: the answer is
// that to an id that nobody has.
func TestCustomersSeeTheirOwnOnly(t *testing.T) {
	f := newFixture(t)
	f.fill()
	for _, c := range []struct{ method, part, body string }{
		{"GET", "", ""}, {"DELETE", "", ""},
		{"PUT", "profile", profile}, {"PUT", "addresses/" + home, address}, {"DELETE", "addresses/" + home, ""},
		{"PUT", "consents/newsletter", `{"granted":false}`},
	} {
		theirs := f.as(ben, c.method, of(ann, c.part), c.body, 404).Problem()
		nobodys := f.as(ben, c.method, of(uuid.NewString(), c.part), c.body, 404).Problem()
		if theirs.Code != "customer_not_found" || theirs.Detail != nobodys.Detail {
			t.Errorf("%s %s: somebody else's answers %+v, nobody's %+v", c.method, c.part, theirs, nobodys)
		}
		if a := f.api.Do(c.method, of(ann, c.part), c.body); a.Status != 401 {
			t.Errorf("%s %s by nobody: %d", c.method, c.part, a.Status)
		}
	}
	f.as(ann, "PUT", of(ann, "groups"), `{"groups":["staff"]}`, 404) // not on the public port
	f.as(ann, "GET", "/v1/erasures", "", 404)
	if a := f.operators.Do("GET", of(ann, ""), ""); a.Status != 200 {
		t.Errorf("an operator is answered %d %s", a.Status, a.Body)
	}
	if got := decoded[view](t, f.as(ann, "GET", of(ann, ""), "", 200).Body); got.Erasure != nil || len(got.Addresses) != 1 {
		t.Errorf("others changed %+v", got)
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	f := newFixture(t)
	with := func(body, field, value string) string {
		at := strings.Index(body, `"`+field+`":`)
		end := at + strings.IndexAny(body[at+len(field)+3:], ",}") + len(field) + 3
		return body[:at] + `"` + field + `":` + value + body[end:]
	}
	for _, c := range []struct{ part, body, field string }{
		{"profile", with(profile, "name", `" x"`), "name"},
		{"profile", with(profile, "name", `"`+strings.Repeat("ü", maxText+1)+`"`), "name"},
		{"profile", with(profile, "name", `"a\u0007b"`), "name"},
		{"profile", with(profile, "name", `"a\u202eb"`), "name"}, // turns the direction of what follows
		{"profile", with(profile, "email", `"ann"`), "email"},
		{"profile", with(profile, "email", `"a b@example.com"`), "email"},
		{"profile", with(profile, "phone", `"0800"`), "phone"},
		{"profile", with(profile, "language", `"english"`), "language"},
		{"profile", `{"age":7}`, "age"},
		{"addresses/" + home, with(address, "recipient", `""`), "recipient"},
		{"addresses/" + home, with(address, "lines", `[]`), "lines"},
		{"addresses/" + home, with(address, "country", `"UK1"`), "country"},
		{"addresses/" + home, with(address, "city", `"a\nb"`), "city"},
		{"addresses/home", address, "address"},
		{"consents/newsletter", `{}`, "granted"},
	} {
		if p := f.as(ann, "PUT", of(ann, c.part), c.body, 400).Problem(); p.Field != c.field {
			t.Errorf("%s %s: field %q, want %q", c.part, c.body, p.Field, c.field)
		}
	}
	if p := f.as(ann, "PUT", of(ann, "consents/world-peace"), `{"granted":true}`, 404).Problem(); p.Code != "no_such_purpose" {
		t.Errorf("an unknown purpose answers %+v", p)
	}
	if found := f.as(ann, "GET", of(ann, ""), "", 404); found.Problem().Code != "customer_not_found" {
		t.Errorf("what was refused is kept: %s", found.Body)
	}
}

// An address that an order was placed with is as the customer saw it, whatever came after.
func TestAddressesNeverChange(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.as(ann, "PUT", of(ann, "addresses/"+home), address, 200) // repeated
	other := strings.Replace(address, "42", "43", 1)
	if p := f.as(ann, "PUT", of(ann, "addresses/"+home), other, 409).Problem(); p.Code != "address_exists" {
		t.Errorf("another address of the same id answers %+v", p)
	}
	calls := &calls{store: f.st}
	req := &customerv1.AddressRequest{CustomerId: ann, AddressId: home}
	for _, removed := range []bool{false, true} {
		got, err := calls.Address(t.Context(), req)
		if err != nil || got.GetRemoved() != removed || got.GetAddress().GetLines()[0] != "42 Betelgeuse Lane" {
			t.Errorf("the address is %v, %v, want removed: %v", got, err, removed)
		}
		f.as(ann, "DELETE", of(ann, "addresses/"+home), "", 204) // the second time it is repeated
	}
	if got := decoded[view](t, f.as(ann, "GET", of(ann, ""), "", 200).Body); len(got.Addresses) > 0 {
		t.Errorf("a removed address is listed: %+v", got.Addresses)
	}
	if p := f.as(ann, "PUT", of(ann, "addresses/"+home), address, 409).Problem(); p.Code != "address_exists" {
		t.Errorf("adding it again answers %+v", p)
	}
	f.as(ann, "DELETE", of(ann, "addresses/"+uuid.NewString()), "", 404)

	for name, req := range map[string]*customerv1.AddressRequest{
		"of somebody else": {CustomerId: ben, AddressId: home}, "unknown": {CustomerId: ann, AddressId: uuid.NewString()},
	} {
		if got, err := calls.Address(t.Context(), req); status.Code(err) != codes.NotFound {
			t.Errorf("an address %s: %v, %v", name, got, err)
		}
	}
	if _, err := calls.Address(t.Context(), &customerv1.AddressRequest{CustomerId: ann, AddressId: "home"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an id that is none: %v", err)
	}
}

func TestAddressesAreBounded(t *testing.T) {
	f := newFixture(t)
	for range maxAddresses {
		f.as(ann, "PUT", of(ann, "addresses/"+uuid.NewString()), address, 201)
	}
	if p := f.as(ann, "PUT", of(ann, "addresses/"+uuid.NewString()), address, 409).Problem(); p.Code != "too_many_addresses" {
		t.Errorf("one more answers %+v", p)
	}
}

// The date of a consent is that of the last change, not of the last request.
func TestConsentsKeepTheirDate(t *testing.T) {
	f := newFixture(t)
	put := func(granted bool) Consent {
		return decoded[Consent](t, f.as(ann, "PUT", of(ann, "consents/analytics"), fmt.Sprintf(`{"granted":%v}`, granted), 200).Body)
	}
	first := put(true)
	if again := put(true); again != first {
		t.Errorf("repeated, it is %+v, want %+v", again, first)
	}
	withdrawn := put(false)
	if withdrawn.Granted || !withdrawn.ChangedAt.After(first.ChangedAt) {
		t.Errorf("withdrawn, it is %+v after %+v", withdrawn, first)
	}
	var changes int
	if err := f.kit.Pool.QueryRow(t.Context(), `select count(*) from consents`).Scan(&changes); err != nil || changes != 2 {
		t.Errorf("%d changes are kept, %v, want 2", changes, err)
	}
}

func TestGroupsAreToldOnce(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		groups  string
		version int64
	}{{`["trade","staff","trade"]`, 1}, {`["staff","trade"]`, 1}, {`[]`, 2}} {
		a := f.operators.Do("PUT", of(ann, "groups"), `{"groups":`+c.groups+`}`)
		if got := decoded[customer.GroupsChanged](t, a.Body); a.Status != 200 || got.Version != c.version {
			t.Errorf("%s: %d %s, want version %d", c.groups, a.Status, a.Body, c.version)
		}
	}
	told := servicetest.EmittedAbout(t, f.kit.Pool, ann)
	want := []events.Event{
		&customer.GroupsChanged{OfCustomer: events.OfCustomer{CustomerID: ann}, Groups: []string{"staff", "trade"}, Version: 1},
		&customer.GroupsChanged{OfCustomer: events.OfCustomer{CustomerID: ann}, Groups: []string{}, Version: 2},
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}
}

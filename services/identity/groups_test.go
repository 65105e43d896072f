package identity

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/token"
)

// A customer's next token has the groups that customer says, in whatever order the events
// come, and no matter whose. An erased customer's come back no more.
func TestTokensTellTheGroupsOfCustomers(t *testing.T) {
	s := newShop(t)
	person := s.signIn(address)
	in := servicetest.RunInbox(t, s.kit, s.server.forget.Handle(handle))
	id := person.AccountID.String()
	say := func(of string, version int64, groups ...string) {
		t.Helper()
		in.Deliver(servicetest.Message(t, customer.GroupsChanged{
			OfCustomer: events.OfCustomer{CustomerID: of}, Groups: append([]string{}, groups...), Version: version,
		}, time.Now()))
	}
	groups := func(access string) []string {
		t.Helper()
		c, err := token.NewVerifier(issuer, s.server.keys).Verify(t.Context(), access)
		if err != nil {
			t.Fatal(err)
		}
		return c.Groups
	}
	say(id, 2, "trade", "vip")
	say(id, 1, "staff") // late
	person = s.refreshed(person.RefreshToken)
	if got := groups(person.AccessToken); !slices.Equal(got, []string{"trade", "vip"}) {
		t.Errorf("the next token says %q", got)
	}
	say(id, 3)
	person = s.refreshed(person.RefreshToken)
	if got := groups(person.AccessToken); len(got) > 0 {
		t.Errorf("who left all groups has %q", got)
	}
	say("customer-17850", 1, "trade") // no account: operators act for it
	acting := s.operators.Do(http.MethodPost, "/v1/access-tokens", `{"subject":"customer-17850"}`)
	if got := groups(decode[tokens](t, acting).AccessToken); !slices.Equal(got, []string{"trade"}) {
		t.Errorf("an operator acts for a customer in %q", got)
	}
	in.Deliver(servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: "customer-17850"}, Deadline: time.Now()}, time.Now()))
	say("customer-17850", 2, "staff")
	servicetest.EraseDue(t, s.kit.Pool, s.server.forget.Next)
	say("customer-17850", 3, "staff")
	if left := servicetest.Holding(t, s.kit.Pool, "customer-17850"); !slices.Equal(left, []string{"outbox"}) {
		t.Errorf("the id of who was erased is in %v", left)
	}
}

package price

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/protorules"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/price/audit"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

func (f *fixture) read(token string) *price.Quote {
	f.Helper()
	q, err := quote.Read(token)
	if err != nil {
		f.Fatal(err)
	}
	return q
}

// A price that rises does not touch a quote while it is valid. Afterwards the customer is
// told both totals, and nothing is held.
func TestPriceUp(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/TEN", tenOff, 10)
	given, token := f.quote(2, "TEN")
	f.list("base", 600, longAgo)
	answer := f.commit(token, uuid.New())
	f.wantOutcome(answer, committedOutcome)
	if answer.GetToken() != token || given.Total != 900 {
		t.Errorf("a valid quote of %d became %+v", given.Total, f.read(answer.GetToken()))
	}
	_, late := f.quote(2, "TEN")
	f.list("base", 700, longAgo)
	f.clock.move(15 * time.Minute)
	answer = f.commit(late, uuid.New())
	if answer.GetOutcome() != priceChanged || answer.GetQuotedTotal() != 1100 || answer.GetCurrentTotal() != 1300 || answer.GetCurrency() != "GBP" || answer.GetToken() != "" {
		t.Errorf("answered %v", answer)
	}
	f.wantUses("TEN", 1, 0)
}

// A price that falls applies by itself, before and after the quote's end; so does the same
// price after it. The new quote has the old one's id, and is signed.
func TestPriceDown(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	given, token := f.quote(2, "")
	again := func(want int64) {
		t.Helper()
		answer := f.commit(token, given.ID)
		f.wantOutcome(answer, committedOutcome)
		keys, err := f.app.keys.verifiers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		q, err := keys.Verify(answer.GetToken(), f.clock.now())
		if err != nil || q.Total != want || q.ID != given.ID || q.CustomerID != "carl" || q.CartID != "cart-1" || !q.Valid(f.clock.now()) {
			t.Errorf("to be ordered is %+v, %v, want %d", q, err, want)
		}
	}
	again(1000)
	f.list("base", 450, longAgo)
	again(900)
	f.clock.move(15 * time.Minute)
	again(900)
	f.list("base", 500, longAgo)
	again(1000)
}

// What cannot be bought any more can still be bought by a valid quote, and not by another.
func TestWhatIsNotSoldAnyMore(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	_, token := f.quote(1, "")
	f.put("/v1/prices/lists/base/prices", `{"prices": [{"sku": "TEA", "tiers": []}]}`)
	f.wantOutcome(f.commit(token, uuid.New()), committedOutcome)
	f.clock.move(15 * time.Minute)
	if answer := f.commit(token, uuid.New()); answer.GetOutcome() != refusedOutcome || answer.GetRefusal().GetCode() != pricing.NoPrice {
		t.Errorf("answered %v", answer)
	}
}

func TestForgedQuotesAreRefused(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	_, token := f.quote(1, "")
	part := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	altered := part[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(payload), "500", "100"))) + "." + part[2]
	f.wantOutcome(f.commit(altered, uuid.New()), quoteInvalid)
	answer, err := f.app.prices.Commit(t.Context(), &pricev1.CommitRequest{Token: token, OrderId: uuid.NewString(), CustomerId: "dora"})
	if err != nil {
		t.Fatal(err)
	}
	f.wantOutcome(answer, quoteInvalid) // replayed by another customer
	f.wantOutcome(f.commit(token, uuid.New()), committedOutcome)
}

// A key is published before it signs: who fetched the keys ten minutes ago verifies what the
// next one signs.
func TestKeysArePublishedBeforeTheySign(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.quote(1, "")
	first, err := f.app.keys.signer(t.Context(), f.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	f.clock.move(f.app.keys.period - publishAhead)
	if err := f.app.keys.refresh(t.Context()); err != nil { // as it does every 10 s
		t.Fatal(err)
	}
	fetched, err := f.app.keys.verifiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.clock.move(publishAhead)
	q, token := f.quote(1, "")
	if next, err := f.app.keys.signer(t.Context(), f.clock.now()); err != nil || next.ID == first.ID {
		t.Fatalf("%s still signs, %v", next.ID, err)
	}
	if _, err := fetched.Verify(token, q.IssuedAt); err != nil {
		t.Errorf("who fetched the keys before cannot verify: %v", err)
	}
}

// Keys change as fast as they may, by a clock that is ahead and one that is behind: each quote is taken for as long as it
// is valid.
func TestNoKeyIsLostWhereKeysChangeFast(t *testing.T) {
	f := fixtureWith(t, servicetest.NewKit(t, Service()), map[string]string{"QUADRILLE_QUOTE_KEY_PERIOD": "17s"})
	if err := f.kit.Config.Err(); err != nil {
		t.Fatal(err)
	}
	f.list("base", 500, longAgo)
	ahead := &keyring{pool: f.kit.Pool, box: f.app.keys.box, period: f.app.keys.period, validity: f.app.keys.validity,
		now: func() time.Time { return f.clock.now().Add(keySkew) }, log: f.kit.Log}
	signed := make(map[string]time.Time) // when a quote was signed, by the id of the key
	for range 2 * int(f.app.keys.validity/keysEvery) {
		for _, ring := range []*keyring{ahead, f.app.keys} {
			if err := ring.refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		now := f.clock.now()
		key, err := f.app.keys.signer(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		signed[key.ID] = now
		for id, at := range signed {
			if now.Before(at.Add(f.app.keys.validity)) && !slices.ContainsFunc(f.app.keys.keys, func(s signingKey) bool { return s.id == id }) {
				t.Fatalf("the key of a quote that was signed %s ago is lost", now.Sub(at).Round(time.Second))
			}
		}
		f.clock.move(keysEvery)
	}
}

// Below that, price does not start.
func TestAPeriodThatLosesKeysIsRefused(t *testing.T) {
	kit := servicetest.NewKit(t, Service())
	for _, c := range []struct{ period, validity, want string }{
		{"17s", "15m", ""},
		{"16s", "15m", "QUADRILLE_QUOTE_KEY_PERIOD: is 16s, want at least 17s where quotes are valid for 15m0s"},
		{"17s", "24h", "QUADRILLE_QUOTE_KEY_PERIOD: is 17s, want at least 14m40s where quotes are valid for 24h0m0s"},
	} {
		f := fixtureWith(t, kit, map[string]string{"QUADRILLE_QUOTE_KEY_PERIOD": c.period, "QUADRILLE_QUOTE_VALIDITY": c.validity})
		err := f.kit.Config.Err()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("a period of %s and a validity of %s: %v, want %q", c.period, c.validity, err, c.want)
		}
	}
}

// A thief has a key that is retired, and signs a quote with it that would be valid. Price
// refuses it, and so does who fetched the keys while that one was good.
func TestARetiredKeyIsRefused(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	_, token := f.quote(1, "")
	stolen, err := f.app.keys.signer(t.Context(), f.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	fetched, err := f.app.keys.verifiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.clock.move(f.app.keys.period + f.app.keys.validity + keySkew)
	forged := f.read(token)
	forged.IssuedAt, forged.ExpiresAt = f.clock.now(), f.clock.now().Add(time.Minute)
	fresh, err := quote.Sign(stolen, forged)
	if err != nil {
		t.Fatal(err)
	}
	f.wantOutcome(f.commit(fresh, uuid.New()), quoteInvalid)
	if q, err := fetched.Verify(fresh, f.clock.now()); err == nil {
		t.Errorf("a retired key still verifies %+v", q)
	}
}

// An operator changes the book between the two reads of a quote: both are read again, so
// that the quote is of one revision.
type racing struct {
	book.DB
	change func()
}

func (r *racing) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if r.change != nil {
		change := r.change
		r.change = nil
		change()
	}
	return r.DB.Query(ctx, sql, args...)
}

func TestAQuoteIsOfOneRevision(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.app.quoter.db = &racing{f.kit.Pool, func() { f.list("base", 400, longAgo) }}
	q, _ := f.quote(1, "")
	if problem, err := audit.NewRecomputer(pgtest.Auditor(t, f.kit.Pool)).Check(t.Context(), q); q.Total != 400 || problem != "" || err != nil {
		t.Errorf("%+v: %s, %v", q, problem, err)
	}
}

// A quote that was signed just before its key stopped signing holds to its end.
func TestARetiringKeyStillVerifies(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.quote(1, "")
	f.clock.move(f.app.keys.period - 2*time.Minute)
	first, err := f.app.keys.signer(t.Context(), f.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	_, token := f.quote(1, "")
	f.clock.move(10 * time.Minute)
	if next, err := f.app.keys.signer(t.Context(), f.clock.now()); err != nil || next.ID == first.ID {
		t.Fatalf("%s still signs, %v", next.ID, err)
	}
	f.list("base", 600, longAgo)
	answer := f.commit(token, uuid.New())
	f.wantOutcome(answer, committedOutcome)
	if answer.GetToken() != token {
		t.Errorf("to be ordered is %+v", f.read(answer.GetToken()))
	}
}

// Replicas that start at once use the same keys, and who has a copy of the database has none.
func TestKeysAreSharedAndSealed(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	other := fixtureOn(t, f.kit)
	_, token := f.quote(1, "")
	other.wantOutcome(other.commit(token, uuid.New()), committedOutcome)
	stranger, err := seal.New(strings.Repeat("0b", 32), "")
	if err != nil {
		t.Fatal(err)
	}
	copied := &keyring{pool: f.kit.Pool, box: stranger, period: f.app.keys.period, validity: f.app.keys.validity, now: f.clock.now, log: f.kit.Log}
	if err := copied.refresh(t.Context()); err == nil {
		t.Error("another master key opens the signing keys")
	}
}

// Replicas that start at the same moment, when there is no key yet, all sign with the same one.
func TestReplicasThatStartAtOnceHaveTheSameKeys(t *testing.T) {
	f := newFixture(t)
	var rings [8]*keyring
	for range 5 {
		servicetest.Exec(t, f.kit.Pool, `delete from signing_keys`)
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range rings {
			rings[i] = &keyring{pool: f.kit.Pool, box: f.app.keys.box, period: f.app.keys.period, validity: f.app.keys.validity, now: f.clock.now, log: f.kit.Log}
			all.Go(func() {
				<-start
				if err := rings[i].refresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		signers := make(map[string]bool)
		for _, ring := range rings {
			key, err := ring.signer(t.Context(), f.clock.now())
			if err != nil {
				t.Fatal(err)
			}
			signers[key.ID] = true
		}
		if len(signers) != 1 {
			t.Errorf("replicas sign with %d keys", len(signers))
		}
	}
}

func TestCallsRefuseNonsense(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*pricev1.QuoteRequest){
		"no lines":           func(r *pricev1.QuoteRequest) { r.Lines = nil },
		"no pieces":          func(r *pricev1.QuoteRequest) { r.Lines[0].Quantity = 0 },
		"too many pieces":    func(r *pricev1.QuoteRequest) { r.Lines[0].Quantity = 1_000_001 },
		"no such name":       func(r *pricev1.QuoteRequest) { r.Lines[0].Sku = "a b" },
		"no such currency":   func(r *pricev1.QuoteRequest) { r.Currency = "XXX" },
		"a long currency":    func(r *pricev1.QuoteRequest) { r.Currency = "POUND" },
		"no such region":     func(r *pricev1.QuoteRequest) { r.Region = "England" },
		"a group like a SKU": func(r *pricev1.QuoteRequest) { r.Groups = []string{""} },
		"a voucher's space":  func(r *pricev1.QuoteRequest) { r.Voucher = "A B" },
	} {
		req := f.request(1, "")
		change(req)
		err := protorules.Check(req)
		if err == nil {
			_, err = f.app.prices.Quote(t.Context(), req)
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := protorules.Check(&pricev1.CommitRequest{Token: "x", OrderId: "17", CustomerId: "carl"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an order id that is none: %v", err)
	}
	f.wantOutcome(f.commit("x", uuid.New()), quoteInvalid)
}

// Whatever operators change meanwhile, quotes are of one revision each, and each can be
// computed again from the book as it was.
func TestEveryTotalCanBeComputedAgain(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/TEN", tenOff, 100)
	f.put("/v1/prices/taxes/gb", `{"rate": 200000`+longAgo+`}`)
	f.put("/v1/prices/shipping/gb", `{"currency": "GBP", "amount": 395, "free_from": 5000}`)
	stop := make(chan struct{})
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			f.list("base", 500+n%7, longAgo)
			f.put("/v1/prices/promotions/summer", `{"kind": "percentage", "rate": %d`+longAgo+`}`, 1000*(n%5+1))
			f.put("/v1/prices/taxes/gb", `{"rate": %d`+longAgo+`}`, 200000+n%3)
		}
	}()
	var quotes []*price.Quote
	versions := make(map[int64]bool)
	servicetest.Await(t, "quotes of twenty revisions", func() bool {
		q, _ := f.quote(int64(len(quotes)%12+1), []string{"", "TEN"}[len(quotes)%2])
		quotes = append(quotes, q)
		versions[q.Version] = true
		return len(versions) >= 20
	})
	close(stop)
	<-changed
	f.list("base", 9999, longAgo)
	recomputer := audit.NewRecomputer(pgtest.Auditor(t, f.kit.Pool))
	for _, q := range quotes {
		if problem, err := recomputer.Check(context.Background(), q); problem != "" || err != nil {
			t.Errorf("%+v: %s, %v", q, problem, err)
		}
	}
	wrong := *quotes[0]
	wrong.Total++
	if problem, err := recomputer.Check(t.Context(), &wrong); problem == "" || err != nil {
		t.Errorf("a wrong total is not found, %v", err)
	}
	f.checkBooks()
}

// Operators may say twice what a region costs. Which of the two counts does not depend on
// what they change later.
func TestOfTwoDocumentsForARegionTheSameCounts(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	documents := func(amount int) {
		f.put("/v1/prices/shipping/a", `{"currency": "GBP", "amount": %d}`, amount)
		f.put("/v1/prices/taxes/a", `{"rate": 200000, "exceptions": [{"rate": %d, "skus": ["TEA"]}]`+longAgo+`}`, amount)
	}
	documents(100)
	f.put("/v1/prices/shipping/b", `{"currency": "GBP", "amount": 900}`)
	f.put("/v1/prices/taxes/b", `{"rate": 200000`+longAgo+`}`)
	before, _ := f.quote(1, "")
	documents(200)
	after, _ := f.quote(1, "")
	if before.Shipping != 100 || before.Lines[0].Tax != 0 || after.Shipping != 200 {
		t.Errorf("the first by name does not count: %+v, then %+v", before, after)
	}
	recomputer := audit.NewRecomputer(pgtest.Auditor(t, f.kit.Pool))
	for _, q := range []*price.Quote{before, after} {
		if problem, err := recomputer.Check(t.Context(), q); problem != "" || err != nil {
			t.Errorf("%+v: %s, %v", q, problem, err)
		}
	}
}

// A list that is made again by the name of one that was deleted has none of its prices: what
// a sale cost last year is not charged this year.
func TestAListThatIsMadeAgainIsEmpty(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.list("sale", 100, longAgo)
	f.switchNow()
	f.told("TEA")
	onSale, _ := f.quote(1, "")
	if a := f.admin.Do(http.MethodDelete, "/v1/prices/lists/sale", ""); a.Status != http.StatusNoContent {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	f.put("/v1/prices/lists/sale", `{"currency": "GBP"`+longAgo+`}`)
	if q, _ := f.quote(1, ""); q.Total != 500 {
		t.Errorf("the new list is empty, and TEA costs %d", q.Total)
	}
	f.switchNow()
	if told := amounts(f.told("TEA")); !slices.Equal(told, []int64{100, 500}) {
		t.Errorf("views are told %v", told)
	}
	f.put("/v1/prices/lists/sale", `{"currency": "GBP", "valid_from": "2026-02-01"}`)
	f.list("sale", 90, longAgo)
	f.put("/v1/prices/lists/sale", `{"currency": "GBP", "valid_from": "2026-02-01"}`) // the head alone
	if q, _ := f.quote(1, ""); q.Total != 90 {
		t.Errorf("TEA costs %d, want 90 of the new list", q.Total)
	}
	if problem, err := audit.NewRecomputer(pgtest.Auditor(t, f.kit.Pool)).Check(t.Context(), onSale); problem != "" || err != nil {
		t.Errorf("of the old list: %s, %v", problem, err)
	}
	f.checkBooks()
}

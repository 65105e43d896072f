package b2b

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"quadrille.internal/events/b2b"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/workflows/b2b/decisionlog"
)

// What is carried out is what was approved, or nothing.
func TestOrderAlteredAfterApproval(t *testing.T) {
	for name, tamper := range map[string]string{
		"other lines":          `update orders set lines = jsonb_set(lines, '{0,quantity}', '8') where id = $1`,
		"another SKU":          `update orders set lines = jsonb_set(lines, '{0,sku}', '"gold"') where id = $1`,
		"another amount":       `update orders set amount = 1 where id = $1`,
		"another currency":     `update orders set currency = 'EUR' where id = $1`,
		"another who ordered":  `update orders set ordered_by = 'mallory' where id = $1`,
		"with back-orders":     `update orders set allow_backorder = true where id = $1`,
		"another company":      `update orders set company_id = 'other' where id = $1`,
		"no decision":          `delete from decisions where order_id = $1`,
		"another approver":     `update decisions set approver = 'mallory' where order_id = $1`,
		"a gate opened by SQL": `update gates set need = 2 where id = $1`,
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.company("acme", 1_000_000, board())
			o.company("other", 1_000_000, board())
			var log bytes.Buffer
			o.worker.log = slog.New(slog.NewTextHandler(&log, nil))
			o.worker.erp = newERP("http://127.0.0.1:1", config.Secret("nobody is there"))
			for step, run := range map[string]func(req Request) (Verdict, error){
				stepAllocate: func(req Request) (Verdict, error) { return o.worker.allocate(t.Context(), req) },
				stepERP:      func(req Request) (Verdict, error) { return o.worker.syncERP(t.Context(), req) },
			} {
				req := o.gated("acme", 5_000)
				if _, err := o.cast(req.OrderID, yes("bob")); err != nil {
					t.Fatal(err)
				}
				o.tamper(tamper, req.OrderID)
				v, err := run(req)
				if err != nil || v.OK || v.Final != string(Failed) || v.Reason.Code != reasonAltered {
					t.Errorf("%s ends with %+v, %v", step, v, err)
				}
				if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), req.OrderID.String()) {
					t.Errorf("no alarm: %s", log.String())
				}
			}
		})
	}
}

func TestOrderAsApproved(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	for name, amount := range map[string]int64{"by one": 5_000, "by two": 10_000, "none needed": 500} {
		req := o.order("acme", amount)
		view, err := o.worker.lookAtGate(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range []string{"alice", "zoe"} {
			if view.Verdict == nil && o.gate(req.OrderID).State == GateOpen {
				if _, err := o.cast(req.OrderID, yes(who)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if altered, err := o.worker.altered(t.Context(), o.load(req.OrderID)); altered || err != nil {
			t.Errorf("%s: altered %v, %v", name, altered, err)
		}
	}
}

// A decision from before there were seals names the request, which is all that can
// be held against it.
func TestOrderApprovedBeforeThereWereSeals(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	req := o.gated("acme", 5_000)
	if _, err := o.cast(req.OrderID, yes("bob")); err != nil {
		t.Fatal(err)
	}
	d := o.decisions(req.OrderID)[0]
	d.OrderHash = o.load(req.OrderID).RequestHash
	d = decisionlog.Append(nil, d)
	o.tamper(`update decisions set order_hash = $2, hash = $3, mac = null, recorded_at = null where order_id = $1`, d.OrderID, d.OrderHash, d.Hash)
	for i, want := range []bool{false, true} {
		if altered, err := o.worker.altered(t.Context(), o.load(req.OrderID)); altered != want || err != nil {
			t.Errorf("%d: altered %v, %v", i, altered, err)
		}
		o.tamper(`update orders set request_hash = 'other' where id = $1`, req.OrderID)
	}
}

func TestSagaOfAnAlteredOrderShipsNothing(t *testing.T) {
	w := newWorld(t)
	b := w.in(t, "", board())
	b.submit(2, 1_000, "")
	b.await(AwaitingApproval)
	w.stop()
	b.vote(yes("bob"), http.StatusOK)
	b.tamper(`update orders set amount = 8000, lines = jsonb_set(lines, '{0,quantity}', '8') where id = $1`, b.id)
	w.engine.work(t, w.worker)
	b.ends(Failed, reasonAltered)
	if got := b.erp.orders(b.id); len(got) > 0 {
		t.Errorf("the ERP has orders %v", got)
	}
}

// The seal is HMAC-SHA256, and not the service's to choose.
func TestDatabaseSealsDecisions(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	req := o.gated("acme", 10_000)
	if _, err := o.cast(req.OrderID, yes("alice")); err != nil {
		t.Fatal(err)
	}
	forged := decisionlog.Append(o.decisions(req.OrderID), decisionlog.Decision{OrderID: req.OrderID, Approver: "x", OnBehalfOf: "x", Verdict: Approve, Source: "api"})
	o.exec(`insert into decisions (order_id, seq, approver, on_behalf_of, verdict, reason, order_hash, source, decided_at, prev_hash, hash, mac, recorded_at)
		values ($1, 2, 'x', 'x', 'approve', '', '', 'api', $2, $3, $4, 'made up', $2)`, req.OrderID, forged.DecidedAt, forged.PrevHash, forged.Hash)
	var key decisionlog.Key
	if err := pgtest.Owner(t, o.Pool).QueryRow(t.Context(), `select inner_pad, outer_pad, since from decision_key`).Scan(&key.InnerPad, &key.OuterPad, &key.Since); err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = key.InnerPad[i] ^ 0x36
	}
	list := o.decisions(req.OrderID)
	for _, d := range list {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s,%d", d.Hash, d.RecordedAt.UnixMicro())
		if want := hex.EncodeToString(mac.Sum(nil)); d.MAC != want {
			t.Errorf("decision %d has the seal %s, want %s", d.Seq, d.MAC, want)
		}
	}
	if err := key.CheckMACs(list[:1]); err != nil {
		t.Error(err)
	}
	if err := key.CheckMACs(list); err == nil {
		t.Error("a decision of another time passes")
	}
}

func TestWhatWasOrderedNeverChanges(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	id := o.gated("acme", 5_000).OrderID
	owner := pgtest.Owner(t, o.Pool)
	for _, set := range []string{
		`lines = '[]'`, `amount = 1`, `currency = 'EUR'`, `company_id = 'x'`, `ordered_by = 'x'`, `allow_backorder = true`,
		`submitted_at = now()`, `idempotency_key = 'x'`, `request_hash = 'x'`, `id = gen_random_uuid()`,
	} {
		if _, err := owner.Exec(t.Context(), `update orders set `+set+` where id = $1`, id); err == nil || !strings.Contains(err.Error(), "never changed") {
			t.Errorf("%s: %v", set, err)
		}
	}
}

// The service adds decisions and changes nothing about them: not the rows, not what
// guards these, and it cannot make up a seal.
func TestServiceMayOnlyAddDecisions(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	if _, err := o.cast(o.gated("acme", 5_000).OrderID, yes("bob")); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`update decisions set reason = 'x'`, `delete from decisions`, `truncate decisions`,
		`alter table decisions disable trigger all`, `drop trigger decisions_sealed on decisions`,
		`alter table orders disable trigger orders_frozen`, `set session_replication_role = replica`,
		`create or replace function seal_decision() returns trigger language plpgsql as 'begin return new; end'`,
		`select inner_pad from decision_key`, `update decision_key set since = now()`,
		`delete from orders`, `delete from gates`, `delete from companies`, `insert into relay_leader (one, holder, until) values (true, '', now())`,
	} {
		if _, err := o.Pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want no right to it", sql, err)
		}
	}
}

// What goes out lets others hold the record against what it was.
func TestEventsCarryTheAnchor(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000, board())
	for _, v := range []Vote{yes("bob"), no("bob", "no")} {
		req := o.gated("acme", 5_000)
		if _, err := o.cast(req.OrderID, v); err != nil {
			t.Fatal(err)
		}
		req.Verdict = o.gate(req.OrderID).verdict()
		if v.Decision == Reject {
			if _, err := o.worker.end(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		var got b2b.Anchor
		for _, e := range servicetest.Emitted(t, o.Pool)[req.OrderID] {
			switch e := e.(type) {
			case *b2b.OrderApproved:
				got = e.Anchor
			case *b2b.OrderRejected:
				got = e.Anchor
			}
		}
		d := o.decisions(req.OrderID)[0]
		if got.OrderHash != o.load(req.OrderID).decided().Hash() || got.DecisionsHead != d.Hash {
			t.Errorf("%s: sent %+v of %+v", v.Decision, got, d)
		}
	}
}

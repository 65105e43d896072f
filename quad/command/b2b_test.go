package command

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/workflows/b2b/decisionlog"
	"quadrille.internal/workflows/b2b/wire"
)

func TestTermFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"rules":[{"from":5,"need":2}],"expire_after":"1h"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		flags termFlags
		want  wire.Policy
		err   string
	}{
		{"rules and approvers", termFlags{rules: []string{"10000=1", "0=0"}, approvers: []string{"alice=500@2"}}, wire.Policy{
			Rules: []wire.Rule{{From: 10000, Need: 1}, {}}, Approvers: []wire.Approver{{ID: "alice", Limit: 500, Level: 2}},
		}, ""},
		{"a file", termFlags{policyFile: file}, wire.Policy{Rules: []wire.Rule{{From: 5, Need: 2}}, ExpireAfter: wire.Duration(time.Hour)}, ""},
		{"standard input", termFlags{policyFile: "-"}, wire.Policy{RemindAfter: wire.Duration(time.Second)}, ""},
		{"half a rule", termFlags{rules: []string{"10000"}}, wire.Policy{}, "AMOUNT=N"},
		{"an approver without a level", termFlags{approvers: []string{"alice=500"}}, wire.Policy{}, "ID=LIMIT@LEVEL"},
		{"an approver without a name", termFlags{approvers: []string{"=500@1"}}, wire.Policy{}, "ID=LIMIT@LEVEL"},
		{"two policies", termFlags{policyFile: file, rules: []string{"1=1"}}, wire.Policy{}, "already"},
		{"no such file", termFlags{policyFile: file + "x"}, wire.Policy{}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.flags.parse(strings.NewReader(`{"remind_after":"1s"}`))
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want one that says %q", err, c.err)
			}
			if err == nil && !reflect.DeepEqual(c.flags.Policy, c.want) {
				t.Errorf("policy %+v, want %+v", c.flags.Policy, c.want)
			}
		})
	}
}

func TestReadPolicyRefusesUnknownFields(t *testing.T) {
	flags := termFlags{policyFile: "-"}
	if err := flags.parse(strings.NewReader(`{"expires":"1h"}`)); err == nil {
		t.Error("a misspelt field was passed over")
	}
}

// Steps, decisions and what is under way make one story, in the order of time.
func TestSagaMoments(t *testing.T) {
	begin := time.Date(2026, 6, 15, 9, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	ended := func(seconds int) *time.Time { t := at(seconds); return &t }
	got := SagaMoments(&wire.Order{
		OrderedBy: "carl", SubmittedAt: begin, Total: events.Money{Amount: 1500, Currency: "GBP"},
		Allocations: []events.Allocation{{SKU: "TEA", Warehouse: "leeds", Quantity: 3}},
		Steps: []*wire.Step{
			{Name: "credit", Attempts: 1, StartedAt: at(1), EndedAt: ended(1), Verdict: &wire.Verdict{OK: true}},
			{Name: "approval", Attempts: 1, StartedAt: at(2), EndedAt: ended(5), Verdict: &wire.Verdict{OK: true}},
			{Name: "allocate", Attempts: 1, StartedAt: at(6), EndedAt: ended(6), Verdict: &wire.Verdict{OK: true}},
			{Name: "erp", Attempts: 1, StartedAt: at(7), EndedAt: ended(7), Verdict: &wire.Verdict{Reason: &events.Reason{Message: "No."}}},
			{Name: "undo.erp", Attempts: 2, StartedAt: at(8), ErrorCode: "erp_failed", Message: "The ERP failed."},
		},
		Decisions: []decisionlog.Decision{{Approver: "erin", OnBehalfOf: "bob", Verdict: "approve", Reason: "ok", DecidedAt: at(4)}},
	})
	want := []SagaMoment{
		{at(0), "submitted", "", "by carl"},
		{at(1), "credit", "1", "15.00 GBP held"},
		{at(2), "approval begun", "", ""},
		{at(4), "decision", "", "approve by erin for bob: ok"},
		{at(5), "approval", "1", ""},
		{at(6), "allocate", "1", "3 TEA in leeds"},
		{at(7), "erp", "1", "No."},
		{at(8), "undo.erp begun", "2", "The ERP failed."},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("moments\n got %v\nwant %v", got, want)
	}
}

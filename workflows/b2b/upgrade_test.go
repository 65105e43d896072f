package b2b

import (
	"testing"

	"quadrille.internal/platform/servicetest"
	"quadrille.internal/platform/workflowengine"
)

// While the next version adds its columns, orders are placed, come to their gates and
// are decided as before, those of earlier too.
func TestNewColumnsDoNotDisturb(t *testing.T) {
	o := newOffice(t)
	o.company("acme", 1_000_000_000, board())
	earlier := o.gated("acme", 2_000)
	servicetest.CheckUpgrade(t, o.Pool, func() {
		req := o.gated("acme", 2_000)
		if _, err := o.cast(earlier.OrderID, yes("bob")); err != nil {
			t.Error(err)
		}
		if g := o.gate(earlier.OrderID); g.State != GateApproved {
			t.Errorf("the gate is %s", g.State)
		}
		if d := o.decisions(earlier.OrderID); len(d) != 1 || d[0].Approver != "bob" || d[0].Verdict != Approve {
			t.Errorf("decisions are %+v", d)
		}
		if got := o.load(earlier.OrderID); got.Amount != 2_000 {
			t.Errorf("the order is %+v", got)
		}
		if c, err := loadCompany(t.Context(), o.Pool, "acme"); err != nil || c.CreditLimit != 1_000_000_000 {
			t.Errorf("the company is %+v, %v", c, err)
		}
		earlier = req
	})
}

// The engine's tables are the ones that its code knows.
func TestWorkflowTables(t *testing.T) {
	ours, err := migrations.ReadFile("migrations/00005_workflow.sql")
	if err != nil || string(ours) != workflowengine.Tables {
		t.Errorf("00005_workflow.sql is not platform/workflowengine's tables.sql: %v", err)
	}
}

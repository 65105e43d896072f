package b2b

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// noon is a time that policies are asked at.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// board is a policy with two approvers of level 1 and one of level 2.
func board() Policy {
	return Policy{
		Rules: []Rule{{From: 1_000, Need: 1}, {From: 10_000, Need: 2}},
		Approvers: []Approver{
			{ID: "zoe", Limit: 100_000, Level: 2},
			{ID: "alice", Limit: 20_000, Level: 1},
			{ID: "bob", Limit: 5_000, Level: 1},
		},
		Delegations: []Delegation{{From: "alice", To: "dave", Since: noon.Add(-time.Hour), Until: noon.Add(time.Hour)}},
	}
}

func TestPolicyNeed(t *testing.T) {
	unordered := Policy{Rules: []Rule{{From: 10_000, Need: 2}, {From: 0, Need: 0}, {From: 1_000, Need: 1}}}
	for _, c := range []struct {
		policy Policy
		amount int64
		want   int
	}{
		{Policy{}, 1 << 60, 0},
		{board(), 999, 0},
		{board(), 1_000, 1},
		{board(), 9_999, 1},
		{board(), 10_000, 2},
		{unordered, 500, 0},
		{unordered, 5_000, 1},
		{unordered, 50_000, 2},
		{Policy{Rules: []Rule{{From: 0, Need: 2}, {From: 1_000, Need: 0}}}, 1_000, 0}, // large orders may need fewer
	} {
		if got := c.policy.Need(c.amount); got != c.want {
			t.Errorf("%+v needs %d for %d, want %d", c.policy.Rules, got, c.amount, c.want)
		}
	}
}

func TestPolicyEligible(t *testing.T) {
	for _, c := range []struct {
		name      string
		amount    int64
		orderedBy string
		level     int
		want      []string
	}{
		{"all, lowest level first", 5_000, "carl", highest, []string{"alice", "bob", "zoe"}},
		{"only the first level", 5_000, "carl", 1, []string{"alice", "bob"}},
		{"within their limits", 5_001, "carl", highest, []string{"alice", "zoe"}},
		{"not who ordered", 5_000, "alice", highest, []string{"bob", "zoe"}},
		{"nobody's limit is enough", 100_001, "carl", highest, nil},
	} {
		var got []string
		for _, a := range board().Eligible(c.amount, c.orderedBy, c.level) {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPolicyLevels(t *testing.T) {
	for _, c := range []struct {
		name        string
		amount      int64
		orderedBy   string
		need        int
		first, next int
	}{
		{"one of level 1", 5_000, "carl", 1, 1, 2},
		{"both of level 1", 5_000, "carl", 2, 1, 2},
		{"all three are needed", 5_000, "carl", 3, 2, 0},
		{"level 1 cannot", 50_000, "carl", 1, 2, 0},
		{"two where only one of level 1 may", 10_000, "carl", 2, 2, 0},
		{"too few", 50_000, "carl", 2, 0, 1 + 1},
		{"too few without who ordered", 10_000, "zoe", 2, 0, 1},
	} {
		p := board()
		first := p.FirstLevel(c.amount, c.orderedBy, c.need)
		if first != c.first {
			t.Errorf("%s: first asks level %d, want %d", c.name, first, c.first)
		}
		if next := p.NextLevel(c.amount, c.orderedBy, first); next != c.next {
			t.Errorf("%s: escalates to level %d, want %d", c.name, next, c.next)
		}
	}
}

func TestPolicyPrincipal(t *testing.T) {
	for _, c := range []struct {
		name, person, orderedBy string
		amount                  int64
		now                     time.Time
		taken                   []string
		want                    string
	}{
		{"an approver", "alice", "carl", 5_000, noon, nil, "alice"},
		{"of a higher level, before escalation", "zoe", "carl", 5_000, noon, nil, "zoe"},
		{"a stranger", "mallory", "carl", 5_000, noon, nil, ""},
		{"above their limit", "bob", "carl", 5_001, noon, nil, ""},
		{"who ordered", "alice", "alice", 5_000, noon, nil, ""},
		{"a delegate", "dave", "carl", 5_000, noon, nil, "alice"},
		{"a delegate, above the approver's limit", "dave", "carl", 20_001, noon, nil, ""},
		{"a delegate at the first moment", "dave", "carl", 5_000, noon.Add(-time.Hour), nil, "alice"},
		{"a delegate too early", "dave", "carl", 5_000, noon.Add(-time.Hour - 1), nil, ""},
		{"a delegate too late", "dave", "carl", 5_000, noon.Add(time.Hour), nil, ""},
		{"a delegate on their own order", "dave", "dave", 5_000, noon, nil, ""},
		{"a delegate on the approver's order", "dave", "alice", 5_000, noon, nil, ""},
		{"a delegate after the approver", "dave", "carl", 5_000, noon, []string{"alice"}, ""},
		{"the approver after the delegate", "alice", "carl", 5_000, noon, []string{"alice"}, ""},
		{"another approver after the delegate", "bob", "carl", 5_000, noon, []string{"alice"}, "bob"},
	} {
		if got := board().Principal(c.person, c.amount, c.orderedBy, c.now, c.taken); got != c.want {
			t.Errorf("%s: decides as %q, want %q", c.name, got, c.want)
		}
	}
}

// An approver who stands in for another decides for themselves first, and only
// once: one person never makes two of N.
func TestPolicyPrincipalOfAnApproverWhoIsADelegate(t *testing.T) {
	p := board()
	p.Delegations[0].To = "bob"
	if got := p.Principal("bob", 5_000, "carl", noon, nil); got != "bob" {
		t.Errorf("bob decides as %q, want bob", got)
	}
	if got := p.Principal("bob", 10_000, "carl", noon, nil); got != "alice" {
		t.Errorf("above his own limit bob decides as %q, want alice", got)
	}
}

func TestPolicyDefaultsAndDurations(t *testing.T) {
	var p Policy
	if err := json.Unmarshal([]byte(`{"expire_after":"90s"}`), &p); err != nil {
		t.Fatal(err)
	}
	p = p.withDefaults()
	if p.RemindAfter != Duration(24*time.Hour) || p.EscalateAfter != Duration(48*time.Hour) || p.ExpireAfter != Duration(90*time.Second) {
		t.Errorf("defaults are %+v", p)
	}
	text, err := json.Marshal(p.ExpireAfter)
	if err != nil || string(text) != `"1m30s"` {
		t.Errorf("written as %s, %v", text, err)
	}
	if err := json.Unmarshal([]byte(`{"expire_after":"soon"}`), &p); err == nil {
		t.Error(`"soon" is taken for a duration`)
	}
}

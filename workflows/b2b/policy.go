package b2b

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/workflows/b2b/wire"
)

// Policy says which orders of a company need whose decision.
type Policy wire.Policy

// What a policy is made of, as it is stored and as the API has it.
type (
	Rule       = wire.Rule
	Approver   = wire.Approver
	Delegation = wire.Delegation
	Duration   = wire.Duration
)

// Defaults of a policy.
const (
	remindAfter   = 24 * time.Hour
	escalateAfter = 48 * time.Hour
	expireAfter   = 72 * time.Hour
)

func (p Policy) withDefaults() Policy {
	p.RemindAfter = cmp.Or(p.RemindAfter, Duration(remindAfter))
	p.EscalateAfter = cmp.Or(p.EscalateAfter, Duration(escalateAfter))
	p.ExpireAfter = cmp.Or(p.ExpireAfter, Duration(expireAfter))
	return p
}

// validate reports the first thing that is wrong with a policy.
func (p Policy) validate() error {
	if p.RemindAfter <= 0 || p.EscalateAfter <= 0 || p.ExpireAfter <= 0 {
		return fault.Field("policy", "out_of_range", "Reminder, escalation and expiry come after some time.")
	}
	seen := make(map[string]bool)
	for i, a := range p.Approvers {
		field := fmt.Sprintf("policy.approvers[%d]", i)
		if !events.ValidName(a.ID) || a.Limit < 0 || a.Level < 1 {
			return fault.Field(field, "malformed", "An approver has an id, a limit and a level from 1.")
		}
		if seen[a.ID] {
			return fault.Field(field, "repeated", "Each approver may be named once.")
		}
		seen[a.ID] = true
	}
	for i, rule := range p.Rules {
		if rule.From < 0 || rule.Need < 0 {
			return fault.Field(fmt.Sprintf("policy.rules[%d]", i), "out_of_range", "A rule has from and need of 0 or more.")
		}
	}
	for i, d := range p.Delegations {
		if !events.ValidName(d.From) || !events.ValidName(d.To) || !d.Since.Before(d.Until) {
			return fault.Field(fmt.Sprintf("policy.delegations[%d]", i), "malformed", "A delegation leads from one approver to another, since before until.")
		}
	}
	return nil
}

// Need returns how many approvals an amount needs.
func (p Policy) Need(amount int64) int {
	var rule Rule
	for _, r := range p.Rules {
		if amount >= r.From && r.From >= rule.From {
			rule = r
		}
	}
	return rule.Need
}

// Eligible lists the approvers up to a level who may decide on an amount that
// orderedBy ordered, lowest level first.
func (p Policy) Eligible(amount int64, orderedBy string, level int) []Approver {
	var list []Approver
	for _, a := range p.Approvers {
		if a.Limit >= amount && a.ID != orderedBy && a.Level <= level {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b Approver) int { return cmp.Compare(a.Level, b.Level) })
	return list
}

// highest is above every level.
const highest = 1 << 30

// FirstLevel returns the lowest level at which enough may decide, or 0 where no
// level has enough.
func (p Policy) FirstLevel(amount int64, orderedBy string, need int) int {
	all := p.Eligible(amount, orderedBy, highest)
	if len(all) < need {
		return 0
	}
	return all[need-1].Level
}

// NextLevel returns the lowest level above one at which someone more may decide,
// or 0 where there is none.
func (p Policy) NextLevel(amount int64, orderedBy string, level int) int {
	for _, a := range p.Eligible(amount, orderedBy, highest) {
		if a.Level > level {
			return a.Level
		}
	}
	return 0
}

// Principal returns in whose name a person decides on an amount: their own, or
// that of an approver who delegated to them; "" where they may not. Nobody
// decides on what they ordered, in anybody's name.
func (p Policy) Principal(person string, amount int64, orderedBy string, now time.Time, taken []string) string {
	if person == orderedBy {
		return ""
	}
	eligible := p.Eligible(amount, orderedBy, highest)
	free := func(id string) bool {
		return slices.ContainsFunc(eligible, func(a Approver) bool { return a.ID == id }) && !slices.Contains(taken, id)
	}
	if free(person) {
		return person
	}
	for _, d := range p.Delegations {
		if d.To == person && free(d.From) && !now.Before(d.Since) && now.Before(d.Until) {
			return d.From
		}
	}
	return ""
}

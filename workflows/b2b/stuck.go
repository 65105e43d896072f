package b2b

import (
	"fmt"
	"net/http"
	"time"

	"quadrille.internal/platform/rest"
	"quadrille.internal/workflows/b2b/wire"
)

const (
	stuckMost  = 500
	stuckBound = 30 * time.Second // for a step that waits for no person
)

// stuckSQL selects orders that wait neither for a person nor for their turn. A step
// that keeps failing moves its order each time; its own age tells. What the relay
// looks at only later than it ever does with an order that is stuck waits for people
// and is not read.
const stuckSQL = `
	where id in (
		select id from orders where status = 'compensation_failed'
		union all
		select o.id from orders o left join gates g on g.id = o.id
		where o.ended_at is null and o.next_check_at < $2 and case
			when o.status = 'awaiting_approval' then case g.state
				when 'open' then g.expire_at < $1
				else g.observed_at is null and g.decided_at < $1 end
			else o.moved_at < $1 or exists (
				select from jsonb_to_recordset(o.steps) as step(verdict jsonb, started_at timestamptz)
				where step.verdict is null and step.started_at < $1) end)
	order by moved_at limit $3`

// stuck is the watchdog's list. It is for operators: it holds errors as they were.
func (s *server) stuck(w http.ResponseWriter, r *http.Request) error {
	now := time.Now()
	late, err := orders.Select(r.Context(), s.pool, stuckSQL, now.Add(-stuckBound), now.Add(longestPause+lostAfter), stuckMost)
	if err != nil {
		return err
	}
	list := []wire.Stuck{}
	for _, o := range late {
		list = append(list, stuckFor(o))
	}
	return rest.Write(w, http.StatusOK, wire.StuckOrders{Stuck: list})
}

func stuckFor(o *Order) wire.Stuck {
	s := wire.Stuck{
		OrderID: o.ID, Status: string(o.Status), Since: o.MovedAt,
		Why: "waits for " + waitsFor(o) + "; no worker has taken it up",
	}
	if o.ToldCount > 0 {
		s.Why += fmt.Sprintf(", though its workflow was told %d times", o.ToldCount)
	}
	for _, st := range o.Steps {
		if st.Verdict == nil && st.Cause != "" {
			s.Since, s.Why = st.StartedAt, fmt.Sprintf("%s failed %d times: %s", st.Name, st.Attempts, st.Cause)
		}
	}
	return s
}

package identity

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// limit is how often something may be tried within a time.
type limit struct {
	kind   string
	most   int
	within time.Duration
}

// What is tried is counted before it is, so that tries side by side do not pass, and
// whether or not there is such an account. Right passwords are not held against an address:
// an office has one.
var (
	perAccount = limit{"login", 10, 15 * time.Minute}
	perAddress = limit{"login from", 100, 15 * time.Minute}
	perNewcome = limit{"registration from", 100, time.Hour}
)

// limiter counts tries, for all replicas together.
type limiter struct {
	pool  *pgxpool.Pool
	vault *vault
	log   *slog.Logger
}

const undoTimeout = time.Second

// take counts a try, and refuses it where there were too many.
func (l *limiter) take(ctx context.Context, w http.ResponseWriter, lim limit, of string) error {
	sec, err := l.vault.open(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	var count int
	var since time.Time
	err = l.pool.QueryRow(ctx, `
		insert into attempts (key, count, since) values ($1, 1, $2)
		on conflict (key) do update set
			count = case when attempts.since <= $3 then 1 else least(attempts.count, 1000000) + 1 end,
			since = case when attempts.since <= $3 then $2 else attempts.since end
		returning count, since`, sec.attempt(lim.kind, of), now, now.Add(-lim.within)).Scan(&count, &since)
	if err != nil {
		return fmt.Errorf("count attempts: %w", err)
	}
	if count <= lim.most {
		return nil
	}
	wait := max(1, int(time.Until(since.Add(lim.within)).Seconds())+1)
	w.Header().Set("Retry-After", strconv.Itoa(wait))
	return fault.New(fault.TooMany, "too_many_attempts", "There were too many attempts; try again later.")
}

// undo takes back a try that came to nothing, since something did not answer or was overloaded:
// whether the password is right was not told. The request may have ended by now.
func (l *limiter) undo(ctx context.Context, account, address string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	sec, err := l.vault.open(ctx)
	if err == nil {
		_, err = l.pool.Exec(ctx, `update attempts set count = greatest(count - 1, 0) where key = any (array[$1::bytea, $2])`,
			sec.attempt(perAccount.kind, account), sec.attempt(perAddress.kind, address))
	}
	if err != nil {
		l.log.WarnContext(ctx, "an attempt that came to nothing stays counted", "err", err)
	}
}

// giveBack takes a try back that was right: all of an account's, one of an address.
func (l *limiter) giveBack(ctx context.Context, account, address string) error {
	sec, err := l.vault.open(ctx)
	if err != nil {
		return err
	}
	_, err = l.pool.Exec(ctx, `
		update attempts set count = case when key = $1::bytea then 0 else greatest(count - 1, 0) end where key = any (array[$1::bytea, $2])`,
		sec.attempt(perAccount.kind, account), sec.attempt(perAddress.kind, address))
	if err != nil {
		return fmt.Errorf("count attempts: %w", err)
	}
	return nil
}

// addressOf returns where a request comes from. Behind a gateway that is the last address
// of X-Forwarded-For, which it has set.
func addressOf(r *http.Request, forwarded bool) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if all := r.Header.Values("X-Forwarded-For"); forwarded && len(all) > 0 {
		last := all[len(all)-1]
		host = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	return rest.NetworkOf(ip)
}

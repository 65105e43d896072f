package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
)

// prepareSlots gives the relay's role what it needs, and drops slots that lost their log:
// the connectors make new ones, and services publish what those cannot.
func (s *Stack) prepareSlots(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var level string
	if err := conn.QueryRow(ctx, `show wal_level`).Scan(&level); err != nil {
		return err
	}
	if level != "logical" {
		return &EnvironmentError{
			Problem: "PostgreSQL runs with wal_level = " + level + ", and Debezium needs logical",
			Remedy:  "set wal_level = logical, max_replication_slots and max_wal_senders (one for each service), and start it again",
		}
	}
	if err := s.createRole(ctx, conn, relayRole); err != nil {
		return err
	}
	statements := []string{"ALTER ROLE relay REPLICATION"}
	for _, app := range s.WithDatabase() {
		statements = append(statements, "GRANT CONNECT ON DATABASE "+quote(app)+" TO relay")
	}
	statements = append(statements, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE starts_with(slot_name, '`+audit.SlotPrefix+`') AND wal_status = 'lost' AND NOT active`)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the role %s: %w", relayRole, err)
		}
	}
	for _, app := range s.WithDatabase() {
		if err := s.letRelayRead(ctx, app); err != nil {
			return fmt.Errorf("let %s read the outbox of %s: %w", relayRole, app, err)
		}
	}
	return nil
}

// dropUnread drops the slots that Debezium has left in a private server once the services
// publish again: they would keep the log for nobody.
func (s *Stack) dropUnread(ctx context.Context) error {
	if s.ByDebezium() || s.postgres.external {
		return nil
	}
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slots := make([]string, 0, len(s.WithDatabase()))
	for _, app := range s.WithDatabase() {
		slots = append(slots, slotOf(app))
	}
	_, err = conn.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE slot_name = any ($1) AND NOT active`, slots)
	if err != nil {
		return fmt.Errorf("drop the slots that Debezium has left: %w", err)
	}
	return nil
}

func (s *Stack) letRelayRead(ctx context.Context, app string) error {
	u := *s.postgres.superuser
	u.Path = "/" + app
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "GRANT USAGE ON SCHEMA public TO relay; GRANT SELECT ON outbox TO relay")
	return err
}

// A Slot is how the replication slot of a service is doing.
type Slot struct {
	Name string
	// Status is PostgreSQL's word for whether the log that the slot needs is still there,
	// "" where there is no slot.
	Status string
	Read   bool  // somebody reads it now
	Behind int64 // bytes of log that are not confirmed
	Left   int64 // bytes of log that may follow before the slot is lost
}

// Slots looks at the replication slots, by app.
func (s *Stack) Slots(ctx context.Context) (map[string]Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
		select slot_name, coalesce(wal_status, 'lost'), active,
			coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint, coalesce(safe_wal_size, 0)
		from pg_replication_slots where confirmed_flush_lsn is not null`)
	if err != nil {
		return nil, fmt.Errorf("look at the replication slots: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Slot])
	if err != nil {
		return nil, fmt.Errorf("look at the replication slots: %w", err)
	}
	slots := map[string]Slot{}
	for _, app := range s.WithDatabase() {
		slots[app] = Slot{Name: slotOf(app)}
		for _, slot := range found {
			if slot.Name == slotOf(app) {
				slots[app] = slot
			}
		}
	}
	return slots, nil
}

package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quadrille.internal/platform/audit"
)

// connectorFile is the connector of every service, but for what is its own.
func (s *Stack) connectorFile() string { return filepath.Join(s.Root, "components", "debezium.json") }

// connector is that of a service.
func (s *Stack) connector(app string) (map[string]string, error) {
	text, err := os.ReadFile(s.connectorFile())
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.connectorFile(), err)
	}
	host, port, _ := strings.Cut(s.postgres.host, ":")
	config["database.hostname"], config["database.port"] = host, port
	config["database.user"] = relayRole
	config["database.password"] = "${file:" + s.secretFile(relayRole+".properties") + ":password}"
	config["database.dbname"], config["slot.name"], config["topic.prefix"] = app, slotOf(app), app
	return config, nil
}

// slotOf is the slot of an app's database, which is called like the app.
func slotOf(app string) string { return audit.SlotPrefix + app }

// forgetPosition has a connector forget where it was in a slot that is gone: Debezium refuses
// to begin a new one while it remembers the one before. What lies between the two the
// service publishes.
func (s *Stack) forgetPosition(ctx context.Context, app string) error {
	for _, step := range []struct{ method, path string }{
		{http.MethodPut, "/stop"},
		{http.MethodDelete, "/offsets"}, // refused until it has stopped
		{http.MethodPut, "/resume"},
	} {
		err := poll(ctx, func(ctx context.Context) error {
			_, err := s.askConnect(ctx, step.method, "/connectors/"+app+step.path, nil)
			return err
		})
		if err != nil {
			return fmt.Errorf("have the connector of %s begin a new slot: %w", app, err)
		}
	}
	return nil
}

// putConnector makes the connector what it should be, and starts it again if it failed.
func (s *Stack) putConnector(ctx context.Context, app string) error {
	config, err := s.connector(app)
	if err != nil {
		return err
	}
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if _, err := s.askConnect(ctx, http.MethodPut, "/connectors/"+app+"/config", body); err != nil {
		return fmt.Errorf("configure the connector of %s: %w", app, err)
	}
	return nil
}

// connectorReads reports why a connector does not read its slot. One that failed begins
// again: what made it fail may be over.
func (s *Stack) connectorReads(ctx context.Context, app string) error {
	task, err := s.connectorTask(ctx, app)
	if err != nil {
		return err
	}
	if task.halted() {
		return errors.Join(task.err(), s.resume(ctx, app, task.State))
	}
	slots, err := s.Slots(ctx)
	if err != nil {
		return err
	}
	switch {
	case task.State == failed:
		return errors.Join(task.err(), s.beginAgain(ctx, app, slots[app]))
	case task.State != "RUNNING":
		return task.err()
	case !slots[app].Read:
		return errors.New("does not read its slot yet")
	}
	return nil
}

const failed, stopped, paused = "FAILED", "STOPPED", "PAUSED"

// A connectorTask is what Connect says of the one task of a connector, or of a connector that
// is halted and has none.
type connectorTask struct{ State, Trace string }

// halted reports whether it waits until it is told to go on.
func (t connectorTask) halted() bool { return t.State == stopped || t.State == paused }

func (t connectorTask) err() error {
	cause, _, _ := strings.Cut(t.Trace, "\n")
	return errors.New(strings.TrimSpace("is " + strings.ToLower(t.State) + " " + cause))
}

func (s *Stack) connectorTask(ctx context.Context, app string) (connectorTask, error) {
	text, err := s.askConnect(ctx, http.MethodGet, "/connectors/"+app+"/status", nil)
	if err != nil {
		return connectorTask{}, err
	}
	var status struct {
		Connector connectorTask
		Tasks     []connectorTask
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return connectorTask{}, err
	}
	switch {
	case len(status.Tasks) > 0:
		return status.Tasks[0], nil
	case status.Connector.halted():
		return status.Connector, nil
	}
	return connectorTask{}, errors.New("has no task yet")
}

// resume has a connector go on that an interrupted forgetPosition has left stopped, or that somebody stopped or
// paused: Connect remembers that beyond its end, and by itself it would never read again.
func (s *Stack) resume(ctx context.Context, app, state string) error {
	if _, err := s.askConnect(ctx, http.MethodPut, "/connectors/"+app+"/resume", nil); err != nil {
		return err
	}
	if err := s.awaitNo(ctx, app, state); err != nil {
		return err
	}
	s.report("connector of "+app, Note, "was "+strings.ToLower(state)+", and goes on")
	return nil
}

// beginAgain starts a failed connector, with a new slot where it has none, and waits until
// it is no longer known as failed: asked meanwhile, it would begin again and again.
func (s *Stack) beginAgain(ctx context.Context, app string, slot Slot) error {
	if slot.Status == "" {
		if err := s.forgetPosition(ctx, app); err != nil {
			return err
		}
	} else if _, err := s.askConnect(ctx, http.MethodPost, "/connectors/"+app+"/restart?includeTasks=true&onlyFailed=true", nil); err != nil {
		return err
	}
	return s.awaitNo(ctx, app, failed)
}

// awaitNo waits until a connector is no longer in a state.
func (s *Stack) awaitNo(ctx context.Context, app, state string) error {
	ctx, cancel := context.WithTimeout(ctx, connectGrace)
	defer cancel()
	return poll(ctx, func(ctx context.Context) error {
		task, err := s.connectorTask(ctx, app)
		if err == nil && task.State == state {
			err = task.err()
		}
		return err
	})
}

func (s *Stack) askConnect(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.connectURL()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("connect answers %s: %.300s", resp.Status, text)
	}
	return text, err
}

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// bridgeTimeout is what the one process has for a step: it starts or stops a service.
	bridgeTimeout = 90 * time.Second
	// catchUpTimeout is what consumers have for the events that lie on the broker.
	catchUpTimeout = 60 * time.Second
	redisTimeout   = 2 * time.Second
)

// ErrUnknownService says that there is no such service.
var ErrUnknownService = errors.New("there is no such service")

// MoveOut moves a service out of the one process while both work: a replica is started
// outside first, then the one inside finishes what it has. It reports false where the
// service is outside already.
func (s *Stack) MoveOut(ctx context.Context, app string) (moved bool, err error) {
	unlock, now, err := s.beginMove(ctx, app)
	if err != nil {
		return false, err
	}
	defer unlock()
	if err := s.canRunOutside(app); err != nil {
		return false, err
	}
	if now.Place == PlaceOutside && s.Process(app) != nil && s.Process(Sidecar(app)) != nil && s.isOutside(app) {
		return false, nil
	}
	if err := s.rememberOutside(append(s.Outside(), app)); err != nil {
		return false, err
	}
	err = s.startBridge(ctx)
	if err == nil && now.Place == PlaceInside {
		err = s.setPlace(ctx, app, PlaceBoth) // what the one outside emits is heard from its first event
	}
	if err == nil {
		err = s.startOutside(ctx, app)
	}
	if err != nil {
		if now.Place == PlaceInside {
			err = errors.Join(err, s.giveUpMove(context.WithoutCancel(ctx), app))
		}
		return false, err
	}
	began := time.Now()
	if err := s.setPlace(ctx, app, PlaceOutside); err != nil {
		return false, err
	}
	s.reportEvent(Event{Part: app, State: Note, Detail: "drained and stopped in the process; it runs outside", Took: time.Since(began)})
	return true, nil
}

// giveUpMove leaves a service where it was: inside.
func (s *Stack) giveUpMove(ctx context.Context, app string) error {
	return errors.Join(s.stopOutside(ctx, app), s.setPlace(ctx, app, PlaceInside), s.forgetOutside(app))
}

// MoveIn brings a service back: one is started inside first, then the one outside finishes
// what the broker holds for it. It reports false where the service is inside already.
func (s *Stack) MoveIn(ctx context.Context, app string) (moved bool, err error) {
	unlock, now, err := s.beginMove(ctx, app)
	if err != nil {
		return false, err
	}
	defer unlock()
	if now.Place == PlaceInside && !s.isOutside(app) {
		return false, nil
	}
	if err := s.startAllOutside(ctx); err != nil { // what has died there has events to finish
		return false, err
	}
	began := time.Now()
	if err := s.setPlace(ctx, app, PlaceBoth); err != nil {
		return false, err
	}
	// From now on the broker gets nothing more for it.
	if err := s.caughtUp(ctx, app, append(now.Hears, app+".deadletter")); err != nil {
		return false, fmt.Errorf("%w; it runs inside and outside until this works: try again", err)
	}
	if err := s.stopOutside(ctx, app); err != nil {
		return false, err
	}
	if err := s.caughtUp(ctx, Together, now.Emits); err != nil {
		return false, fmt.Errorf("%w; its events are heard from the broker until this works: try again", err)
	}
	if err := errors.Join(s.setPlace(ctx, app, PlaceInside), s.forgetOutside(app)); err != nil {
		return false, err
	}
	s.reportEvent(Event{Part: app, State: Note, Detail: "runs in the process", Took: time.Since(began)})
	if len(s.Outside()) > 0 {
		return true, nil
	}
	return true, s.stopAll(ctx, sidecarGrace, Sidecar(Together))
}

// beginMove locks the stack and says where the service is.
func (s *Stack) beginMove(ctx context.Context, app string) (unlock func(), now placed, err error) {
	if !slices.Contains(s.Apps(), app) {
		return nil, now, fmt.Errorf("%w: %q; there are %s", ErrUnknownService, app, strings.Join(s.Apps(), ", "))
	}
	if !s.OneProcess() || s.Process(Together) == nil {
		return nil, now, &EnvironmentError{
			Problem: "Quadrille does not run in one process, and services are moved out of that",
			Remedy:  "start it with `quad up --one-process` (after `quad down`, if it runs otherwise)",
		}
	}
	if unlock, err = s.lock(); err != nil {
		return nil, now, err
	}
	all, err := s.places(ctx)
	if err == nil {
		if now = all.of(app); now.Fixed != "" {
			err = fmt.Errorf("%s cannot be moved: %s", app, now.Fixed)
		}
	}
	if err != nil {
		unlock()
		return nil, now, err
	}
	return unlock, now, nil
}

// canRunOutside finds what the one process does without.
func (s *Stack) canRunOutside(app string) error {
	if !s.ToolchainBuilt() {
		return &EnvironmentError{Problem: "Dapr is not built, and a service outside needs it", Remedy: "run `quad build` (some minutes)"}
	}
	if _, err := os.Stat(s.App(app).Alone[0]); err != nil {
		return &EnvironmentError{Problem: "not built: " + app, Remedy: "run `quad build`"}
	}
	return nil
}

// caughtUp waits until a consumer group has answered for all that lies on the topics now.
func (s *Stack) caughtUp(ctx context.Context, group string, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	client := redis.NewClient(&redis.Options{
		Addr: s.redis.addr, Password: s.redis.password, DialTimeout: redisTimeout, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout,
	})
	defer client.Close() //nolint:errcheck // it has only read
	for _, topic := range topics {
		stream, err := client.XInfoStream(ctx, topic).Result()
		if redis.HasErrorPrefix(err, "no such key") {
			continue // nothing was ever published
		}
		if err != nil {
			return fmt.Errorf("ask Redis for %s: %w", topic, err)
		}
		if err := poll(ctx, func(ctx context.Context) error {
			return answeredTo(ctx, client, group, topic, stream.LastGeneratedID)
		}); err != nil {
			return err
		}
	}
	return nil
}

// answeredTo reports whether a group has read a topic up to an entry, and owes no answer
// for any of these. Later entries do not matter.
func answeredTo(ctx context.Context, client *redis.Client, group, topic, last string) error {
	groups, err := client.XInfoGroups(ctx, topic).Result()
	if err != nil {
		return fmt.Errorf("ask Redis who reads %s: %w", topic, err)
	}
	i := slices.IndexFunc(groups, func(g redis.XInfoGroup) bool { return g.Name == group })
	if i < 0 {
		return nil // it does not hear the topic on the broker
	}
	if before(groups[i].LastDeliveredID, last) {
		return fmt.Errorf("%s has not read all of %s", group, topic)
	}
	open, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: topic, Group: group, Start: "-", End: last, Count: 1}).Result()
	if err != nil {
		return fmt.Errorf("ask Redis what %s has not answered for: %w", group, err)
	}
	if len(open) > 0 {
		return fmt.Errorf("%s has not answered for all of %s", group, topic)
	}
	return nil
}

// before compares the ids of two entries of a stream.
func before(a, b string) bool {
	aTime, aSeq := entryID(a)
	bTime, bSeq := entryID(b)
	return aTime < bTime || aTime == bTime && aSeq < bSeq
}

func entryID(id string) (ms, seq uint64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(left, 10, 64) // Redis wrote them
	seq, _ = strconv.ParseUint(right, 10, 64)
	return ms, seq
}

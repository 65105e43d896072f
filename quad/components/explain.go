package components

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all" // who owns each event, and what it is about
)

// ErrNoTopic says that the component files allow nobody a topic.
var ErrNoTopic = errors.New("no such topic")

// An Explanation is what a subscriber of a topic gets.
type Explanation struct {
	Topic string `json:"topic"`
	// About is what its events are about, and Schema the version of their payload.
	About      string `json:"about,omitempty"`
	Schema     string `json:"schema,omitempty"`
	DeadLetter bool   `json:"dead_letter,omitempty"`

	EmittedBy []string `json:"emitted_by"`
	// MayEmit are those that the scopes let publish it, and that do so no more.
	MayEmit []string     `json:"may_emit,omitempty"`
	HeardBy []Subscriber `json:"heard_by"`

	Broker string `json:"broker"` // pubsub.redis, pubsub.kafka
	// Key is by which events are spread, "" where the broker does not look at it.
	Key        string `json:"key,omitempty"`
	Partitions int    `json:"partitions,omitempty"`
	// AtOnce is how many a sidecar hands out beside each other without bulk delivery.
	AtOnce  int   `json:"at_once,omitempty"`
	Batch   Batch `json:"batch"`
	Written Write `json:"written"`

	// RedeliveredAfter is when what a killed subscriber had taken comes again.
	RedeliveredAfter Within `json:"redelivered_after"`
	// Retention is how long the broker keeps an event, handled or not; "" if for ever.
	Retention  string `json:"retention,omitempty"`
	Remembered string `json:"remembered"` // how long services know the ids of handled events
	// ParkingStopsAfter is how many events that fail one after another are taken for a fault
	// of the service, and are no more parked.
	ParkingStopsAfter int `json:"parking_stops_after"`
	// From is where a new consumer group begins.
	From string `json:"from"`

	Files []string `json:"files"`
}

// A Subscriber is an app that hears a topic.
type Subscriber struct {
	App   string `json:"app"`
	Group string `json:"group"`
	Retry Retry  `json:"retry"`
	// DeadLetter is the topic of what its sidecar gives up on, "" if there is none.
	DeadLetter string `json:"dead_letter,omitempty"`
}

// A Retry is how a sidecar delivers again what its app did not take.
type Retry struct {
	Policy string `json:"policy"` // constant, exponential, none
	Every  string `json:"every,omitempty"`
	Most   string `json:"most,omitempty"` // the longest wait of an exponential one
	Times  int    `json:"times"`          // -1: until it is taken
}

// A Batch is how many events a subscriber is handed at once.
type Batch struct {
	Most int    `json:"most"`
	Wait string `json:"wait"` // for the batch to fill
}

// Write is when an event counts as published.
type Write struct {
	Acks     string `json:"acks,omitempty"`
	Replicas int    `json:"replicas,omitempty"`
	InSync   int    `json:"in_sync,omitempty"` // how many must have it
}

// Within is from the shortest to the longest.
type Within struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// List explains all topics, in the order of the component file.
func (f *Folder) List() ([]Explanation, error) {
	var list []Explanation
	for _, topic := range f.AllTopics() {
		e, err := f.Explain(topic)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// Explain says what a subscriber of a topic gets.
func (f *Folder) Explain(topic string) (Explanation, error) {
	if !slices.Contains(f.AllTopics(), topic) {
		return Explanation{}, fmt.Errorf("%w as %s in allowedTopics of %s", ErrNoTopic, topic, f.Path)
	}
	e := Explanation{
		Topic: topic, DeadLetter: strings.HasSuffix(topic, deadLetterSuffix), Broker: f.Type,
		EmittedBy: []string{}, HeardBy: []Subscriber{},
		Batch: Batch{Most: batchSize, Wait: batchWait}, Remembered: remembered, ParkingStopsAfter: stopAfter, Files: f.files(),
	}
	def, known := events.Lookup(topic)
	if known {
		e.About, e.Schema = string(def.Kind), events.Schema(topic)
	}
	for _, app := range whoMay(f.Publishing(), topic) {
		if known && app != def.Owner {
			e.MayEmit = append(e.MayEmit, app)
		} else {
			e.EmittedBy = append(e.EmittedBy, app)
		}
	}
	for _, app := range whoMay(f.Subscribing(), topic) {
		e.HeardBy = append(e.HeardBy, f.subscriber(app, topic))
	}
	explain := f.explainRedis
	if f.Type == Kafka {
		explain = f.explainKafka
	}
	if err := explain(&e); err != nil {
		return e, fmt.Errorf("explain %s: %w", topic, err)
	}
	return e, nil
}

func (f *Folder) files() []string {
	files := []string{"pubsub.yaml", "resiliency.yaml"}
	if f.Topics != nil {
		files = append(files, TopicsFile)
	}
	for i, file := range files {
		files[i] = filepath.Join(f.Path, file)
	}
	return files
}

func (f *Folder) subscriber(app, topic string) Subscriber {
	s := Subscriber{App: app, Group: cmp.Or(f.value("consumerGroup", ""), f.value("consumerID", ""), app), Retry: Retry{Policy: "none"}}
	if dead := app + deadLetterSuffix; topic != dead && slices.Contains(f.Publishing()[app], dead) {
		s.DeadLetter = dead
	}
	policy, ok := f.inboundRetry(app)
	if ok {
		s.Retry = Retry{Policy: cmp.Or(policy.Policy, "constant"), Every: cmp.Or(policy.Duration, "5s"), Times: -1}
		if policy.MaxRetries != nil {
			s.Retry.Times = *policy.MaxRetries
		}
		if s.Retry.Policy == "exponential" {
			s.Retry.Every, s.Retry.Most = "500ms", cmp.Or(policy.MaxInterval, "1m")
		}
	}
	if s.Retry.Times >= 0 && s.DeadLetter == "" && f.Type == Kafka && f.value("consumeRetryEnabled", "true") == "true" {
		// What nobody took in the end the component hands out again by itself.
		s.Retry = Retry{Policy: "constant", Every: f.value("consumeRetryInterval", "100ms"), Times: -1}
	}
	return s
}

// explainRedis has the defaults of pubsub.redis in Dapr 1.18.
func (f *Folder) explainRedis(e *Explanation) error {
	e.From = "the oldest event that is kept"
	e.Retention = f.value("streamTTL", "")
	var err error
	if e.AtOnce, err = f.number("concurrency", "10"); err != nil {
		return err
	}
	lease, err := f.duration("processingTimeout", "60s")
	if err != nil {
		return err
	}
	look, err := f.duration("redeliverInterval", "15s")
	if err != nil {
		return err
	}
	if lease > 0 && look > 0 { // either at 0 turns it off
		e.RedeliveredAfter = Within{lease.String(), (lease + look).String()}
	}
	return nil
}

// explainKafka has the defaults of pubsub.kafka in Dapr 1.18.
func (f *Folder) explainKafka(e *Explanation) error {
	e.Key = "subject"
	e.From = "the newest event"
	if f.value("initialOffset", "newest") == "oldest" {
		e.From = "the oldest event that is kept"
	}
	e.Written.Acks = f.value("producerRequiredAcks", "all")
	lost, err := f.duration("sessionTimeout", "10s")
	if err != nil {
		return err
	}
	e.RedeliveredAfter = Within{lost.String(), lost.String()}
	for name, into := range map[string]*int{
		"num.partitions": &e.Partitions, "default.replication.factor": &e.Written.Replicas, "min.insync.replicas": &e.Written.InSync,
	} {
		if f.Topics[name] == "" {
			continue
		}
		if *into, err = strconv.Atoi(f.Topics[name]); err != nil {
			return fmt.Errorf("%s has %s=%s, want a number", TopicsFile, name, f.Topics[name])
		}
	}
	if hours := f.Topics["log.retention.hours"]; hours != "" {
		e.Retention = hours + "h"
	}
	return nil
}

func (f *Folder) number(name, byDefault string) (int, error) {
	n, err := strconv.Atoi(f.value(name, byDefault))
	if err != nil {
		return 0, fmt.Errorf("%s is %q, want a number", name, f.value(name, byDefault))
	}
	return n, nil
}

// duration reads what Dapr takes: 5s, or a number of milliseconds.
func (f *Folder) duration(name, byDefault string) (time.Duration, error) {
	text := f.value(name, byDefault)
	if ms, err := strconv.Atoi(text); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, want a time such as 5s", name, text)
	}
	return d, nil
}

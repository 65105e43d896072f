// Package traces is what quad reads of a trace: the spans that a collector kept, as a tree.
package traces

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Span is a step of a trace, as the local collector keeps it.
type Span struct {
	TraceID string `json:"trace_id"`
	ID      string `json:"span_id"`
	Parent  string `json:"parent_id,omitempty"`
	// Links are spans that this one is about too, as a batch is about several.
	Links   []Link            `json:"links,omitempty"`
	Service string            `json:"service"`
	Name    string            `json:"name"`
	Kind    string            `json:"kind"`
	Begin   time.Time         `json:"begin"`
	End     time.Time         `json:"end"`
	Failed  bool              `json:"failed,omitempty"`
	Attrs   map[string]string `json:"attributes,omitempty"`
}

// Link leads to another span.
type Link struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// Read asks the collector at base for the spans of a trace, and those that link to it.
func Read(ctx context.Context, base, traceID string) ([]Span, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/traces/"+traceID, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: readTimeout}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the collector, which quad up --trace starts: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the collector's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the collector answers %s: %.200s", res.Status, body)
	}
	var spans []Span
	if err := json.Unmarshal(body, &spans); err != nil {
		return nil, fmt.Errorf("read the collector's answer: %w", err)
	}
	return spans, nil
}

const (
	readTimeout = 30 * time.Second
	maxAnswer   = 64 << 20
)

// Node is a span in the tree of a trace.
type Node struct {
	Span
	// Linked says that the span belongs to another trace and is here by a link.
	Linked   bool
	Children []*Node
}

// ErrNone says that the collector has nothing of a trace.
var ErrNone = errors.New("no span of the trace was kept: it may not have been sampled, be older than what is kept, or be sent within seconds")

// Tree orders the spans of a trace below their parents, by time. A span of another trace stands
// below each span that it links to; one whose parent was not kept stands at the top.
func Tree(traceID string, spans []Span) ([]*Node, error) {
	own := make(map[string]*Node)
	for _, s := range spans {
		if s.TraceID == traceID {
			own[s.ID] = &Node{Span: s}
		}
	}
	if len(own) == 0 {
		return nil, ErrNone
	}
	var top []*Node
	for _, s := range spans {
		if n := own[s.ID]; s.TraceID == traceID {
			if parent := own[s.Parent]; parent != nil {
				parent.Children = append(parent.Children, n)
			} else {
				top = append(top, n)
			}
		}
		for _, link := range s.Links {
			if to := own[link.SpanID]; link.TraceID == traceID && to != nil && s.Parent != to.ID {
				to.Children = append(to.Children, &Node{Span: s, Linked: true})
			}
		}
	}
	sortByTime(top)
	for _, n := range own {
		sortByTime(n.Children)
	}
	return top, nil
}

func sortByTime(nodes []*Node) {
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Or(a.Begin.Compare(b.Begin), cmp.Compare(a.ID, b.ID)) })
}

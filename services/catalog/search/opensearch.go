package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/opensearch-project/opensearch-go/v4"
)

// OpenSearch keeps indexes in a cluster. Words are split here, as for every engine; the cluster
// only finds them. Each index is reached by an alias of its own, so that writing to one that
// is gone is an error and does not make another.
type OpenSearch struct {
	client    *opensearch.Client
	transport *http.Transport
	// alias is that of the live index.
	alias string
}

// OpenSearchConfig says where the cluster is.
type OpenSearchConfig struct {
	URL, User, Password string
	// Alias is the name of the live index; those of the others begin with it.
	Alias string
}

const (
	// openSearchTimeout bounds a call that somebody waits for.
	openSearchTimeout = 3 * time.Second
	// openSearchWrite bounds a call with many documents.
	openSearchWrite = 15 * time.Second
	// openSearchConns bounds the calls under way; more wait, up to their time-out.
	openSearchConns = 32
	// maxOpenSearchAnswer bounds an answer, in bytes.
	maxOpenSearchAnswer = 64 << 20
	// checkpointID is that of the document with the checkpoint. No product is called so.
	checkpointID = "$checkpoint"
)

// NewOpenSearch returns the engine; it does not connect yet.
func NewOpenSearch(c OpenSearchConfig) (*OpenSearch, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: openSearchConns, MaxConnsPerHost: openSearchConns, IdleConnTimeout: time.Minute}
	client, err := opensearch.NewClient(opensearch.Config{
		Transport: transport,
		Addresses: []string{c.URL}, Username: c.User, Password: c.Password,
		// What fails is tried again by the one who asked: a worker by its rules, a customer if he likes.
		DisableRetry: true,
	})
	if err != nil {
		return nil, fmt.Errorf("opensearch: %w", err)
	}
	return &OpenSearch{client, transport, c.Alias}, nil
}

// Close ends what the client does by itself, and idle connections.
func (o *OpenSearch) Close() {
	_ = o.client.Close() // it only stops looking after the cluster's nodes
	o.transport.CloseIdleConnections()
}

// Name is opensearch.
func (*OpenSearch) Name() string { return OpenSearchName }

// refusal is an answer that says no.
type refusal struct {
	status int
	kind   string
	reason string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("opensearch answers %d %s: %s", r.status, r.kind, r.reason)
}

// passes reports whether the same may work later: the cluster has too much to do, or is not
// whole.
func (r *refusal) passes() bool {
	return r.status == http.StatusTooManyRequests || r.status >= http.StatusInternalServerError
}

// err is the refusal, as ErrUnavailable where it passes.
func (r *refusal) err() error {
	if r.passes() {
		return fmt.Errorf("%w: %w", ErrUnavailable, r)
	}
	return r
}

// call sends a request and decodes the answer, unless into is nil.
func (o *OpenSearch) call(ctx context.Context, timeout time.Duration, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := o.client.Stream(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxOpenSearchAnswer))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if res.StatusCode/100 != 2 {
		return refused(res.StatusCode, answer)
	}
	if into == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("opensearch answers no JSON: %w", err)
	}
	return nil
}

func refused(status int, answer []byte) error {
	var told struct {
		Error struct {
			Type   string `json:"type"`
			Reason string `json:"reason"`
		} `json:"error"`
	}
	_ = json.Unmarshal(answer, &told) // the status says enough
	return (&refusal{status, told.Error.Type, told.Error.Reason}).err()
}

// missing reports whether the index is not there.
func missing(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusNotFound
}

// Propose names an index by the time.
func (o *OpenSearch) Propose([]string) (string, error) {
	id, err := uuid.NewV7()
	return o.alias + "-" + id.String(), err
}

// mapping has every field that is searched. Words are keywords: they are split already.
const mapping = `{
	"settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "refresh_interval": "500ms"},
	"mappings": {"dynamic": "strict", "properties": {
		"id": {"type": "keyword"}, "deleted": {"type": "boolean"}, "revision": {"type": "long", "index": false},
		"title": {"type": "keyword"}, "words": {"type": "keyword"}, "facets": {"type": "keyword"},
		"sort_title": {"type": "keyword", "index": false}, "weight": {"type": "long", "index": false},
		"price": {"type": "long"}, "cheap": {"type": "long", "index": false}, "dear": {"type": "long", "index": false},
		"in_stock": {"type": "boolean"}, "published": {"type": "long", "index": false}, "checkpoint": {"type": "long", "index": false}
	}},
	"aliases": {%q: {}}}`

// data is the index behind the alias of an index.
func data(index string) string { return url.PathEscape(index + "-data") }

// Create makes an index with an alias of its own.
func (o *OpenSearch) Create(ctx context.Context, index string) error {
	err := o.call(ctx, openSearchWrite, http.MethodPut, "/"+data(index), fmt.Appendf(nil, mapping, index), nil)
	if r, ok := errors.AsType[*refusal](err); ok && r.kind == "resource_already_exists_exception" {
		return nil
	}
	return err
}

// Point moves the alias of the live index, at once.
func (o *OpenSearch) Point(ctx context.Context, index string) error {
	body := fmt.Appendf(nil, `{"actions": [{"remove": {"index": %q, "alias": %q, "must_exist": false}}, {"add": {"index": %q, "alias": %[2]q}}]}`,
		o.alias+"-*", o.alias, index+"-data")
	return o.call(ctx, openSearchTimeout, http.MethodPost, "/_aliases", body, nil)
}

// Drop deletes an index.
func (o *OpenSearch) Drop(ctx context.Context, index string) error {
	if err := o.call(ctx, openSearchWrite, http.MethodDelete, "/"+data(index), nil, nil); err != nil && !missing(err) {
		return err
	}
	return nil
}

// Checkpoint reads it from a document of the index, whose age is that of the others.
func (o *OpenSearch) Checkpoint(ctx context.Context, index string) (int64, error) {
	var found struct {
		Source struct {
			Checkpoint int64 `json:"checkpoint"`
		} `json:"_source"`
		Found *bool `json:"found"`
	}
	err := o.call(ctx, openSearchTimeout, http.MethodGet, "/"+url.PathEscape(index)+"/_doc/"+url.PathEscape(checkpointID), nil, &found)
	if !missing(err) {
		return found.Source.Checkpoint, err
	}
	// No such document, or no such index: the answers differ in what they say only.
	err = o.call(ctx, openSearchTimeout, http.MethodGet, "/_alias/"+url.PathEscape(index), nil, nil)
	if missing(err) {
		return Missing, nil
	}
	return 0, err
}

// stored is a document as the index has it.
type stored struct {
	ID         string   `json:"id,omitempty"`
	Deleted    bool     `json:"deleted"`
	Revision   int64    `json:"revision,omitempty"`
	Title      []string `json:"title,omitempty"`
	Words      []string `json:"words,omitempty"`
	Facets     []string `json:"facets,omitempty"`
	SortTitle  string   `json:"sort_title,omitempty"`
	Weight     int      `json:"weight"`
	Price      *int64   `json:"price,omitempty"`
	Cheap      int64    `json:"cheap"`
	Dear       int64    `json:"dear"`
	InStock    bool     `json:"in_stock"`
	Published  int64    `json:"published,omitempty"`
	Checkpoint int64    `json:"checkpoint,omitempty"`
}

func storedOf(d *Document) stored {
	s := stored{ID: d.ID, Deleted: d.Deleted}
	if d.Deleted {
		return s
	}
	s.Revision, s.Facets, s.Price, s.InStock = d.Revision, d.Facets, d.Price, d.InStock
	s.Weight, s.SortTitle, s.Published = d.Weight(), d.sortTitle(), d.PublishedAt.UnixMicro()
	words := d.weighted()
	for _, word := range sortedKeys(words) {
		s.Words = append(s.Words, word)
		if words[word] {
			s.Title = append(s.Title, word)
		}
	}
	s.Cheap, s.Dear = noPriceCheap, noPriceDear
	if d.Price != nil {
		s.Cheap, s.Dear = *d.Price, *d.Price
	}
	return s
}

// Write sends documents in one bulk request, and looks at the answer of each.
func (o *OpenSearch) Write(ctx context.Context, index string, docs []Document, checkpoint int64) (map[string]error, error) {
	var body bytes.Buffer
	out := json.NewEncoder(&body)
	put := func(id string, version int64, s stored) error {
		return errors.Join(out.Encode(map[string]any{"index": map[string]any{"_id": id, "version": version, "version_type": "external"}}), out.Encode(s))
	}
	for i := range docs {
		if err := put(docs[i].ID, docs[i].Version, storedOf(&docs[i])); err != nil {
			return nil, err
		}
	}
	if checkpoint > 0 {
		if err := put(checkpointID, checkpoint, stored{Deleted: true, Checkpoint: checkpoint}); err != nil {
			return nil, err
		}
	}
	if body.Len() == 0 {
		return nil, nil
	}
	var answer bulkAnswer
	if err := o.call(ctx, openSearchWrite, http.MethodPost, "/"+url.PathEscape(index)+"/_bulk?require_alias=true", body.Bytes(), &answer); err != nil {
		return nil, err
	}
	return answer.failed()
}

// bulkAnswer has an item for each document, in their order.
type bulkAnswer struct {
	Errors bool `json:"errors"`
	Items  []struct {
		Index struct {
			ID     string `json:"_id"`
			Status int    `json:"status"`
			Error  struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
		} `json:"index"`
	} `json:"items"`
}

// failed are the documents that were not written. One for which the index has a higher version
// is not among them. Where the checkpoint was not written, nothing is known of the others.
func (a *bulkAnswer) failed() (map[string]error, error) {
	if !a.Errors {
		return nil, nil
	}
	failed := make(map[string]error)
	for _, item := range a.Items {
		i := item.Index
		if i.Status/100 == 2 || i.Status == http.StatusConflict {
			continue
		}
		r := &refusal{i.Status, i.Error.Type, i.Error.Reason}
		if i.ID == checkpointID {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, r)
		}
		failed[i.ID] = r.err()
	}
	return failed, nil
}

// Read returns what an index has of products.
func (o *OpenSearch) Read(ctx context.Context, index string, ids []string) (map[string]Stored, error) {
	body, err := json.Marshal(map[string]any{"ids": ids})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Docs []struct {
			ID      string `json:"_id"`
			Found   bool   `json:"found"`
			Version int64  `json:"_version"`
			Source  stored `json:"_source"`
		} `json:"docs"`
	}
	err = o.call(ctx, openSearchWrite, http.MethodPost, "/"+url.PathEscape(index)+"/_mget?_source_includes=deleted,revision,price,in_stock", body, &answer)
	if missing(err) {
		return nil, ErrNotReady
	}
	if err != nil {
		return nil, err
	}
	found := make(map[string]Stored)
	for _, d := range answer.Docs {
		if d.Found {
			found[d.ID] = Stored{d.Version, d.Source.Revision, d.Source.Deleted, d.Source.Price, d.Source.InStock}
		}
	}
	return found, nil
}

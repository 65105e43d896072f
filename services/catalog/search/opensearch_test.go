package search_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"quadrille.internal/services/catalog/search"
	"quadrille.internal/services/catalog/search/searchtest"
)

// newOpenSearch is an engine with indexes of its own.
func newOpenSearch(t *testing.T, url string) *search.OpenSearch {
	t.Helper()
	engine, err := search.NewOpenSearch(search.OpenSearchConfig{URL: url, Alias: "test-" + uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	return engine
}

// ask sends a request of the test's own.
func ask(t *testing.T, method, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s, %v", method, url, res.StatusCode, body, err)
	}
	return string(body)
}

func lamps(n int) []search.Document {
	docs := make([]search.Document, n)
	for i := range docs {
		docs[i] = search.Document{ID: fmt.Sprint("p", i), Version: 1, Revision: 1, Title: "lamp"}
	}
	return docs
}

// live makes an index with documents and has searches use it.
func live(t *testing.T, server string, engine search.Engine, docs ...search.Document) (index string) {
	t.Helper()
	index, err := engine.Propose(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Create(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	if failed, err := engine.Write(t.Context(), index, docs, 1); err != nil || len(failed) > 0 {
		t.Fatalf("write: %v, failed %v", err, failed)
	}
	if err := engine.Point(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	ask(t, http.MethodPost, server+"/_refresh")
	return index
}

func count(t *testing.T, engine search.Engine) (int, error) {
	t.Helper()
	found, err := engine.Search(t.Context(), search.Query{Terms: []string{"lamp"}, Worded: true, Sort: search.Relevance, Limit: 100})
	return len(found.IDs), err
}

// An answer is read up to its limit, 64 MiB: the engine does not wait for the end of one that
// is longer.
func TestAnswersOfOpenSearchAreLimited(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 65 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20)) // the client goes before the end
		}
		<-r.Context().Done()
	}))
	defer front.Close()
	engine := newOpenSearch(t, front.URL)
	if _, err := engine.Write(t.Context(), "any", lamps(1), 1); err == nil || errors.Is(err, search.ErrUnavailable) {
		t.Errorf("writing ends with %v, want that the answer is no JSON", err)
	}
}

// One server for all: it takes seconds to start.
func TestOpenSearch(t *testing.T) {
	server := searchtest.Start(t)
	t.Run("suite", func(t *testing.T) {
		searchtest.Run(t, func(t *testing.T) searchtest.Fixture {
			return searchtest.Fixture{
				Engine: newOpenSearch(t, server.URL), Live: func(*testing.T, string) {},
				Refresh: func(t *testing.T) { t.Helper(); ask(t, http.MethodPost, server.URL+"/_refresh") },
			}
		})
	})
	ask(t, http.MethodDelete, server.URL+"/test-*") // or the server recovers them all when it comes back
	for name, test := range map[string]func(*testing.T, *searchtest.Server){
		"refused item": refusedItem, "too busy": tooBusy, "index gone": indexGone,
	} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
	t.Run("dies and returns with an old index", func(t *testing.T) { diesAndReturns(t, server) })
}

// One item that the cluster refuses is told, and the others are written.
func refusedItem(t *testing.T, server *searchtest.Server) {
	engine := newOpenSearch(t, server.URL)
	index := live(t, server.URL, engine)
	docs := lamps(3)
	docs[1].Facets = []string{"brand=" + strings.Repeat("x", 40_000)} // longer than any term may be
	failed, err := engine.Write(t.Context(), index, docs, 2)
	if err != nil || len(failed) != 1 || failed["p1"] == nil {
		t.Errorf("failed are %v, %v, want p1", failed, err)
	}
	ask(t, http.MethodPost, server.URL+"/_refresh")
	if n, err := count(t, engine); n != 2 || err != nil {
		t.Errorf("%d are found, %v", n, err)
	}
}

// A cluster that has too much to do says 429 of all, or of some items.
func tooBusy(t *testing.T, server *searchtest.Server) {
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var busy, items atomic.Bool
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			if !items.Load() || !strings.HasSuffix(r.Request.URL.Path, "/_bulk") {
				return nil
			}
			const some = `{"errors": true, "items": [
				{"index": {"_id": "p0", "status": 201}},
				{"index": {"_id": "p1", "status": 429, "error": {"type": "rejected_execution_exception", "reason": "full"}}},
				{"index": {"_id": "p2", "status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "newer"}}}]}`
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(some)), int64(len(some))
			r.Header.Set("Content-Length", fmt.Sprint(len(some)))
			r.Header.Del("Content-Encoding")
			return nil
		},
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy.Load() {
			http.Error(w, `{"error": {"type": "rejected_execution_exception", "reason": "full"}, "status": 429}`, http.StatusTooManyRequests)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	engine := newOpenSearch(t, front.URL)
	index := live(t, server.URL, engine, lamps(3)...)
	busy.Store(true)
	if _, err := count(t, engine); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("a search ends with %v", err)
	}
	if _, err := engine.Write(t.Context(), index, lamps(3), 2); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("writing ends with %v", err)
	}
	busy.Store(false)
	items.Store(true)
	if failed, err := engine.Write(t.Context(), index, lamps(3), 3); err != nil || len(failed) != 1 || !errors.Is(failed["p1"], search.ErrUnavailable) {
		t.Errorf("failed are %v, %v, want that p1 passes", failed, err)
	}
	items.Store(false)
	if n, err := count(t, engine); n != 3 || err != nil {
		t.Errorf("%d are found, %v", n, err)
	}
}

// Writing to an index that is gone is an error, and does not make another with other fields.
func indexGone(t *testing.T, server *searchtest.Server) {
	engine := newOpenSearch(t, server.URL)
	index := live(t, server.URL, engine, lamps(1)...)
	if err := engine.Drop(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	if err := engine.Drop(t.Context(), index); err != nil {
		t.Errorf("dropped again: %v", err)
	}
	failed, err := engine.Write(t.Context(), index, lamps(1), 2)
	if err == nil && len(failed) == 0 {
		t.Error("what is gone was written to")
	}
	if n, err := engine.Checkpoint(t.Context(), index); n != search.Missing || err != nil {
		t.Errorf("its checkpoint is %d, %v", n, err)
	}
	if _, err := count(t, engine); !errors.Is(err, search.ErrNotReady) {
		t.Errorf("a search in it: %v", err)
	}
}

func diesAndReturns(t *testing.T, server *searchtest.Server) {
	engine := newOpenSearch(t, server.URL)
	index := live(t, server.URL, engine, lamps(1)...)
	server.Kill(t)
	server.Save(t)
	if _, err := count(t, engine); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("while it is dead, a search ends with %v", err)
	}
	if _, err := engine.Write(t.Context(), index, lamps(2), 2); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("while it is dead, writing ends with %v", err)
	}
	server.Run(t)
	if n, err := count(t, engine); n != 1 || err != nil {
		t.Errorf("after it came back, %d are found, %v", n, err)
	}
	if _, err := engine.Write(t.Context(), index, lamps(2), 2); err != nil {
		t.Fatal(err)
	}
	if n, err := engine.Checkpoint(context.Background(), index); n != 2 || err != nil {
		t.Errorf("the checkpoint is %d, %v", n, err)
	}
	server.Kill(t)
	server.Restore(t)
	server.Run(t)
	if n, err := engine.Checkpoint(t.Context(), index); n != 1 || err != nil {
		t.Errorf("the checkpoint of the old index is %d, %v, want 1", n, err)
	}
}

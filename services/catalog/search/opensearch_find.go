package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	noPriceCheap = math.MaxInt64
	noPriceDear  = -1
	// maxFuzzy is how many words a misspelt term may stand for.
	maxFuzzy = 30
)

// object is a part of a request.
type object = map[string]any

// Search runs a search. Which terms nothing has, so that words like them are searched, is
// looked up for the first page, and kept in the cursor for the others.
func (o *OpenSearch) Search(ctx context.Context, q Query) (Result, error) {
	if q.Worded && len(q.Terms) == 0 {
		return Result{Exact: true, Facets: namedOnly(q.Facets)}, nil
	}
	result, err := o.search(ctx, q)
	if missing(err) {
		return result, ErrNotReady
	}
	return result, err
}

func (o *OpenSearch) search(ctx context.Context, q Query) (r Result, err error) {
	sort := q.Sort
	var unknown int64
	if q.After != nil {
		sort, unknown = q.After.Sort, q.After.Words
	} else if unknown, err = o.unknown(ctx, q.Terms); err != nil {
		return r, err
	}
	if sort == Relevance && len(q.Terms) == 0 {
		sort = Newest
	}
	for {
		found, err := o.page(ctx, q, sort, unknown)
		if err != nil {
			return r, err
		}
		if q.After == nil {
			total := found.Hits.Total.Value
			r.Total, r.Exact = min(total, MaxCounted), total <= MaxCounted
			if r.Facets == nil {
				r.Facets = found.facets(q.Facets)
			}
			if sort == Relevance && !r.Exact {
				sort = Newest
				continue
			}
		}
		r.IDs, r.Next, err = found.hits(q, sort, unknown)
		return r, err
	}
}

// unknown returns, a bit for each, the terms that no word begins with or has in it.
func (o *OpenSearch) unknown(ctx context.Context, terms []string) (bits int64, err error) {
	var body strings.Builder
	var asked []int
	for i, term := range terms {
		if typos(term) == 0 {
			continue
		}
		one, err := json.Marshal(object{"size": 0, "terminate_after": 1, "query": object{"bool": object{"should": known(term), "minimum_should_match": 1}}})
		if err != nil {
			return 0, err
		}
		body.WriteString("{}\n" + string(one) + "\n")
		asked = append(asked, i)
	}
	if len(asked) == 0 {
		return 0, nil
	}
	var answer struct {
		Responses []struct {
			Status int `json:"status"`
			Error  struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
			Hits struct {
				Total struct {
					Value int `json:"value"`
				} `json:"total"`
			} `json:"hits"`
		} `json:"responses"`
	}
	if err := o.call(ctx, openSearchTimeout, http.MethodPost, "/"+url.PathEscape(o.alias)+"/_msearch", []byte(body.String()), &answer); err != nil {
		return 0, err
	}
	if len(answer.Responses) != len(asked) {
		return 0, errors.New("opensearch answers another number of searches than it was asked")
	}
	for i, r := range answer.Responses {
		if r.Status/100 != 2 {
			return 0, (&refusal{r.Status, r.Error.Type, r.Error.Reason}).err()
		}
		if r.Hits.Total.Value == 0 {
			bits |= 1 << asked[i]
		}
	}
	return bits, nil
}

// known are the ways in which a term is found as it was typed.
func known(term string) []object {
	ways := []object{{"prefix": object{"words": object{"value": term}}}}
	if len([]rune(term)) >= shortestPart {
		ways = append(ways, object{"wildcard": object{"words": object{"value": "*" + term + "*"}}})
	}
	return ways
}

// page asks for one page.
func (o *OpenSearch) page(ctx context.Context, q Query, sort Sort, unknown int64) (*found, error) {
	body := object{
		"size": q.Limit + 1, "_source": false, "query": query(q, unknown), "sort": sortOf(sort), "track_total_hits": false,
	}
	if q.After != nil {
		after, err := searchAfter(q.After)
		if err != nil {
			return nil, err
		}
		body["search_after"] = after
	} else {
		body["track_total_hits"] = MaxCounted + 1
		body["aggs"] = aggregations(q.Facets)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var answer found
	// A part of the shards is not all hits.
	path := "/" + url.PathEscape(o.alias) + "/_search?allow_partial_search_results=false"
	return &answer, o.call(ctx, openSearchTimeout, http.MethodPost, path, text, &answer)
}

// query is what hits must be. Scores are constants, so that a hit has the same whatever else
// the index holds.
func query(q Query, unknown int64) object {
	must, filter := []object{}, []object{{"term": object{"deleted": false}}}
	for i, term := range q.Terms {
		must = append(must, termQuery(term, unknown&(1<<i) != 0))
	}
	for _, name := range sortedKeys(q.Filters) {
		var values []string
		for _, v := range q.Filters[name] {
			values = append(values, name+"="+v)
		}
		filter = append(filter, object{"terms": object{"facets": values}})
	}
	bounds := object{}
	if q.MinPrice != nil {
		bounds["gte"] = *q.MinPrice
	}
	if q.MaxPrice != nil {
		bounds["lte"] = *q.MaxPrice
	}
	if len(bounds) > 0 {
		filter = append(filter, object{"range": object{"price": bounds}})
	}
	if q.InStock {
		filter = append(filter, object{"term": object{"in_stock": true}})
	}
	return object{"bool": object{"must": must, "filter": filter}}
}

// termQuery scores a term by the best of the ways in which it is found.
func termQuery(term string, unknown bool) object {
	constant := func(score int, query object) object {
		return object{"constant_score": object{"boost": score, "filter": query}}
	}
	var ways []object
	if unknown {
		like := func(field string) object {
			return object{"fuzzy": object{field: object{"value": term, "fuzziness": typos(term), "transpositions": true, "max_expansions": maxFuzzy}}}
		}
		ways = []object{constant(wholeInTitle, like("title")), constant(whole, like("words"))}
	}
	begins := func(field string) object { return object{"prefix": object{field: object{"value": term}}} }
	ways = append(ways,
		constant(wholeInTitle, object{"term": object{"title": term}}), constant(whole, object{"term": object{"words": term}}),
		constant(beginInTitle, begins("title")), constant(begin, begins("words")))
	for _, way := range known(term)[1:] {
		ways = append(ways, constant(part, way))
	}
	return object{"dis_max": object{"queries": ways}}
}

// fieldOf are the fields that hits go by, before their ids, which go the same way.
func sortOf(sort Sort) []object {
	by := func(direction string, fields ...string) (list []object) {
		for _, field := range append(fields, "id") {
			list = append(list, object{field: object{"order": direction}})
		}
		return list
	}
	switch sort {
	case Relevance:
		return by("desc", "_score", "weight")
	case Title:
		return by("asc", "sort_title")
	case Cheapest:
		return by("asc", "cheap")
	case Dearest:
		return by("desc", "dear")
	default:
		return by("desc", "published")
	}
}

// scoreUnit makes one number of a score and a weight, as in the other engine.
const scoreUnit = 100

func searchAfter(c *Cursor) ([]any, error) {
	if c.Sort == Title {
		return []any{c.Key, c.ID}, nil
	}
	if c.Sort == Newest {
		at, err := time.Parse(time.RFC3339Nano, c.Key)
		return []any{at.UnixMicro(), c.ID}, err
	}
	key, err := strconv.ParseInt(c.Key, 10, 64)
	if c.Sort == Relevance {
		return []any{key / scoreUnit, key % scoreUnit, c.ID}, err
	}
	return []any{key, c.ID}, err
}

// keyOf is the key in a cursor of a hit that is sorted by these values.
func keyOf(sort Sort, values []any) (string, error) {
	if sort == Title {
		return fmt.Sprint(values[0]), nil
	}
	number := func(v any) (int64, error) {
		text := fmt.Sprint(v)
		if whole, fraction, _ := strings.Cut(text, "."); strings.Trim(fraction, "0") == "" { // a score
			text = whole
		}
		return strconv.ParseInt(text, 10, 64)
	}
	key, err := number(values[0])
	switch {
	case err != nil:
		return "", err
	case sort == Newest:
		return time.UnixMicro(key).UTC().Format(time.RFC3339Nano), nil
	case sort == Relevance:
		weight, err := number(values[1])
		return strconv.FormatInt(key*scoreUnit+weight, 10), err
	}
	return strconv.FormatInt(key, 10), nil
}

func aggregations(names []string) object {
	aggs := object{}
	for _, name := range names {
		aggs[name] = object{"terms": object{
			"field": "facets", "include": name + "=.*", "size": MaxValues, "order": []object{{"_count": "desc"}, {"_key": "asc"}},
		}}
	}
	return aggs
}

// found is an answer.
type found struct {
	Hits struct {
		Total struct {
			Value int `json:"value"`
		} `json:"total"`
		Hits []struct {
			ID   string `json:"_id"`
			Sort []any  `json:"sort"`
		} `json:"hits"`
	} `json:"hits"`
	Aggregations map[string]struct {
		Buckets []struct {
			Key   string `json:"key"`
			Count int    `json:"doc_count"`
		} `json:"buckets"`
	} `json:"aggregations"`
}

func (f *found) facets(names []string) []Facet {
	facets := namedOnly(names)
	for i, name := range names {
		for _, b := range f.Aggregations[name].Buckets {
			facets[i].Values = append(facets[i].Values, Value{strings.TrimPrefix(b.Key, name+"="), b.Count})
		}
		slices.SortFunc(facets[i].Values, byCount)
	}
	return facets
}

func (f *found) hits(q Query, sort Sort, unknown int64) (ids []string, next *Cursor, err error) {
	hits := f.Hits.Hits
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		last := hits[len(hits)-1]
		key, err := keyOf(sort, last.Sort)
		if err != nil {
			return nil, nil, fmt.Errorf("opensearch sorts by no number: %w", err)
		}
		next = &Cursor{Engine: OpenSearchName, Sort: sort, Key: key, ID: last.ID, Words: unknown}
	}
	for _, h := range hits {
		ids = append(ids, h.ID)
	}
	return ids, next, nil
}

package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Client calls an API server.
type Client struct {
	address, token string
	http           *http.Client

	mu    sync.Mutex
	kinds map[string]resource // by apiVersion and kind; see resourceOf
}

const (
	requestTimeout = 2 * time.Minute
	manager        = "quad" // of fields; the API server wants a name
)

// A Refusal is what the API server says to an object that it does not take.
type Refusal struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Details struct {
		Causes []Cause `json:"causes"`
	} `json:"details"`
}

// A Cause is one of the reasons of a Refusal.
type Cause struct {
	Message string `json:"message"`
	Field   string `json:"field"`
}

func (r *Refusal) Error() string { return r.Message }

// ErrUnknownKind is that of an object whose kind the API server does not serve.
var ErrUnknownKind = errors.New("the API server does not know this kind")

// Create adds an object. With dryRun the server does all but keep it: it decodes strictly,
// fills in, admits and validates.
func (c *Client) Create(ctx context.Context, o Object, dryRun bool) error {
	path, err := c.path(ctx, o, "")
	if err != nil {
		return err
	}
	query := url.Values{"fieldValidation": {"Strict"}, "fieldManager": {manager}}
	if dryRun {
		query.Set("dryRun", "All")
	}
	return c.call(ctx, http.MethodPost, path+"?"+query.Encode(), "application/json", o, nil)
}

// Apply makes an object what it says, whether it is there or not.
func (c *Client) Apply(ctx context.Context, o Object) error {
	path, err := c.path(ctx, o, o.Name())
	if err != nil {
		return err
	}
	query := url.Values{"fieldValidation": {"Strict"}, "fieldManager": {manager}, "force": {"true"}}
	return c.call(ctx, http.MethodPatch, path+"?"+query.Encode(), "application/apply-patch+yaml", o, nil)
}

// Merge changes fields of the object that has the kind, namespace and name of o: in the
// subresource, such as "status", unless that is "".
func (c *Client) Merge(ctx context.Context, o Object, subresource string, change Object) error {
	path, err := c.path(ctx, o, o.Name())
	if err != nil {
		return err
	}
	if subresource != "" {
		path += "/" + subresource
	}
	return c.call(ctx, http.MethodPatch, path, "application/merge-patch+json", change, nil)
}

// Get reads the object that has the kind, namespace and name of o.
func (c *Client) Get(ctx context.Context, o Object) (found Object, err error) {
	path, err := c.path(ctx, o, o.Name())
	if err != nil {
		return nil, err
	}
	return found, c.call(ctx, http.MethodGet, path, "", nil, &found)
}

// List reads all objects that have the kind and namespace of o.
func (c *Client) List(ctx context.Context, o Object) ([]Object, error) {
	path, err := c.path(ctx, o, "")
	if err != nil {
		return nil, err
	}
	var found struct{ Items []Object }
	return found.Items, c.call(ctx, http.MethodGet, path, "", nil, &found)
}

func (c *Client) ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/readyz", "", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path, contentType string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.address+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, err = io.ReadAll(res.Body); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		refusal := &Refusal{Code: res.StatusCode}
		if json.Unmarshal(text, refusal) != nil || refusal.Message == "" {
			refusal.Message = fmt.Sprintf("%s %s: %s: %s", method, path, res.Status, text)
		}
		return refusal
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// A resource is where objects of a kind are.
type resource struct {
	plural     string
	namespaced bool
}

// path is that of an object, or with the name "" of all of its kind and namespace.
func (c *Client) path(ctx context.Context, o Object, name string) (string, error) {
	r, err := c.resourceOf(ctx, o)
	if err != nil {
		return "", err
	}
	path := "/apis/" + o.APIVersion()
	if o.Group() == "" {
		path = "/api/" + o.APIVersion()
	}
	if r.namespaced {
		namespace := o.Namespace()
		if namespace == "" {
			namespace = "default"
		}
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	path += "/" + r.plural
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return path, nil
}

// Namespaced reports whether objects of the kind are in a namespace.
func (c *Client) Namespaced(ctx context.Context, o Object) (bool, error) {
	r, err := c.resourceOf(ctx, o)
	return r.namespaced, err
}

// resourceOf asks the server what it calls objects of the kind, once for each apiVersion.
func (c *Client) resourceOf(ctx context.Context, o Object) (resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := func(kind string) string { return o.APIVersion() + " " + kind }
	if r, known := c.kinds[key(o.Kind())]; known {
		return r, nil
	}
	path := "/apis/" + o.APIVersion()
	if o.Group() == "" {
		path = "/api/" + o.APIVersion()
	}
	var found struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	err := c.call(ctx, http.MethodGet, path, "", nil, &found)
	if refusal, refused := errors.AsType[*Refusal](err); refused && refusal.Code == http.StatusNotFound {
		return resource{}, fmt.Errorf("%w: %s %s", ErrUnknownKind, o.APIVersion(), o.Kind())
	}
	if err != nil {
		return resource{}, err
	}
	if c.kinds == nil {
		c.kinds = make(map[string]resource)
	}
	for _, r := range found.Resources {
		if _, known := c.kinds[key(r.Kind)]; !known { // subresources come after
			c.kinds[key(r.Kind)] = resource{r.Name, r.Namespaced}
		}
	}
	r, known := c.kinds[key(o.Kind())]
	if !known {
		return resource{}, fmt.Errorf("%w: %s %s", ErrUnknownKind, o.APIVersion(), o.Kind())
	}
	return r, nil
}

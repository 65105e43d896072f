// Package contract holds what Quadrille publishes, docs/openapi.yaml and
// docs/asyncapi.yaml, against the code and against what the services answer.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// API is docs/openapi.yaml.
type API struct {
	root node
}

// Load reads docs/openapi.yaml of the repository that the working folder is in.
func Load() (*API, error) {
	root, err := open("docs/openapi.yaml", jsonschema.Draft2020)
	if err != nil {
		return nil, err
	}
	return &API{root}, nil
}

// Validate reports how an answer differs from what the document says about the
// method, path and status. It is stricter than clients should be: an answer must
// not hold a field that the document lacks.
func (a *API) Validate(method, path string, status int, body []byte) error {
	if err := a.validate(method, path, status, body); err != nil {
		return fmt.Errorf("%s %s, status %d: %w", method, path, status, err)
	}
	return nil
}

func (a *API) validate(method, path string, status int, body []byte) error {
	response := a.response(method, path, status)
	if response.value == nil {
		return errors.New("openapi.yaml knows no such answer")
	}
	content := response.child("content")
	if content.value == nil && len(body) > 0 {
		return errors.New("openapi.yaml knows of no body")
	}
	for _, mediaType := range content.keys() { // one, by the style of the document
		schema := content.child(mediaType).child("schema")
		if schema.value == nil {
			return nil // not JSON
		}
		if err := checkBody(schema, status, body); err != nil {
			return err
		}
	}
	return nil
}

func checkBody(schema node, status int, body []byte) error {
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body is no JSON: %w", err)
	}
	if err := schema.check(instance); err != nil {
		return err
	}
	if status < http.StatusBadRequest {
		return nil
	}
	// JSON Schema cannot say that a problem repeats the status it comes with.
	problem, _ := instance.(map[string]any)
	if problem["status"] != json.Number(fmt.Sprint(status)) {
		return fmt.Errorf("the problem says status %v", problem["status"])
	}
	return nil
}

// fallbacks name the answers, by status, of whatever has no operation.
var fallbacks = map[int]string{http.StatusNotFound: "NoRoute", http.StatusMethodNotAllowed: "NoMethod"}

func (a *API) response(method, path string, status int) node {
	if op := a.operation(method, path); op.value != nil {
		return op.child("responses").child(fmt.Sprint(status))
	}
	return a.root.child("components").child("responses").child(fallbacks[status])
}

// operation finds the operation that answers a path, which may have a query.
func (a *API) operation(method, path string) node {
	path, _, _ = strings.Cut(path, "?")
	paths := a.root.child("paths")
	for _, template := range paths.keys() {
		if matches(template, path) {
			return paths.child(template).child(strings.ToLower(method))
		}
	}
	return node{}
}

// matches reports whether a path fits a template such as /v1/orders/{id}.
func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

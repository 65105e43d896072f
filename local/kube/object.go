package kube

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An Object is a manifest as it was read.
type Object map[string]any

// Decode reads the manifests of a YAML text. A key that is there twice is an error.
func Decode(text []byte) (objects []Object, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o Object
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(o) == 0:
			continue // two separators, or only comments between them
		}
		if o.Kind() == "" || o.APIVersion() == "" {
			return nil, errors.New("a document has no apiVersion or no kind")
		}
		objects = append(objects, o)
	}
}

// APIVersion is the object's group and version.
func (o Object) APIVersion() string { return o.Text("apiVersion") }

// Group is the group of its APIVersion, "" for the core.
func (o Object) Group() string {
	group, _, found := strings.Cut(o.APIVersion(), "/")
	if !found {
		return ""
	}
	return group
}

// Kind, Name and Namespace are the object's.
func (o Object) Kind() string      { return o.Text("kind") }
func (o Object) Name() string      { return o.Text("metadata", "name") }
func (o Object) Namespace() string { return o.Text("metadata", "namespace") }

// At returns what is below the keys, or nil. A number is the index in a list.
func (o Object) At(path ...string) any { return At(map[string]any(o), path...) }

// Text is At where there is a text, and "".
func (o Object) Text(path ...string) string { return Text(o.At(path...)) }

// Map is At where there is a map, and nil.
func (o Object) Map(path ...string) Object { return Map(o.At(path...)) }

// List is At where there is a list of maps, and nil.
func (o Object) List(path ...string) (list []Object) {
	items, _ := o.At(path...).([]any)
	for _, item := range items {
		list = append(list, Map(item))
	}
	return list
}

// Texts is At where there is a list of texts, and nil.
func (o Object) Texts(path ...string) (list []string) {
	items, _ := o.At(path...).([]any)
	for _, item := range items {
		list = append(list, Text(item))
	}
	return list
}

// At returns what is below the keys in a decoded value, or nil.
func At(value any, path ...string) any {
	for _, key := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case Object:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// Map is the value as a map, or nil.
func Map(value any) Object {
	switch v := value.(type) {
	case map[string]any:
		return v
	case Object:
		return v
	default:
		return nil
	}
}

// Text writes a value that is a text, a number or a truth value.
func Text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case nil:
		return ""
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v)
	default:
		return ""
	}
}

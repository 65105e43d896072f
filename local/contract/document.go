package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"quadrille.internal/local/release"
)

// node is a value within a document; nil as its value means there is none.
type node struct {
	doc   *document
	ptr   string // JSON pointer
	value any
}

type document struct {
	root     any
	name     string
	compiler *jsonschema.Compiler
}

// open reads a YAML document, given by its path in the repository. draft is the
// JSON Schema its schemas are written in.
func open(path string, draft *jsonschema.Draft) (node, error) {
	root, err := release.Root()
	if err != nil {
		return node{}, err
	}
	value, err := readYAML(filepath.Join(root, path))
	if err != nil {
		return node{}, err
	}
	closeObjects(value)
	d := &document{root: value, name: filepath.Base(path), compiler: jsonschema.NewCompiler()}
	d.compiler.DefaultDraft(draft)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(d.name, value); err != nil {
		return node{}, fmt.Errorf("%s: %w", d.name, err)
	}
	return node{doc: d, value: value}, nil
}

// readYAML returns a document as JSON has it: without dates, all keys strings.
func readYAML(file string) (any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

// closeObjects makes schemas refuse fields they do not describe. Integrators are
// told to pass such fields over; here they show that a document has fallen behind.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, described := v["properties"]
		_, decided := v["additionalProperties"]
		if v["type"] == "object" && described && !decided {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeObjects(child)
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// child returns the value under a key, or of an index. If n is a reference, it
// is that of what n refers to.
func (n node) child(key string) node {
	n = n.target()
	found := node{doc: n.doc, ptr: n.ptr + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)}
	switch v := n.value.(type) {
	case map[string]any:
		found.value = v[key]
	case []any:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(v) {
			found.value = v[i]
		}
	}
	return found
}

func (n node) target() node {
	object, _ := n.value.(map[string]any)
	ref, ok := object["$ref"].(string)
	if !ok {
		return n
	}
	to := node{doc: n.doc, value: n.doc.root}
	for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		to = to.child(strings.NewReplacer("~1", "/", "~0", "~").Replace(key))
	}
	return to.target()
}

// keys lists what child takes, in order.
func (n node) keys() []string {
	var keys []string
	switch v := n.target().value.(type) {
	case map[string]any:
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
	case []any:
		for i := range v {
			keys = append(keys, strconv.Itoa(i))
		}
	}
	return keys
}

// text returns the value if it is a string, otherwise "".
func (n node) text() string {
	s, _ := n.value.(string)
	return s
}

// check validates a JSON value against n, which is a schema.
func (n node) check(instance any) error {
	fragment := (&url.URL{Fragment: n.ptr}).String()
	schema, err := n.doc.compiler.Compile(n.doc.name + fragment)
	if err != nil {
		return fmt.Errorf("%s%s: %w", n.doc.name, fragment, err)
	}
	return schema.Validate(instance)
}

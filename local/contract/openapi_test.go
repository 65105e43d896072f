package contract

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quadrille.internal/services"
)

// names are those of all services.
func names() []string {
	var all []string
	for _, s := range services.All() {
		all = append(all, s.Name)
	}
	return all
}

// sourceOf returns the files of a service.
func sourceOf(t *testing.T, service string) []*ast.File {
	t.Helper()
	return parse(t, "services/"+service+"/*.go", "workflows/"+service+"/*.go")
}

func load(t *testing.T) *API {
	t.Helper()
	api, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// same reports what is in one set and not in the other.
func same(t *testing.T, what string, code, doc map[string]bool) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(code)) {
		if !doc[key] {
			t.Errorf("%s: the document lacks %q", what, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if !code[key] {
			t.Errorf("%s: %q is in the document only", what, key)
		}
	}
}

// eachOperation calls see with every operation, its method and its path.
func eachOperation(api *API, see func(op node, method, path string)) {
	paths := api.root.child("paths")
	for _, path := range paths.keys() {
		item := paths.child(path)
		for _, key := range item.keys() {
			if key != "servers" && key != "parameters" {
				see(item.child(key), strings.ToUpper(key), path)
			}
		}
	}
}

func documentedRoutes(api *API, tag string) map[string]bool {
	found := make(map[string]bool)
	eachOperation(api, func(op node, method, path string) {
		if op.child("tags").child("0").text() == tag {
			found[method+" "+path] = true
		}
	})
	return found
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	api := load(t)
	var all int
	for _, s := range names() {
		code := routes(sourceOf(t, s))
		all += len(code)
		same(t, s, code, documentedRoutes(api, s))
	}
	if all < 16 {
		t.Errorf("found only %d public routes in the source", all)
	}
}

// adminRoutes are those of the port that is the same on every service.
func adminRoutes(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for route := range routesOf(parse(t, "platform/service/*.go"), "adminHandler") {
		if strings.HasPrefix(route, "GET /debug/pprof/") {
			route = "GET /debug/pprof/{profile}"
		}
		found[route] = true
	}
	return found
}

// bridgeRoutes are those of the process of several services.
func bridgeRoutes(t *testing.T) map[string]bool {
	return routesOf(parse(t, "platform/host/*.go"), "routes")
}

func TestOpenAPIHasTheAdminAndHealthRoutes(t *testing.T) {
	api := load(t)
	same(t, "bridge", bridgeRoutes(t), documentedRoutes(api, "bridge"))
	same(t, "admin", adminRoutes(t), documentedRoutes(api, "admin"))
	same(t, "health", routesOf(parse(t, "platform/service/*.go"), "healthHandler"), documentedRoutes(api, "health"))
}

// What is on the admin port wants the token, and nothing else does. What is on the
// public port too may come without.
func TestOpenAPISaysWhatIsForOperators(t *testing.T) {
	code, public := adminRoutes(t), make(map[string]bool)
	maps.Copy(code, bridgeRoutes(t))
	for _, s := range names() {
		files := sourceOf(t, s)
		maps.Copy(code, routesOf(files, "operatorRoutes"))
		maps.Copy(public, routesOf(files, "routes"))
	}
	doc := make(map[string]bool)
	eachOperation(load(t), func(op node, method, path string) {
		if public[method+" "+path] && op.child("parameters").child("0").child("name").text() != "Quadrille-Caller" {
			t.Errorf("%s %s does not name the caller", method, path)
		}
		ways := len(op.child("security").keys())
		if ways == 0 {
			return
		}
		doc[method+" "+path] = true
		if both := ways == 2; both != public[method+" "+path] {
			t.Errorf("%s %s may come without the token: %v", method, path, both)
		}
		if op.child("responses").child("401").value == nil {
			t.Errorf("%s %s lacks the answer 401", method, path)
		}
	})
	same(t, "operators", code, doc)
}

func TestOpenAPIHasTheProblems(t *testing.T) {
	listed := make(map[string]bool)
	codes := load(t).root.child("components").child("schemas").child("Problem").child("oneOf")
	for _, key := range codes.keys() {
		p := codes.child(key).child("properties")
		listed[fmt.Sprint(p.child("status").child("const").value, " ", p.child("code").child("const").value)] = true
	}
	same(t, "problems", faults(parse(t, "services/*/*.go", "workflows/*/*.go", "platform/*/*.go", "events/*.go")), fold(listed))
}

// fold replaces the codes that end in how something was decided, which the source
// puts together, by what they begin with: "409 approval_*".
func fold(listed map[string]bool) map[string]bool {
	for _, prefix := range []string{"409 approval_", "409 order_"} {
		for _, decided := range []string{"approved", "rejected", "expired", "cancelled", "completed", "failed"} {
			if listed[prefix+decided] {
				delete(listed, prefix+decided)
				listed[prefix+"*"] = true
			}
		}
	}
	return listed
}

// examples returns the values that keywords example and examples give.
func examples(n node) []any {
	var found []any
	if v := n.child("example").value; v != nil {
		found = append(found, v)
	}
	named := n.child("examples")
	for _, key := range named.keys() {
		found = append(found, named.child(key).child("value").value)
	}
	return found
}

func TestOpenAPIExamplesFit(t *testing.T) {
	api := load(t)
	shared := api.root.child("components").child("responses")
	for _, key := range shared.keys() { // operations do not refer to all of them
		checkExamples(t, shared.child(key).child("content"))
	}
	eachOperation(api, func(op node, method, path string) {
		t.Run(method+" "+path, func(t *testing.T) {
			checkExamples(t, api.root.child("paths").child(path).child("parameters"))
			checkExamples(t, op.child("parameters"))
			checkExamples(t, op.child("requestBody").child("content"))
			checkResponses(t, api, op.child("responses"), method, path)
		})
	})
}

// checkExamples checks parameters, headers or contents, whose examples look alike.
func checkExamples(t *testing.T, list node) {
	t.Helper()
	for _, key := range list.keys() {
		if key == "text/event-stream" {
			continue // its events have no schema in OpenAPI 3.1
		}
		for _, v := range examples(list.child(key)) {
			if err := list.child(key).child("schema").check(v); err != nil {
				t.Error(err)
			}
		}
	}
}

func checkResponses(t *testing.T, api *API, responses node, method, path string) {
	t.Helper()
	for _, status := range responses.keys() {
		code, err := strconv.Atoi(status)
		if err != nil {
			t.Fatal(err)
		}
		checkExamples(t, responses.child(status).child("headers"))
		content := responses.child(status).child("content")
		for _, mediaType := range content.keys() {
			given := examples(content.child(mediaType))
			if strings.HasSuffix(mediaType, "json") && len(given) == 0 {
				t.Errorf("status %s has no example", status)
			}
			for _, v := range given {
				body, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := api.Validate(method, path, code, body); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	const (
		id       = "01a1f829-2c1d-77d9-ac3a-9b0aa1360732"
		receipt  = `{"id":"` + id + `","order_id":"` + id + `","total":{"amount":1,"currency":"GBP"},"placed_at":"2026-11-20T08:53:30Z"}`
		problem  = `{"type":"urn:quadrille:problem:order_confirmed","title":"Conflict","status":409,"detail":"d","code":"order_confirmed"}`
		noRoute  = `{"type":"urn:quadrille:problem:no_such_route","title":"Not Found","status":404,"detail":"d","code":"no_such_route"}`
		noMethod = `{"type":"urn:quadrille:problem:method_not_allowed","title":"Method Not Allowed","status":405,"detail":"d","code":"method_not_allowed"}`
	)
	api := load(t)
	for _, c := range []struct {
		name, method, path string
		status             int
		body, want         string
	}{
		{"nothing", "POST", "/v1/checkouts", 202, receipt, ""},
		{"nothing with a query", "GET", "/v1/orders?customer_id=c", 200, `{"orders":[]}`, ""},
		{"nothing of a problem", "POST", "/v1/orders/" + id + "/cancel", 409, problem, ""},
		{"nothing without a body", "GET", "/healthz", 200, "", ""},
		{"nothing of a path there is not", "GET", "/v1/carts", 404, noRoute, ""},
		{"nothing of a method there is not", "DELETE", "/v1/orders", 405, noMethod, ""},
		{"nothing that is no JSON", "GET", "/metrics", 200, "up 1", ""},
		{"a path there is not, where there is one", "GET", "/v1/orders/" + id, 404, noRoute, "/code"},
		{"an unknown path", "GET", "/v2/orders", 200, "{}", "knows no such answer"},
		{"an unknown method", "DELETE", "/v1/orders/" + id, 200, "{}", "knows no such answer"},
		{"an unknown status", "POST", "/v1/checkouts", 200, receipt, "knows no such answer"},
		{"a body where there is none", "GET", "/healthz", 200, "{}", "knows of no body"},
		{"no JSON", "POST", "/v1/checkouts", 202, "<html>", "no JSON"},
		{"a missing field", "POST", "/v1/checkouts", 202, strings.Replace(receipt, "order_id", "order", 1), "order_id"},
		{"an unknown field", "POST", "/v1/checkouts", 202, strings.Replace(receipt, "{", `{"status":"placed",`, 1), "additional properties 'status'"},
		{"a time that is none", "POST", "/v1/checkouts", 202, strings.Replace(receipt, "T08", " 08", 1), "date-time"},
		{"a problem of another route", "POST", "/v1/b2b/orders/" + id + "/cancel", 409, problem, "/code"},
		{"a problem that says another status", "POST", "/v1/orders/" + id + "/cancel", 409, strings.Replace(problem, "409", "404", 1), "oneOf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := api.Validate(c.method, c.path, c.status, []byte(c.body))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

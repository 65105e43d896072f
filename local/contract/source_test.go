package contract

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"quadrille.internal/local/release"
)

// What the services answer is read from their source: asking them would take a
// database and a sidecar each.

// parse returns the files that patterns, relative to the repository, match.
func parse(t *testing.T, patterns ...string) []*ast.File {
	t.Helper()
	root, err := release.Root()
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no source in %v", patterns)
	}
	return files
}

// inspect calls see for every node of type T.
func inspect[T ast.Node](files []*ast.File, see func(T)) {
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if n, ok := n.(T); ok {
				see(n)
			}
			return true
		})
	}
}

// literal returns the value of a string literal, or "".
func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}

// name returns "x" of x and of pkg.x.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	default:
		return ""
	}
}

// constants returns the string constants whose names begin with a prefix.
func constants(files []*ast.File, prefix string) map[string]string {
	found := make(map[string]string)
	inspect(files, func(spec *ast.ValueSpec) {
		if id := spec.Names[0].Name; strings.HasPrefix(id, prefix) && len(spec.Values) == 1 {
			if v := literal(spec.Values[0]); v != "" {
				found[id] = v
			}
		}
	})
	return found
}

var routers = map[string]string{
	"Get": http.MethodGet, "Post": http.MethodPost, "Put": http.MethodPut, "Patch": http.MethodPatch,
	"Delete": http.MethodDelete, "Handle": http.MethodGet, "HandleFunc": http.MethodGet,
}

// routes lists what is registered on a router called r, as "GET /v1/orders".
func routes(files []*ast.File) map[string]bool {
	found := make(map[string]bool)
	inspect(files, func(call *ast.CallExpr) {
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || name(fun.X) != "r" || routers[fun.Sel.Name] == "" || len(call.Args) != 2 {
			return
		}
		if path := literal(call.Args[0]); strings.HasPrefix(path, "/") {
			found[routers[fun.Sel.Name]+" "+path] = true
		}
	})
	return found
}

// routesOf lists what one function or method registers.
func routesOf(files []*ast.File, function string) map[string]bool {
	found := make(map[string]bool)
	inspect(files, func(f *ast.FuncDecl) {
		if f.Name.Name == function {
			maps.Copy(found, routes([]*ast.File{{Name: f.Name, Decls: []ast.Decl{f}}}))
		}
	})
	return found
}

// statuses are those that package rest answers kinds of fault with.
var statuses = map[string]int{
	"Internal": 500, "Invalid": 400, "Unprocessable": 422, "NotFound": 404, "Conflict": 409, "TooLarge": 413,
	"Unsupported": 415, "NotAllowed": 405, "Unauthorized": 401, "Forbidden": 403, "Unavailable": 503,
	"PreconditionRequired": 428, "PreconditionFailed": 412, "Unanswered": 504, "TooMany": 429,
}

// faults lists the faults that are made, as "404 order_not_found", or "409 order_*"
// where the code is put together.
func faults(files []*ast.File) map[string]bool {
	found := make(map[string]bool)
	add := func(kind string, code ast.Expr) {
		if c := literal(code); c != "" {
			found[strconv.Itoa(statuses[kind])+" "+c] = true
		} else if sum, ok := code.(*ast.BinaryExpr); ok {
			found[strconv.Itoa(statuses[kind])+" "+literal(sum.X)+"*"] = true
		}
	}
	inspect(files, func(call *ast.CallExpr) {
		if fun, ok := call.Fun.(*ast.Ident); ok && fun.Name == "violation" && len(call.Args) > 2 { // of package events
			add("Invalid", call.Args[1])
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || name(fun.X) != "fault" || len(call.Args) < 3 {
			return
		}
		switch fun.Sel.Name {
		case "New":
			add(name(call.Args[0]), call.Args[1])
		case "Field":
			add("Invalid", call.Args[1])
		}
	})
	inspect(files, func(lit *ast.CompositeLit) {
		if name(lit.Type) == "Fault" {
			values := fields(lit)
			add(name(values["Kind"]), values["Code"])
		}
	})
	return found
}

// fields returns the values of a struct literal by name.
func fields(lit *ast.CompositeLit) map[string]ast.Expr {
	values := make(map[string]ast.Expr)
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			values[name(kv.Key)] = kv.Value
		}
	}
	return values
}

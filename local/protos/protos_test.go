package protos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quadrille.internal/local/release"
	"quadrille.internal/local/stack"
)

// built returns the repository, the release before and the programs of local/toolchain/buf.
func built(t *testing.T) (root, before string, tools Tools) {
	t.Helper()
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	dir, ok := s.ProtoTools()
	if !ok {
		t.Skip("events/proto is NOT checked: buf is not built for the present sources; `quad proto check` builds it (about 2 minutes the first time)")
	}
	r, err := release.Previous(s.Root)
	if err != nil {
		t.Fatal(err)
	}
	if before, err = r.Source(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Root, before, Tools(dir)
}

func TestTheFilesHaveNoFaults(t *testing.T) {
	root, before, tools := built(t)
	faults, err := tools.Check(t.Context(), root, before)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// What would break the release before, what the linter forbids, rules that cannot be meant and
// code that was not generated are found.
func TestFaultsAreFound(t *testing.T) {
	root, before, tools := built(t)
	for _, c := range []struct{ name, file, from, to, want string }{
		{"a field has another number", "price/v1/price.proto", "string token = 1;", "string token = 9;", `deleted`},
		{"a field has another type", "inventory/v1/stock.proto", "int64 version = 2;", "string version = 2;", "type"},
		{"a method is gone", "price/v1/price.proto", "rpc Keys(KeysRequest) returns (KeysResponse);", "", `RPC "Keys" on service "Prices" was deleted`},
		{"a method was renamed", "customer/v1/customer.proto", "rpc Address(", "rpc AddressOf(", `"Address"`},
		{"a field is called as none is", "checkout/v1/orders.proto", "repeated string order_ids = 1;", "repeated string order_ids = 1;\n  string ofWhom = 2;", "lower_snake_case"},
		{"two methods share a request", "customer/v1/customer.proto", "returns (AddressResponse);", "returns (AddressResponse);\n  rpc More(AddressRequest) returns (AddressResponse);", "multiple RPCs"},
		{"a rule is of another type", "price/v1/price.proto", "[(buf.validate.field).int32.gte = 0]", "[(buf.validate.field).string.uuid = true]", "string"},
		{"code was not generated", "price/v1/price.proto", "message KeysRequest {}", "message KeysRequest {\n  string more = 1;\n}", "quad proto generate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := t.TempDir()
			if err := os.CopyFS(filepath.Join(changed, Folder), os.DirFS(filepath.Join(root, Folder))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(changed, Folder, c.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			after := strings.Replace(string(text), c.from, c.to, 1)
			if after == string(text) {
				t.Fatalf("%s has no %q", c.file, c.from)
			}
			if err := os.WriteFile(path, []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
			faults, err := tools.Check(t.Context(), changed, before)
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(faults, "\n"); !strings.Contains(all, c.want) || !strings.Contains(all, Folder+"/") {
				t.Errorf("found %q, want %q", all, c.want)
			}
		})
	}
}

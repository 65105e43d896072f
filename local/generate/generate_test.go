package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/events/payment"
	"quadrille.internal/platform/config"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/service"
	"quadrille.internal/services"
)

const repository = "../.."

// What CI runs: what is in the repository is what the services declare.
func TestNothingIsStale(t *testing.T) {
	if err := run(repository, true); err != nil {
		t.Error(err)
	}
}

// A declaration that changes makes files stale; check names each, and generate mends
// them all.
func TestAChangeIsFoundAndWritten(t *testing.T) {
	root := t.TempDir()
	made, err := generate(repository, services.All())
	if err != nil {
		t.Fatal(err)
	}
	whole := func(f file) bool { return strings.HasPrefix(f.path, "deploy/") }
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range made {
		if whole(f) {
			put(f.path, f.have)
		} else { // what is written by hand stays: a comment outside of the blocks
			put(f.path, "# by hand\n"+f.have)
		}
	}
	for _, name := range []string{serviceList, "components/kafka/resiliency.yaml"} { // which are read only
		text, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		put(name, string(text))
	}
	const edited, left = "deploy/services/order/base/network.yaml", "deploy/services/basket/base/network.yaml"
	put(edited, "# everybody is let in\n")
	put(left, "# of a service that is no more\n")
	specs := services.All()
	specs[0].Hears = append(slices.Clone(specs[0].Hears), payment.TypeRefunded)
	changed, err := generate(root, specs)
	if err != nil {
		t.Fatal(err)
	}
	said := check(changed)
	stale := []string{
		"components/local/pubsub.yaml", "components/kafka/pubsub.yaml", "docs/asyncapi.yaml", "docs/events.md",
		"deploy/platform/dapr/pubsub.yaml", edited, left,
	}
	for _, file := range stale {
		if said == nil || !strings.Contains(said.Error(), file+" is not what the services declare: run quad generate") {
			t.Errorf("check says nothing of %s: %v", file, said)
		}
	}
	var wrote []string
	if err := write(root, changed, func(path string) { wrote = append(wrote, path) }); err != nil || len(wrote) != len(stale) {
		t.Errorf("wrote %v, %v", wrote, err)
	}
	again, err := generate(root, specs)
	if err != nil || check(again) != nil {
		t.Errorf("still stale: %v, %v", check(again), err)
	}
	for _, f := range again {
		if !whole(f) && !strings.HasPrefix(f.have, "# by hand\n") {
			t.Errorf("%s lost what was written by hand", f.path)
		}
	}
	if _, err := os.Stat(filepath.Join(root, left)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
}

func TestDeclarationsMustFit(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]service.Spec)
		want   string
	}{
		"as they are":  {func([]service.Spec) {}, ""},
		"nobody emits": {func(s []service.Spec) { s[2].Emits = nil }, "service checkout: it hears payment.failed, which no service emits"},
		"one version of two": {func(s []service.Spec) {
			s[1].Hears = slices.DeleteFunc(slices.Clone(s[1].Hears), func(topic string) bool { return topic == "checkout.order.created.v2" })
		}, "service inventory: it hears checkout.order.created, but not its second version, checkout.order.created.v2"},
		"registered alone": {func(s []service.Spec) { s[4].Emits = s[4].Emits[1:] }, "b2b.order.submitted is registered by events/b2b, and no service has it in Emits"},
		"nobody serves":    {func(s []service.Spec) { s[0].Calls = []string{"/a.B/C"} }, "service checkout: it calls /a.B/C, which no service serves"},
		"one port for two": {func(s []service.Spec) { s[1].Port = s[0].Port }, "service inventory: port 18100 is that of checkout"},
		"one name for two": {func(s []service.Spec) { s[1] = s[0] }, "two services are called checkout"},
		"one path for two": {func(s []service.Spec) { s[3].Paths = append(s[3].Paths, "/v1/checkouts/old") },
			"service order: the path /v1/checkouts/old is under /v1/checkouts of checkout, or the other way round"},
		"a route beside the paths": {func(s []service.Spec) { s[3].Paths = []string{"/v1/order"} },
			"service order: the route GET /v1/orders begins with none of its Paths"},
		"a path without routes": {func(s []service.Spec) { s[3].Paths = append(s[3].Paths, "/v1/returns") },
			"service order: Paths has /v1/returns, and no route begins with it"},
		"nobody to hear": {func(s []service.Spec) {
			s[0].Build = func(*service.Kit) service.App { return service.App{} }
		}, "service checkout hears inventory.reservation.failed and its App has no Handle"},
		"a setting without a word": {func(s []service.Spec) {
			s[0].Build = func(kit *service.Kit) service.App { kit.Config.Int("QUADRILLE_X", 1, 0, 2); return service.App{} }
		}, "service checkout reads QUADRILLE_X and does not say what it means"},
	} {
		t.Run(name, func(t *testing.T) {
			specs := services.All()
			c.change(specs)
			_, err := newCatalog(specs)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A service that neither emits nor hears is named all the same: Dapr lets an app that
// the scopes leave out do what it likes with topics that are not protected.
func TestScopesNameEveryService(t *testing.T) {
	c := &catalog{specs: []service.Spec{
		{Name: "quiet"},
		{Name: "busy", Emits: []string{"busy.done"}, Hears: []string{"other.done", "more.done"}},
	}}
	const want = `- name: allowedTopics
  value: &topics >-
    busy.done,busy.deadletter
# An app that has no scopes below may neither publish nor hear a protected topic;
# without this it would be free to do both.
- name: protectedTopics
  value: *topics
- name: publishingScopes
  value: >-
    quiet=;
    busy=busy.done,busy.deadletter
- name: subscriptionScopes
  value: >-
    quiet=;
    busy=other.done,more.done,busy.deadletter
`
	if got := c.topics(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := c.policies(); got != "policies: []\n" {
		t.Errorf("nobody calls anybody, and the policies are %q", got)
	}
}

// A service that is new in the list is in that of the books too, wherever its package is.
func TestBooksNameEveryService(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, serviceList)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("package services\n\nimport (\n\t\"x/services/quiet\"\n\t\"x/flows/busy\"\n\t\"x/services/bookless\"\n)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &catalog{specs: []service.Spec{
		{Name: "quiet", Migrations: pgtest.None}, {Name: "busy", Migrations: pgtest.None}, {Name: "bookless"},
	}}
	if err := c.findPackages(root); err != nil {
		t.Fatal(err)
	}
	if got, want := c.bookImports(), "busy \"x/flows/busy/audit\"\nquiet \"x/services/quiet/audit\"\n"; got != want {
		t.Errorf("imports\n%swant\n%s", got, want)
	}
	if got, want := c.books(), "{\"quiet\", quiet.Books},\n{\"busy\", busy.Books},\n"; got != want {
		t.Errorf("books\n%swant\n%s", got, want)
	}
	c.specs = append(c.specs, service.Spec{Name: "stray"})
	if err := c.findPackages(root); err == nil || !strings.Contains(err.Error(), "no package called stray") {
		t.Errorf("of a service that the list does not import: %v", err)
	}
}

func TestFill(t *testing.T) {
	const file = "a: 1\n  # quad generate: b (do not edit)\n  old\n  # quad generate: end\nc: 2\n"
	for name, c := range map[string]struct{ file, block, want, err string }{
		"replaced, indented": {file, "b", "a: 1\n  # quad generate: b (do not edit)\n  new\n\n    more\n  # quad generate: end\nc: 2\n", ""},
		"no such block":      {file, "x", "", `it lacks a line with the comment "quad generate: x"`},
		"no end":             {"# quad generate: b\nold\n", "b", "", `after "quad generate: b"`},
		"prose about it":     {"run quad generate: b now\n# quad generate: end\n", "b", "", "it lacks a line"},
		"in Go":              {"\t// quad generate: b\n\told()\n\t// quad generate: end\n", "b", "\t// quad generate: b\n\tnew\n\n\t  more\n\t// quad generate: end\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fill(c.file, c.block, "new\n\n  more\n")
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// What a topic means can only be written by hand: its absence is named, while all else
// is made.
func TestMissingProseIsNamed(t *testing.T) {
	d, err := readDocument("channels: {}\n")
	if err != nil {
		t.Fatal(err)
	}
	err = d.missing([]string{"loyalty.points.earned"})
	for _, want := range []string{
		"the channel loyalty.points.earned has no summary", "components.schemas lacks LoyaltyPointsEarned",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

var reads = regexp.MustCompile(`\.(?:String|Addr|Duration|Pause|Int|Choice|Secret|OptionalSecret|SecretFile)\("([A-Z]+_[A-Z_]+)"(?:, "?([a-z0-9]+)"?,)?`)

// The documents have the settings that every service has at length, by hand: each that
// the kit reads, with its default where that is a number or a word.
func TestCommonSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs/operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob(filepath.Join(repository, "platform/*/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, source := range sources {
		code, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		for _, read := range reads.FindAllStringSubmatch(string(code), -1) {
			found++
			if row := rowOf(string(text), read[1]); row == nil {
				t.Errorf("docs/operating.md has no row for %s", read[1])
			} else if !strings.Contains(row[2], read[2]) {
				t.Errorf("docs/operating.md: the default of %s is %s, want %s", read[1], row[2], read[2])
			}
		}
	}
	if found < 20 {
		t.Errorf("found only %d settings", found)
	}
}

// rowOf returns the cells of the row of a table of three columns that has the name.
func rowOf(text, name string) []string {
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[1], "`"+name+"`") {
			return cells
		}
	}
	return nil
}

func TestDefaultsAreWrittenAsPeopleDo(t *testing.T) {
	for text, want := range map[string]string{"15m0s": "15m", "1h0m0s": "1h", "2ms": "2ms", "10s": "10s", "0s": "0s", "60": "60", "": "none"} {
		if got := defaultOf(config.Setting{Default: text}); got != want {
			t.Errorf("%s is written %s, want %s", text, got, want)
		}
	}
}

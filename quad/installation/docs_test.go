package installation

import (
	"os"
	"regexp"
	"testing"
)

var contextInDocs = regexp.MustCompile("(?ms)^```yaml\n(services:.*?)^```$")

// The contexts that the documents show can be added as they are.
func TestContextsInTheDocumentsAreRight(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	found := contextInDocs.FindAllSubmatch(page, -1)
	if len(found) < 2 {
		t.Fatalf("the page has %d contexts", len(found))
	}
	for _, text := range found {
		c, err := Parse(text[1])
		if err != nil {
			t.Errorf("%v in\n%s", err, text[1])
		}
		for name, s := range c.Services {
			if s.Admin == "" || !s.AdminToken.isSet() || !s.Database.isSet() {
				t.Errorf("service %s is not whole in\n%s", name, text[1])
			}
		}
	}
}

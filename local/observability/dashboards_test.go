package observability

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the dashboards")

// The files are what panels.go says: go test ./observability -run Dashboards -update, in local.
func TestDashboardsAreWhatTheirSourceSays(t *testing.T) {
	files, err := Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	kustomization, err := os.ReadFile(filepath.Join(root, Folder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		path = filepath.Join(root, path)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil { //nolint:gosec // others read it too
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what its source says (%v): run this test with -update", path, err)
		}
		if !strings.Contains(string(kustomization), "dashboards/"+filepath.Base(path)) {
			t.Errorf("kustomization.yaml lacks %s", filepath.Base(path))
		}
	}
}

package stack

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const realRunFile = "../dapr.yaml"

func TestRunFileGivesEveryAppPortsOfItsOwn(t *testing.T) {
	run, err := readRunFile(realRunFile, "/somewhere", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Apps) < 4 {
		t.Fatalf("%d apps", len(run.Apps))
	}
	taken := map[string]string{}
	for _, app := range run.Apps {
		if want := net.JoinHostPort("127.0.0.1", strconv.Itoa(app.GRPCPort)); app.Env["QUADRILLE_GRPC_ADDR"] != want {
			t.Errorf("%s: the sidecar calls %s, the app listens on %s", app.ID, want, app.Env["QUADRILLE_GRPC_ADDR"])
		}
		addresses := []string{app.Env["QUADRILLE_HTTP_ADDR"], app.Env["QUADRILLE_GRPC_ADDR"], app.Env["QUADRILLE_ADMIN_ADDR"], app.Env["QUADRILLE_HEALTH_ADDR"]}
		for _, port := range []int{app.DaprHTTP, app.DaprGRPC, app.DaprInternal, app.DaprMetrics} {
			addresses = append(addresses, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		}
		for _, address := range addresses {
			if other, dup := taken[address]; dup {
				t.Errorf("%s and %s share %s", app.ID, other, address)
			}
			taken[address] = app.ID
		}
	}
}

func TestRunFileHoldsNoSecret(t *testing.T) {
	run, err := readRunFile(realRunFile, "/somewhere", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range run.Apps {
		for key := range app.Env {
			secret := strings.Contains(key, "DATABASE_URL") || strings.Contains(key, "KEY") || strings.Contains(key, "TOKEN")
			if secret && !strings.HasSuffix(key, "_FILE") {
				t.Errorf("%s: %s belongs into a file", app.ID, key)
			}
		}
	}
}

func TestShiftMovesEveryPortAndNothingElse(t *testing.T) {
	plain, err := readRunFile(realRunFile, "/a", 0)
	if err != nil {
		t.Fatal(err)
	}
	shifted, err := readRunFile(realRunFile, "/a", 10000)
	if err != nil {
		t.Fatal(err)
	}
	for i, app := range shifted.Apps {
		before := plain.Apps[i]
		if app.DaprHTTP != before.DaprHTTP+10000 || app.GRPCPort != before.GRPCPort+10000 {
			t.Errorf("%s: sidecar %d, app %d", app.ID, app.DaprHTTP, app.GRPCPort)
		}
		for key, value := range before.Env {
			if want := strings.ReplaceAll(value, ":18", ":28"); app.Env[key] != want {
				t.Errorf("%s: %s = %s, want %s", app.ID, key, app.Env[key], want)
			}
		}
	}
	if want := "127.0.0.1:28950"; shifted.Common.PlacementHostAddress != want {
		t.Errorf("placement at %s, want %s", shifted.Common.PlacementHostAddress, want)
	}
}

func TestRunFileCopyMeansTheSame(t *testing.T) {
	dir := t.TempDir()
	run, err := readRunFile(realRunFile, dir, 10000)
	if err != nil {
		t.Fatal(err)
	}
	// dapr run takes relative paths against the copy's folder, so there must be none.
	run.resolve(mustAbs(t, filepath.Dir(realRunFile)), dir)
	path := filepath.Join(dir, "dapr.yaml")
	if err := run.write(path); err != nil {
		t.Fatal(err)
	}
	again, err := readRunFile(path, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(run, again) {
		t.Errorf("the copy differs:\n%+v\n%+v", run, again)
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestUnknownKeyIsRefused(t *testing.T) {
	text, err := os.ReadFile(realRunFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dapr.yaml")
	if err := os.WriteFile(path, append(text, "surprise: true\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRunFile(path, "/a", 0); err == nil || !strings.Contains(err.Error(), "surprise") {
		t.Errorf("err = %v", err)
	}
}

func TestSidecarStartedAloneGetsTheFlagsOfDaprRun(t *testing.T) {
	run, err := readRunFile(realRunFile, "/a", 0)
	if err != nil {
		t.Fatal(err)
	}
	args := run.sidecarArgs(&run.Apps[0])
	for flag, want := range map[string]string{
		"--app-id":                  run.Apps[0].ID,
		"--app-port":                strconv.Itoa(run.Apps[0].GRPCPort),
		"--app-protocol":            "grpc",
		"--dapr-grpc-port":          strconv.Itoa(run.Apps[0].DaprGRPC),
		"--dapr-internal-grpc-port": strconv.Itoa(run.Apps[0].DaprInternal),
		"--dapr-listen-addresses":   "127.0.0.1",
		"--config":                  run.Common.ConfigFilePath,
		"--resources-path":          run.Common.ResourcesPaths[0],
	} {
		if i := slices.Index(args, flag); i < 0 || args[i+1] != want {
			t.Errorf("%s is not %q in %q", flag, want, args)
		}
	}
}

package b2b

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
)

const (
	erpKey   = "erp-key"
	appToken = "app-token"
	erpSlow  = 3 * time.Second
)

// build builds a program of this repository.
func build(t *testing.T, folder string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(folder))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return binary
}

// run starts a program until the test ends, and waits until it answers.
func run(t *testing.T, healthURL string, env []string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	var log bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(command[0]), log.String())
		}
	})
	eventually(t, "start of "+command[0], func() error {
		answer, err := http.Get(healthURL)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err
	})
}

// eventually polls check until it returns nil.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute) // on a machine that is busy; a relay that failed once takes half of it
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// erpServer is the ERP's stand-in, the real program.
type erpServer struct {
	*testing.T
	url string
}

func startERP(t *testing.T) *erpServer {
	t.Helper()
	dir, addr := t.TempDir(), servicetest.FreeAddr(t)
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(erpKey), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &erpServer{T: t, url: "http://" + addr}
	run(t, e.url+"/healthz", nil, build(t, "../../local/erp"),
		"-addr", addr, "-state", filepath.Join(dir, "state"), "-key-file", key, "-slow", erpSlow.String())
	return e
}

func (e *erpServer) port() *erp { return newERP(e.url, config.Secret(erpKey)) }

// mode makes the next calls suffer.
func (e *erpServer) mode(mode string, count int) {
	e.Helper()
	e.call(http.MethodPost, "/admin/mode", map[string]any{"mode": mode, "count": count}, nil)
}

// orders lists the ERP's orders for one of ours.
func (e *erpServer) orders(id uuid.UUID) (statuses []string) {
	e.Helper()
	var list struct{ Data []struct{ Status string } }
	e.call(http.MethodGet, "/v1/orders?limit=1000&external_id="+id.String(), nil, &list)
	for _, o := range list.Data {
		statuses = append(statuses, o.Status)
	}
	return statuses
}

func (e *erpServer) call(method, path string, body, answer any) {
	e.Helper()
	if err := send(method, e.url+path, body, answer); err != nil {
		e.Fatal(err)
	}
}

func send(method, url string, body, answer any) error {
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+erpKey)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPut {
		req.Header.Set("If-None-Match", "*") // stock of a SKU that is new
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s, %w", method, url, res.StatusCode, text, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// inventoryServer is the inventory service, the real program, called directly
// instead of through sidecars.
type inventoryServer struct {
	*testing.T
	url, admin string
	conn       *faulty
}

func startInventory(t *testing.T) *inventoryServer {
	t.Helper()
	api, intake, admin, health := servicetest.FreeAddr(t), servicetest.FreeAddr(t), servicetest.FreeAddr(t), servicetest.FreeAddr(t)
	database := pgtest.New(t)
	database.Migrate(t, os.DirFS("../../services/inventory"))
	run(t, "http://"+health+"/healthz", []string{
		"QUADRILLE_HTTP_ADDR=" + api, "QUADRILLE_GRPC_ADDR=" + intake, "QUADRILLE_ADMIN_ADDR=" + admin, "QUADRILLE_HEALTH_ADDR=" + health,
		"QUADRILLE_DATABASE_URL=" + database.Runtime, "DAPR_GRPC_PORT=1",
		"APP_API_TOKEN=" + appToken, "DAPR_API_TOKEN=" + appToken, "QUADRILLE_ADMIN_TOKEN=" + erpKey, // which send sends
	}, build(t, "../../services/inventory/cmd/inventory"))
	conn, err := grpc.NewClient(intake, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	i := &inventoryServer{T: t, url: "http://" + api, admin: "http://" + admin, conn: &faulty{ClientConnInterface: conn}}
	eventually(t, "inventory's API", func() error { return send(http.MethodPut, i.admin+"/v1/stock/none", onHand(nil), nil) })
	return i
}

type count struct {
	Warehouse string `json:"warehouse"`
	OnHand    int64  `json:"on_hand"`
	Held      int64  `json:"held,omitempty"`
}

func onHand(units map[string]int64) map[string][]count {
	counts := []count{{Warehouse: "york"}, {Warehouse: "leeds"}}
	for i := range counts {
		counts[i].OnHand = units[counts[i].Warehouse]
	}
	return map[string][]count{"warehouses": counts}
}

func (i *inventoryServer) stock(sku string, units map[string]int64) {
	i.Helper()
	if err := send(http.MethodPut, i.admin+"/v1/stock/"+sku, onHand(units), nil); err != nil {
		i.Fatal(err)
	}
}

// held is how much of a SKU orders hold.
func (i *inventoryServer) held(sku string) (sum int64) {
	i.Helper()
	var answer struct{ Warehouses []count }
	if err := send(http.MethodGet, i.url+"/v1/stock/"+sku, nil, &answer); err != nil {
		i.Fatal(err)
	}
	for _, w := range answer.Warehouses {
		sum += w.Held
	}
	return sum
}

// faulty is a connection on which calls fail, as on any network: before they
// arrive, or after they were carried out.
type faulty struct {
	grpc.ClientConnInterface
	before, after func(method string) error
}

// Invoke makes a unary call.
func (f *faulty) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "dapr-api-token", appToken)
	if f.before != nil {
		if err := f.before(method); err != nil {
			return err
		}
	}
	if err := f.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil {
		return err
	}
	if f.after != nil {
		return f.after(method)
	}
	return nil
}

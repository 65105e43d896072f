package shop

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"quadrille.internal/local/stack"
	"quadrille.internal/local/visit"
	"quadrille.internal/platform/servicetest"
)

// What a customer says of herself stays in the databases that are for it: after a visit, the
// broker, traces, metrics and logs, of services and sidecars, have nothing of it.
func TestNothingPersonalLeavesTheServices(t *testing.T) {
	if options.Broker != stack.Redis {
		t.Skip("on Kafka and in one process the services publish and export the same")
	}
	m := openMall(t)
	shop := visit.NewShop(sys.HTTPURL("gateway"), visit.Mailbox{URL: sys.MailURL(), Key: sys.MailKey()})
	defer shop.Close()
	order, personal := m.buyAsZaphod(t, shop)
	servicetest.Await(t, "the order's trace is kept", func() bool { return len(missingIn(m.traceOf(t, order))) == 0 })

	said := make(map[string]string)
	streams := readStreams(t)
	maps.Copy(said, streams)
	for _, app := range sys.Apps() {
		said["metrics of "+app] = get(t, sys.HealthURL(app)+"/metrics")
		said["metrics of the sidecar of "+app] = get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", sys.App(app).DaprMetrics))
	}
	for _, pattern := range []string{filepath.Join(sys.Dir, "traces", "*"), filepath.Join(sys.LogDir(), "*")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said[file] = string(text)
		}
	}
	if all := strings.Join(values(streams), ""); !strings.Contains(all, order.String()) {
		t.Errorf("the broker has nothing of order %s", order)
	}
	for where, text := range said {
		for _, secret := range personal {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("there is %q in %s: %q", secret, where, text[max(0, at-200):min(len(text), at+100)])
			}
		}
	}
}

// buyAsZaphod has a customer whom one can tell from all others order something, and returns what
// she said of herself.
func (m *mall) buyAsZaphod(t *testing.T, shop *visit.Shop) (order uuid.UUID, personal []string) {
	t.Helper()
	name := "zaphod-" + uuid.NewString()
	password := "a long password of " + uuid.NewString()
	home := maps.Clone(visit.Home)
	maps.Copy(home, map[string]any{"recipient": "Zaphod Quimby", "lines": []string{"42 Betelgeuse Lane"}, "postal_code": "N1 9GU", "phone": "+441632960961"})
	order = m.buyAs(t, shop, name+"@mail.example", password, home)
	return order, []string{name, password, "Zaphod", "Betelgeuse", "N1 9GU", "+441632960961"}
}

// readStreams reads all that is on Redis.
func readStreams(t *testing.T) map[string]string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: sys.RedisAddr(), Password: sys.RedisPassword()})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("the broker has %v, %v", keys, err)
	}
	found := make(map[string]string)
	for _, key := range keys {
		kind, err := client.Type(t.Context(), key).Result()
		if err != nil || kind != "stream" {
			t.Errorf("%s is a %s, %v: this test reads streams only", key, kind, err)
			continue
		}
		entries, err := client.XRange(t.Context(), key, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		found["stream "+key] = fmt.Sprint(entries)
	}
	return found
}

func values(texts map[string]string) (list []string) {
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}

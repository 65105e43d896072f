package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/sweep"
)

// own are the routes that follow from the declarations of the services.
var own = []Route{
	// quad generate: routes
	{Prefix: "/v1/checkouts", Service: "checkout"},
	{Prefix: "/v1/stock", Service: "inventory"},
	{Prefix: "/v1/orders", Service: "order"},
	{Prefix: "/v1/b2b", Service: "b2b"},
	{Prefix: "/v1/accounts", Service: "identity"},
	{Prefix: "/v1/sessions", Service: "identity"},
	{Prefix: "/v1/tokens", Service: "identity"},
	{Prefix: "/.well-known", Service: "identity"},
	{Prefix: "/v1/carts", Service: "cart"},
	{Prefix: "/v1/products", Service: "catalog"},
	{Prefix: "/v1/categories", Service: "catalog"},
	{Prefix: "/v1/search", Service: "catalog"},
	{Prefix: "/v1/customers", Service: "customer"},
	{Prefix: "/v1/prices", Service: "price"},
	// quad generate: end
}

// Route says which process answers the paths below a prefix: a service, or what is at a URL
// outside.
type Route struct {
	Prefix  string `json:"prefix"`
	Service string `json:"service,omitempty"`
	URL     string `json:"url,omitempty"`
}

func (r Route) target() string { return cmp.Or(r.Service, r.URL) }

// plainURL is how a URL outside is written: as in the API's document.
var plainURL = regexp.MustCompile(`^https?://[!-~]+$`)

// check refuses a route that leads nowhere.
func (r Route) check() error {
	known := func(name string) bool {
		return slices.ContainsFunc(own, func(o Route) bool { return o.Service == name })
	}
	switch {
	case !plainPrefix(r.Prefix):
		return fault.Field("prefix", "malformed", "prefix is the beginning of a path, such as /v1/orders: letters, digits, - . _ ~ and /, without / at its end.")
	case r.Service != "" && r.URL != "":
		return fault.Field("url", "malformed", "Name a service or a url, not both.")
	case r.Service != "" && !known(r.Service):
		return fault.New(fault.NotFound, "unknown_service", "There is no service %q with public routes.", r.Service)
	}
	if r.URL == "" {
		return nil
	}
	u, err := url.Parse(r.URL)
	if err != nil || !plainURL.MatchString(r.URL) || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fault.Field("url", "malformed", "url is an address such as https://old.example, in ASCII, without credentials and query.")
	}
	return nil
}

// table is what holds at a time; it does not change.
type table struct {
	routes  []Route // the longest prefix first
	changed []Route // by operators
}

func newTable(changed []Route) *table {
	all := slices.Clone(changed)
	for _, r := range own {
		if !slices.ContainsFunc(changed, func(c Route) bool { return c.Prefix == r.Prefix }) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Route) int {
		return cmp.Or(cmp.Compare(len(b.Prefix), len(a.Prefix)), cmp.Compare(a.Prefix, b.Prefix))
	})
	return &table{all, changed}
}

// find returns the route with the longest prefix of a path.
func (t *table) find(path string) (Route, bool) {
	i := slices.IndexFunc(t.routes, func(r Route) bool { return rest.Under(r.Prefix, path) })
	if i < 0 {
		return Route{}, false
	}
	return t.routes[i], true
}

// routes are those of now. Requests under way end where they began.
type routes struct {
	file string // "" where changes last until the end
	log  *slog.Logger
	now  atomic.Pointer[table]

	changing sync.Mutex
	read     []byte // what the file held
}

func newRoutes(file string, log *slog.Logger) *routes {
	r := &routes{file: file, log: log}
	r.now.Store(newTable(nil))
	if file != "" { // before the first request
		if err := r.load(); err != nil {
			log.Error("routes are as the services declare them", "err", err)
		}
	}
	return r
}

const lookEvery = time.Second

// watch takes up what another gateway, or an operator, wrote to the file.
func (r *routes) watch(ctx context.Context) error {
	if r.file == "" {
		<-ctx.Done()
		return nil
	}
	return sweep.New(sweep.Config{Name: "routes", Every: lookEvery, Timeout: lookEvery, Log: r.log},
		func(context.Context) (bool, error) { return false, r.load() }).Run(ctx)
}

// load reads the file. With one that cannot be right the routes stay as they are.
func (r *routes) load() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.reload()
}

// reload wants the lock.
func (r *routes) reload() error {
	text, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte("[]"), nil
	}
	if err != nil {
		return fmt.Errorf("read the routes: %w", err)
	}
	if bytes.Equal(text, r.read) {
		return nil
	}
	var changed []Route
	if err := json.Unmarshal(text, &changed); err != nil {
		return fmt.Errorf("read the routes in %s: %w", r.file, err)
	}
	for _, route := range changed {
		if err := route.check(); err != nil {
			return fmt.Errorf("read the routes in %s: %w", r.file, err)
		}
	}
	r.read = text
	r.now.Store(newTable(changed))
	r.log.Info("routes changed", "routes", changed)
	return nil
}

// change puts a route in place of another. One without a target goes back to the service
// that the prefix belongs to.
func (r *routes) change(route Route) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if r.file != "" {
		// Another gateway may have changed a route since this one looked, or be about to.
		free, err := lockFile(r.file + ".lock")
		if err != nil {
			return fmt.Errorf("keep the routes: %w", err)
		}
		defer free()
		if err := r.reload(); err != nil {
			return err
		}
	}
	changed := slices.DeleteFunc(slices.Clone(r.now.Load().changed), func(c Route) bool { return c.Prefix == route.Prefix })
	if route.target() != "" {
		changed = append(changed, route)
	}
	if r.file != "" {
		text, err := json.MarshalIndent(changed, "", "  ")
		if err == nil {
			err = replaceFile(r.file, text)
		}
		if err != nil {
			return fmt.Errorf("keep the routes: %w", err)
		}
		r.read = text
	}
	r.now.Store(newTable(changed))
	r.log.Info("routes changed", "routes", changed)
	return nil
}

// lockFile waits until no other process, and nobody in this one, has the lock of a file.
func lockFile(path string) (free func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { //nolint:gosec // a file descriptor fits
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // which frees it
}

// replaceFile has readers see the old text or the new one.
func replaceFile(path string, text []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, text, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/platform/token"
)

// Description is what a service's Build tells about it, beside its Spec.
type Description struct {
	// Settings are those of this service, not those that every service has.
	Settings []config.Setting
	// Serves are the gRPC methods that others may call, by full name.
	Serves []string
	// Services adds its gRPC services, or is nil. Nothing stands behind them: they can refuse
	// what is malformed, and no more.
	Services func(grpc.ServiceRegistrar)
	// Front says that it serves the public port itself: see App.Front.
	Front bool
	// Metrics are those of this service and of the kit.
	Metrics []telemetry.About
}

// Describe builds a service with an empty environment and without a database, and does
// not run it. A setting without a line of description is an error, and so are events that
// nothing handles.
func Describe(spec Spec) (Description, error) {
	if err := spec.Check(); err != nil {
		return Description{}, err
	}
	reader := config.NewReader(func(string) (string, bool) { return "", false })
	log := slog.New(slog.DiscardHandler)
	kit := &Instance{spec: spec, metrics: telemetry.NewMetrics(spec.Name), keys: new(token.Remote)}
	kit.timings = newTimings(kit.metrics, spec)
	app := spec.Build(&Kit{
		Config: reader, Log: log, Metrics: kit.metrics, API: rest.API{Log: log},
		Calls:     func(string) grpc.ClientConnInterface { return nowhere{} },
		HTTP:      nowhere{},
		Workflows: func() grpc.ClientConnInterface { return nowhere{} },
		Outbox:    outboxOf(spec, log),
	})
	kit.expose()
	found := Description{Settings: reader.Settings(), Front: app.Front != nil, Services: app.Services, Metrics: kit.metrics.About()}
	for _, s := range found.Settings {
		if s.About == "" {
			return found, fmt.Errorf("service %s reads %s and does not say what it means: read it by kit.Config.About(\"...\")", spec.Name, s.Name)
		}
	}
	if len(spec.Hears) > 0 && app.Handle == nil {
		return found, fmt.Errorf("service %s hears %s and its App has no Handle", spec.Name, spec.Hears[0])
	}
	if app.Services != nil {
		app.Services((*methods)(&found.Serves))
	}
	if app.hasRoutes() {
		found.Serves = append(found.Serves, httpcall.Method)
	}
	slices.Sort(found.Serves)
	return found, checkPaths(spec, app)
}

// checkPaths holds the public routes against Paths: the gateway would not find one that
// begins otherwise.
func checkPaths(spec Spec, app App) error {
	if !app.hasRoutes() {
		return nil
	}
	r := chi.NewRouter()
	for _, add := range []func(chi.Router){app.Routes, app.OpenRoutes} {
		if add != nil {
			add(r)
		}
	}
	unused := slices.Clone(spec.Paths)
	err := chi.Walk(r, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		i := slices.IndexFunc(spec.Paths, func(path string) bool { return rest.Under(path, route) })
		if i < 0 {
			return fmt.Errorf("service %s: the route %s %s begins with none of its Paths", spec.Name, method, route)
		}
		unused = slices.DeleteFunc(unused, func(path string) bool { return path == spec.Paths[i] })
		return nil
	})
	if err == nil && len(unused) > 0 {
		err = fmt.Errorf("service %s: Paths has %s, and no route begins with it", spec.Name, unused[0])
	}
	return err
}

// outboxOf is nil where the service has no database, as it is when the service runs.
func outboxOf(spec Spec, log *slog.Logger) *outbox.Outbox {
	if !spec.HasDatabase() {
		return nil
	}
	return outbox.New(outbox.Config{Source: spec.Name, Emits: spec.Emits, Log: log})
}

// nowhere is a connection that Build may keep and must not use.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the service is described, it does not run")
}

func (nowhere) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errors.New("the service is described, it does not run")
}

func (n nowhere) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, n.Invoke(ctx, method, nil, nil)
}

// methods takes note of the methods of gRPC services.
type methods []string

func (m *methods) RegisterService(desc *grpc.ServiceDesc, _ any) {
	for _, method := range desc.Methods {
		*m = append(*m, "/"+desc.ServiceName+"/"+method.MethodName)
	}
	for _, stream := range desc.Streams {
		*m = append(*m, "/"+desc.ServiceName+"/"+stream.StreamName)
	}
}

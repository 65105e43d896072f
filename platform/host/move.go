package host

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/dapr"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/inprocess"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/transport"
)

const (
	// answerTimeout is how long a move waits for what was sent before it: a publish call
	// may take 4 s. What is not answered by then comes again, by the new way.
	answerTimeout = 5 * time.Second
	readyTimeout  = time.Second
	// maxBridgeConns: one operator at a time.
	maxBridgeConns = 16
)

// bridge joins the services of the process to those that were moved out of it, by one
// sidecar for all, and takes the operator's orders to move them.
type bridge struct {
	bus     *inprocess.Bus
	remote  transport.Transport
	addr    string
	token   config.Secret
	control *rest.ConnLimit

	moving sync.Mutex // one move at a time
}

// readBridge makes the bridge, where QUADRILLE_BRIDGE asks for one.
func (p *process) readBridge(r *config.Reader) (*bridge, error) {
	if r.Choice("QUADRILLE_BRIDGE", "off", "off", "on") == "off" {
		return nil, nil
	}
	own := r.For("bridge")
	remote, err := (dapr.Network{}).Join(transport.Member{Name: together, Topics: heard(p.specs), Config: own, Log: p.log})
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	p.onClose(remote.Close)
	return &bridge{
		remote: remote, addr: own.Own().Addr("QUADRILLE_ADMIN_ADDR", "127.0.0.1:8082"), token: own.Own().Secret("QUADRILLE_ADMIN_TOKEN"),
	}, nil
}

// heard are the topics that any of the services hears.
func heard(specs []service.Spec) (topics []string) {
	for _, spec := range specs {
		for _, topic := range spec.Hears {
			if !slices.Contains(topics, topic) {
				topics = append(topics, topic)
			}
		}
	}
	return topics
}

// listen opens the bridge's ports.
func (b *bridge) listen(ctx context.Context, p *process) error {
	ln, err := service.Listen(ctx, b.addr, false)
	if err != nil {
		return fmt.Errorf("QUADRILLE_BRIDGE_ADMIN_ADDR: %w", err)
	}
	p.onClose(func() { _ = ln.Close() })
	b.control = rest.NewConnLimit(ln, maxBridgeConns)
	return b.remote.Listen(ctx, transport.Service{Handler: b.bus.FromOutside(p.log)})
}

// layers are what the bridge runs.
func (b *bridge) layers(p *process) stack {
	return stack{"bridge", []service.Layer{
		{Level: service.LevelEvents, Name: "event intake", Run: b.remote.Deliver},
		{Level: service.LevelHTTP, Name: "admin endpoint", Run: service.Serve(b.control, b.routes(p))},
	}}
}

func (b *bridge) routes(p *process) http.Handler {
	r := chi.NewRouter()
	r.Use(service.RequireToken(b.token, "QUADRILLE_BRIDGE_ADMIN_TOKEN"))
	rest.Fallbacks(r)
	api := rest.API{Log: p.log}
	r.Get("/services", api.Handle(func(w http.ResponseWriter, r *http.Request) error { return b.list(w, r, p) }))
	r.Put("/services/{name}/place", api.Handle(func(w http.ResponseWriter, r *http.Request) error { return b.place(w, r, p) }))
	return r
}

// Places is what GET /services of the bridge answers.
type Places struct {
	// Bridge says why the sidecar of the process does not work, or is empty.
	Bridge   string        `json:"bridge"`
	Services []PlacedState `json:"services"`
}

// PlacedState is where a service is.
type PlacedState struct {
	Name  string          `json:"name"`
	Place inprocess.Place `json:"place"`
	Hears []string        `json:"hears"`
	Emits []string        `json:"emits"`
	// Fixed says why it cannot be moved, or is empty.
	Fixed string `json:"fixed,omitempty"`
}

func (b *bridge) list(w http.ResponseWriter, r *http.Request, p *process) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout) // a move may have taken long
	defer cancel()
	var answer Places
	if err := b.remote.Ready(ctx); err != nil {
		answer.Bridge = err.Error()
	}
	for _, spec := range p.specs {
		answer.Services = append(answer.Services, PlacedState{
			Name: spec.Name, Place: b.bus.Place(spec.Name), Hears: append([]string{}, spec.Hears...), Emits: emitted(spec), Fixed: p.fixed(spec),
		})
	}
	return rest.Write(w, http.StatusOK, answer)
}

// emitted are the topics of a service's events, also of its release before.
func emitted(spec service.Spec) []string {
	return append(append([]string{}, spec.Emits...), spec.EmittedBefore...)
}

// fixed says why a service stays in the process. What it would call of services that are not
// installed does not count.
func (p program) fixed(spec service.Spec) string {
	if spec.Workflows != nil {
		return "its workflows are with the engine of the process, and Dapr's would not know of them"
	}
	for _, other := range p.specs {
		calls := func(method string) bool { return strings.HasPrefix(method, "/quadrille."+other.Name+".") }
		if other.Name != spec.Name && slices.ContainsFunc(spec.Calls, calls) {
			return "it calls " + other.Name + ", and there is no way for calls into the process"
		}
	}
	return ""
}

// place moves a service one step: inside, both, outside, and back.
func (b *bridge) place(w http.ResponseWriter, r *http.Request, p *process) error {
	var want struct {
		Place inprocess.Place `json:"place"`
	}
	if _, err := rest.Decode(w, r, &want); err != nil {
		return err
	}
	name := chi.URLParam(r, "name")
	spec := p.find(name)
	if spec == nil {
		return fault.New(fault.NotFound, "unknown_service", "There is no service %q.", name)
	}
	if why := p.fixed(*spec); why != "" {
		return fault.New(fault.Conflict, "not_movable", "%s cannot be moved: %s.", name, why)
	}
	b.moving.Lock()
	defer b.moving.Unlock()
	ctx := context.WithoutCancel(r.Context()) // half a move would be worse than one that nobody waits for
	now := b.bus.Place(name)
	switch want.Place {
	case now:
	case inprocess.Both:
		if now == inprocess.Outside {
			if err := p.launch(ctx, *spec); err != nil {
				return err
			}
		}
		b.move(ctx, p, name, inprocess.Both)
	case inprocess.Inside, inprocess.Outside:
		if now != inprocess.Both {
			return fault.New(fault.Conflict, "one_step", "%s is %s: move it to both first.", name, now)
		}
		b.move(ctx, p, name, want.Place)
		if want.Place == inprocess.Outside {
			p.retire(ctx, name)
		}
	default:
		return fault.Field("place", "malformed", "must be inside, both or outside")
	}
	return b.list(w, r, p)
}

func (b *bridge) move(ctx context.Context, p *process, name string, to inprocess.Place) {
	from := b.bus.Place(name)
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := b.bus.Move(ctx, name, to); err != nil {
		p.log.WarnContext(ctx, "what is unanswered comes again by the new way", "err", err)
	}
	p.log.InfoContext(ctx, "moved", "service", name, "from", from, "to", to)
}

// launch starts a service while others run.
func (p *process) launch(ctx context.Context, spec service.Spec) error {
	reader := config.NewReader(p.lookup)
	s, err := p.openService(ctx, reader, spec)
	if err == nil {
		err = reader.Err()
	}
	if err == nil {
		err = s.Listen(ctx)
	}
	if err == nil {
		err = s.Prepare(ctx)
	}
	if err == nil {
		p.add(s, spec.Name)
		err = p.layers.start(ctx, stack{spec.Name, s.Layers()})
	}
	if err != nil {
		p.remove(spec.Name)
		s.Close()
		return &fault.Fault{Kind: fault.Unavailable, Code: "not_started", Message: fmt.Sprintf("%s does not start in the process: %v", spec.Name, err), Cause: err}
	}
	p.limitMemory()
	return nil
}

// retire stops a service while others run. What it had taken in it finishes, and what it
// emitted it publishes; what it has no time for is in its tables, for the one outside.
func (p *process) retire(ctx context.Context, name string) {
	s := p.remove(name)
	if s == nil {
		return
	}
	s.Stopping()
	if err := p.layers.stop(ctx, stopTimeout, func(other string) bool { return other == name }); err != nil {
		p.log.WarnContext(ctx, "a service that was moved out stopped badly; the one outside goes on with its tables", "service", name, "err", err)
	}
	s.Close()
	p.limitMemory()
}

// limitMemory has the limit follow the number of services.
func (p *process) limitMemory() {
	limit, _ := memoryLimit(os.DirFS("/"), os.Getenv, len(p.all()))
	debug.SetMemoryLimit(limit)
}

package gateway

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/rest"
)

// operatorRoutes lets operators say which process answers a path, while requests flow.
func (g *gateway) operatorRoutes(r chi.Router) {
	r.Get("/v1/routes", g.api.Handle(g.listRoutes))
	r.Put("/v1/routes", g.api.Handle(g.putRoute))
}

// routeList is what both answer.
type routeList struct {
	// Routes are those that hold, the longest prefix first.
	Routes []Route `json:"routes"`
	// Kept says that changes outlast this process.
	Kept bool `json:"kept"`
}

func (g *gateway) listRoutes(w http.ResponseWriter, _ *http.Request) error {
	return rest.Write(w, http.StatusOK, routeList{g.routes.now.Load().routes, g.routes.file != ""})
}

func (g *gateway) putRoute(w http.ResponseWriter, r *http.Request) error {
	var route Route
	if _, err := rest.Decode(w, r, &route); err != nil {
		return err
	}
	if err := route.check(); err != nil {
		return err
	}
	if err := g.routes.change(route); err != nil {
		return err
	}
	return g.listRoutes(w, r)
}

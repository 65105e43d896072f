package catalog

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

// operatorRoutes are on the admin port: what is written here everyone may see.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/products/{id}", s.api.Handle(s.getAny))
	r.Put("/v1/products/{id}", s.api.Handle(s.put))
	r.Post("/v1/products/import", s.importProducts)
	r.Put("/v1/categories/{id}", s.api.Handle(s.putCategory))
	r.Get("/v1/search/index", s.api.Handle(s.getIndex))
	r.Post("/v1/search/index", s.api.Handle(s.reindex))
	r.Get("/v1/search/faults", s.api.Handle(s.compare))
}

// getAny answers with drafts too.
func (s *server) getAny(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(*Product) bool { return true })
}

func (s *server) put(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	e := entry{id: id}
	if _, err := rest.Decode(w, r, &e.Content); err != nil {
		return err
	}
	if err := e.check(); err != nil {
		return err
	}
	e.normalize()
	p, err := preconditionOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	saved, err := putProduct(ctx, s.outbox, telemetry.TraceParent(ctx), e, p)
	if err != nil {
		return err
	}
	s.changed()
	views, err := s.views(ctx, []*Product{saved})
	if err != nil {
		return err
	}
	return write(w, statusOf(p), saved.Version, views[0])
}

func statusOf(p precondition) int {
	if p.absent {
		return http.StatusCreated
	}
	return http.StatusOK
}

// preconditionOf reads If-Match or If-None-Match, one of which a change must have.
func preconditionOf(r *http.Request) (p precondition, err error) {
	match, none := r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	if len(match)+len(none) == 0 {
		return p, fault.New(fault.PreconditionRequired, "precondition_required",
			"Send If-Match with the ETag of what you read, or If-None-Match: * to create it.")
	}
	if len(match) == 1 && len(none) == 0 {
		if version, ok := versionTag(match[0]); ok {
			return precondition{version: version}, nil
		}
		return p, fault.Field("If-Match", "malformed", "Send If-Match with one entity tag, as ETag gave it.")
	}
	if len(none) == 1 && len(match) == 0 && none[0] == "*" {
		return precondition{absent: true}, nil
	}
	return p, fault.Field("If-None-Match", "malformed", "Send If-None-Match: * or If-Match with one entity tag.")
}

func (s *server) putCategory(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	var c struct {
		Name   string  `json:"name"`
		Parent *string `json:"parent"`
	}
	if _, err := rest.Decode(w, r, &c); err != nil {
		return err
	}
	if err := checkText("name", c.Name, 1, maxValue); err != nil {
		return err
	}
	if c.Parent != nil {
		if err := events.CheckName("parent", *c.Parent); err != nil {
			return err
		}
	}
	p, err := preconditionOf(r)
	if err != nil {
		return err
	}
	saved, err := putCategory(r.Context(), s.outbox, id, c.Name, c.Parent, p)
	if err != nil {
		return err
	}
	s.changed()
	return write(w, statusOf(p), saved.Version, categoryViewOf(saved))
}

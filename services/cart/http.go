package cart

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
)

// tokenHeader holds a guest's token. It is in no path, since paths are logged.
const tokenHeader = "Cart-Token"

const idHint = "A cart id is a UUID."

type server struct {
	store  *store
	levels *levels
	prices pricev1.PricesClient
	api    rest.API
}

func (s *server) routes(r chi.Router) {
	r.Post("/v1/carts", s.api.Handle(s.create))
	r.Post("/v1/carts/merge", s.api.Handle(s.merge))
	r.Get("/v1/carts/stock", s.api.Stream(s.streamNamed))
	r.Get("/v1/carts/{id}", s.api.Handle(s.get))
	r.Get("/v1/carts/{id}/stock", s.api.Stream(s.streamCart))
	r.Post("/v1/carts/{id}/quote", s.api.Handle(s.quote))
	r.Put("/v1/carts/{id}/lines/{sku}", s.api.Handle(s.putLine))
	r.Delete("/v1/carts/{id}/lines/{sku}", s.api.Handle(s.deleteLine))
}

// view is a cart as its owner sees it.
type view struct {
	ID uuid.UUID `json:"id"`
	// Token is a guest's, and shown once.
	Token      string      `json:"token,omitempty"`
	CustomerID *string     `json:"customer_id,omitempty"`
	Version    int64       `json:"version"`
	Lines      []lineView  `json:"lines"`
	Orders     []orderView `json:"orders"`
	ChangedAt  time.Time   `json:"changed_at"`
}

type lineView struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	// Ordering of Quantity is being ordered.
	Ordering int64 `json:"ordering"`
	// Stock is what new orders may have: a hint.
	Stock shown `json:"stock"`
	// Retired says that it is no longer sold.
	Retired bool `json:"retired"`
}

// orderView is an order that was made of the cart and is not settled.
type orderView struct {
	OrderID uuid.UUID `json:"order_id"`
	Since   time.Time `json:"since"`
}

func (s *server) viewOf(st state) view {
	stock := s.levels.peek(skusOf(st.Lines), time.Now())
	v := view{
		ID: st.ID, CustomerID: st.CustomerID, Version: st.Version, ChangedAt: st.ChangedAt,
		Lines: make([]lineView, len(st.Lines)), Orders: make([]orderView, len(st.open)),
	}
	ordering := st.ordering()
	for i, l := range st.Lines {
		v.Lines[i] = lineView{SKU: l.SKU, Quantity: l.Quantity, Ordering: min(l.Quantity, quantity(ordering, l.SKU)), Stock: stock[l.SKU], Retired: st.retired[l.SKU]}
	}
	for i, o := range st.open {
		v.Orders[i] = orderView{OrderID: o.ID, Since: o.HeardAt}
	}
	return v
}

func answer(w http.ResponseWriter, status int, v view) error {
	w.Header().Set("ETag", etagOf(v.Version))
	return rest.Write(w, status, v)
}

func etagOf(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// create answers with a customer's one cart, or makes a guest's.
func (s *server) create(w http.ResponseWriter, r *http.Request) error {
	if customer := customerOf(r.Context()); customer != "" {
		st, err := s.store.own(r.Context(), customer)
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, s.viewOf(st))
	}
	st, token, err := s.store.createGuest(r.Context())
	if err != nil {
		return err
	}
	v := s.viewOf(st)
	v.Token = token
	w.Header().Set("Location", "/v1/carts/"+st.ID.String())
	return answer(w, http.StatusCreated, v)
}

// cartOf returns the cart that a request names, if it is its caller's.
func (s *server) cartOf(r *http.Request) (state, error) {
	id, err := rest.PathID(r, idHint)
	if err != nil {
		return state{}, err
	}
	return s.store.get(r.Context(), id, r.Header.Get(tokenHeader))
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	st, err := s.cartOf(r)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, s.viewOf(st))
}

func (s *server) putLine(w http.ResponseWriter, r *http.Request) error {
	var line struct {
		Quantity *int64 `json:"quantity"`
	}
	if _, err := rest.Decode(w, r, &line); err != nil {
		return err
	}
	if line.Quantity == nil {
		return fault.Field("quantity", "required", "Say how much of the SKU the cart is to have.")
	}
	return s.setLine(w, r, *line.Quantity)
}

func (s *server) deleteLine(w http.ResponseWriter, r *http.Request) error { return s.setLine(w, r, 0) }

func (s *server) setLine(w http.ResponseWriter, r *http.Request, quantity int64) error {
	id, err := rest.PathID(r, idHint)
	if err != nil {
		return err
	}
	version, err := versionOf(r)
	if err != nil {
		return err
	}
	sku := chi.URLParam(r, "sku")
	st, err := s.store.change(r.Context(), id, r.Header.Get(tokenHeader), version,
		func(c *Cart, now time.Time) error { return c.Set(sku, quantity, now) })
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, s.viewOf(st))
}

var etag = regexp.MustCompile(`^"[1-9][0-9]{0,17}"$`)

// versionOf reads If-Match, which may be left out: what one tab does to a line is right
// whatever another did to others.
func versionOf(r *http.Request) (int64, error) {
	match := r.Header.Values("If-Match")
	if len(match) == 0 || len(match) == 1 && match[0] == "*" {
		return 0, nil
	}
	if len(match) > 1 || !etag.MatchString(match[0]) {
		return 0, fault.Field("If-Match", "malformed", "Send If-Match with one entity tag, as ETag gave it, or leave it out.")
	}
	return strconv.ParseInt(strings.Trim(match[0], `"`), 10, 64)
}

// merged is the customer's cart with what came of a merge.
type merged struct {
	Cart view `json:"cart"`
	// Left is how many lines the guest's cart still has: while it is not 0, keep the token.
	Left int `json:"left"`
}

func (s *server) merge(w http.ResponseWriter, r *http.Request) error {
	var guest struct {
		CartID uuid.UUID `json:"cart_id"`
		Token  string    `json:"token"`
	}
	if _, err := rest.Decode(w, r, &guest); err != nil {
		return err
	}
	switch {
	case guest.CartID == uuid.Nil:
		return fault.Field("cart_id", "required", "Say which guest's cart: the id that creating it answered.")
	case guest.Token == "" || len(guest.Token) > 64:
		return fault.Field("token", "required", "Send the token that creating the guest's cart answered.")
	}
	customer := customerOf(r.Context())
	if customer == "" {
		return fault.New(fault.Unauthorized, "caller_unknown", "Sign in first: a guest's cart is merged into a customer's.")
	}
	st, left, err := s.store.merge(r.Context(), customer, guest.CartID, guest.Token)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etagOf(st.Version))
	return rest.Write(w, http.StatusOK, merged{Cart: s.viewOf(st), Left: left})
}
